"""Slow, obvious twins of fast code: loops over rows and positions, in plain Python or float64."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from lit_unmask.types import CHANGE, Observation, Signals

_WORD = 1 << 64


def all_actions(length: int) -> Tensor:
    """Return every boolean action, ``[2 ** length, length]``."""
    return torch.tensor(list(itertools.product([False, True], repeat=length)))


def bernoulli_log_prob(logits: list, eligible: list, action: list, temperature: float) -> float:
    """Log-probability of one row by products of probabilities."""
    total = 0.0
    for logit, allowed, opened in zip(logits, eligible, action, strict=True):
        chance = 1 / (1 + math.exp(-logit / temperature))
        if allowed:
            total += math.log(chance if opened else 1 - chance)
        elif opened:
            return -math.inf
    return total


def top_k(scores: list, eligible: list, k: int) -> list[bool]:
    """The k best eligible positions of one row, by sorting pairs; ties to the left."""
    order = sorted((-score, place) for place, score in enumerate(scores) if eligible[place])
    chosen = {place for _, place in order[:k]}
    return [place in chosen for place in range(len(scores))]


def confidence_threshold(confidence: list, eligible: list, threshold: float) -> list[bool]:
    """All eligible positions above the threshold of one row, or else the best one."""
    above = [e and c > threshold for c, e in zip(confidence, eligible, strict=True)]
    return above if any(above) else top_k(confidence, eligible, 1)


def factor(confidence: list, eligible: list, limit: float) -> list[bool]:
    """Try every number of best positions of one row, largest first."""
    order = sorted((-value, place) for place, value in enumerate(confidence) if eligible[place])
    for count in range(len(order), 0, -1):
        if count == 1 or (count + 1) * (1 + order[count - 1][0]) < limit:
            return top_k(confidence, eligible, count)
    return [False] * len(confidence)


def entropy_bound(entropy: list, errors: list, eligible: list, gamma: float) -> list[bool]:
    """Try every prefix of one row, in the order of its errors, longest first."""
    order = sorted((value, place) for place, value in enumerate(errors) if eligible[place])
    for count in range(len(order), 0, -1):
        values = [entropy[place] for _, place in order[:count]]
        if count == 1 or sum(values) - max(values) <= gamma:
            chosen = {place for _, place in order[:count]}
            return [place in chosen for place in range(len(entropy))]
    return [False] * len(entropy)


def splitmix_uniform(seed: int, rollout: int, step: int, position: int, stream: int) -> float:
    """One number of ``lit_unmask.randomness`` in Python's unbounded integers."""

    def mix(word: int) -> int:
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % _WORD
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % _WORD
        return word ^ (word >> 31)

    word = mix(seed % _WORD)
    for part in (stream, rollout, step):
        word = mix((word + part) % _WORD)
    return (mix((word + (position + 1) * 0x9E3779B97F4A7C15) % _WORD) >> 40) / 2**24


def _norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _linear(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return torch.einsum("lc,dc->ld", x, weights[f"{name}.weight"]) + weights[f"{name}.bias"]


def _rotate_row(x: Tensor) -> Tensor:
    """Rotate the pairs of one head, ``[L, C]``, position by position."""
    length, channels = x.shape
    result = torch.empty_like(x)
    for place in range(length):
        for pair in range(channels // 2):
            angle = place * 10000.0 ** (-2 * pair / channels)
            first, second = x[place, 2 * pair], x[place, 2 * pair + 1]
            result[place, pair] = first * math.cos(angle) - second * math.sin(angle)
            result[place, channels // 2 + pair] = first * math.sin(angle) + second * math.cos(angle)
    return result


def _attention(h: Tensor, weights: dict[str, Tensor], name: str, heads: int) -> Tensor:
    channels = h.shape[1] // heads
    query, key, value = (_linear(h, weights, f"{name}.{part}_proj") for part in "qkv")
    mixed = []
    for head in range(heads):
        own = slice(head * channels, (head + 1) * channels)
        products = torch.einsum("ic,jc->ij", _rotate_row(query[:, own]), _rotate_row(key[:, own]))
        mixed.append((products / math.sqrt(channels)).softmax(-1) @ value[:, own])
    return _linear(torch.cat(mixed, dim=1), weights, f"{name}.out_proj")


def confidence_transformer_row(
    state: dict[str, Tensor], confidence: Tensor, masked: Tensor, time: float, heads: int
) -> Tensor:
    """Logits ``[L]`` of one row in float64, the condition computed at every position."""
    weights = {name: value.double() for name, value in state.items()}
    width = weights["mask_embedding.weight"].shape[1]
    waves = [math.cos(time)] * (width // 2) + [math.sin(time)] * (width // 2)
    hidden = _linear(torch.tensor([waves]).bfloat16().double(), weights, "time_mlp.0")
    moment = _linear(hidden * hidden.sigmoid(), weights, "time_mlp.2")
    x = _linear(confidence.double(), weights, "confidence_proj")
    condition = weights["mask_embedding.weight"][masked.long()] + moment
    blocks = {name.split(".")[1] for name in state if name.startswith("transformer_blocks.")}
    for index in sorted(blocks, key=int):
        name = f"transformer_blocks.{index}"
        parts = _linear(condition, weights, f"{name}.ada_conditioning")
        g1, b1, a1, g2, b2, a2 = (parts[:, i * width : (i + 1) * width] for i in range(6))
        h = _norm(x, weights, f"{name}.norm1") * (1 + g1) + b1
        x = x + _attention(h, weights, name, heads) * (1 + a1)
        h = _linear(_norm(x, weights, f"{name}.norm2") * (1 + g2) + b2, weights, f"{name}.linear1")
        h = h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))
        x = x + _linear(h, weights, f"{name}.linear2") * (1 + a2)
    return _linear(_norm(x, weights, "final_norm"), weights, "output_proj")[:, 0]


def _change(past: list[Tensor]) -> Tensor:
    """The larger divergence of the last two distributions from those before; infinite at first."""
    moved = [(now * (now / before).log()).sum(-1) for before, now in itertools.pairwise(past[-3:])]
    return (
        torch.stack(moved).amax(0) if len(moved) == 2 else torch.full(past[0].shape[:2], math.inf)
    )


def decode_row(denoiser, policy, prompt, decoding, seed: int, rollout: int) -> dict[str, list]:
    """One row of the decoding loop: each step one forward, nothing skipped, shared or batched.

    Tokens are drawn with the noise of the step at which the buffer last changed.

    Returns:
        ``response``, ``nfe``, ``committed_at`` and the policy's ``actions`` before forcing.
    """
    length, width = decoding.gen_length, decoding.block_length
    response, committed_at, actions, step = [denoiser.mask_id] * length, [-1] * length, [], 0
    changed_at, asked, past = 0, policy.signals, []
    if "change" in asked.names:
        asked = asked.without(CHANGE) | Signals(names={"hidden"})
    for start in range(0, length, width):
        for _ in range(width):
            masked = [token == denoiser.mask_id for token in response]
            eligible = [m and start <= j < start + width for j, m in enumerate(masked)]
            if not any(eligible):
                break
            action, token = (
                torch.tensor([[splitmix_uniform(seed, rollout, at, j, s) for j in range(length)]])
                for s, at in ((0, step), (1, changed_at))
            )
            seen = denoiser(
                prompt,
                torch.tensor([response]),
                asked,
                token if decoding.temperature > 0 else None,
                decoding.temperature,
            )
            signals = dict(seen.signals)
            if "change" in policy.signals.names:  # the toy's hidden states are its logits
                if not past or past[-1][0] != response:
                    past.append((list(response), signals["hidden"].softmax(-1)))
                signals = {"change": _change([distribution for _, distribution in past])}
            observation = Observation(
                torch.tensor([masked]),
                torch.tensor([eligible]),
                seen.confidence,
                torch.tensor([step / length]),
                signals,
            )
            distribution = policy(observation)
            opened = distribution.positions(distribution.sample(action))[0]
            chosen = [c and e for c, e in zip(opened, eligible, strict=True)]
            actions.append([bool(c) for c in chosen])
            if decoding.on_empty == "force" and not any(chosen):
                ranking = distribution.ranking()[0].tolist()
                chosen[ranking.index(max(ranking))] = True
            for place in (j for j, c in enumerate(chosen) if c):
                response[place] = int(seen.proposal[0, place])
                committed_at[place] = step
            step += 1
            changed_at = step if any(chosen) else changed_at
    return {"response": response, "nfe": step, "committed_at": committed_at, "actions": actions}
