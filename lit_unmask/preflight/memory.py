"""What a GPU has to hold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.denoisers.network import MAX_LOGITS_ACCELERATOR, MAX_LOGITS_CPU
from lit_unmask.preflight.asked import Asked
from lit_unmask.preflight.blueprint import Blueprint, Sizes
from lit_unmask.preflight.devices import GIB
from lit_unmask.rollout import Decoding
from lit_unmask.types import ENTROPY, HIDDEN, SIGNALS, Observation, Signals

# CUDA's context with the kernels of torch, and what its allocator cannot use.
CONTEXT = 0.75 * GIB
SLACK = 0.08
_FLOAT = 4


@dataclass(frozen=True)
class Shape:
    """Sizes of one denoiser call.

    Attributes:
        rows: Rows at once.
        prompt: Prompt length **P** in tokens.
        length: Generation length **L**.
    """

    rows: int
    prompt: int
    length: int

    @property
    def tokens(self) -> int:
        """Tokens of a row."""
        return self.prompt + self.length


@dataclass(frozen=True)
class View:
    """What a policy looks at.

    Attributes:
        signals: What it asks the denoiser for.
        length: Generation length **L**.
        width: Hidden width **D** of the denoiser.
    """

    signals: Signals
    length: int
    width: int

    def observation(self, rows: int, device: torch.device | None = None) -> Observation:
        """Return random numbers in its form, all positions masked and eligible."""
        signals, shape = self.signals, (rows, self.length)
        sizes = {"B": rows, "L": self.length, "D": self.width}
        masked = torch.ones(shape, dtype=torch.bool, device=device)
        confidence = torch.rand(*shape, signals.top_k, device=device)
        return Observation(
            masked=masked,
            eligible=masked,
            confidence=confidence.sort(-1, descending=True).values,
            time=torch.rand(rows, device=device),
            signals={
                name: torch.rand(SIGNALS[name].shape(**sizes), device=device)
                for name in signals.names
            },
        )


@dataclass(frozen=True)
class Memory:
    """Bytes that one rank needs on its device.

    Attributes:
        weights: Of the denoiser, or of those that are there at once.
        row: Activations of one more row.
        rows: Activations of all rows at once.
        logits: The chunk of logits that exists at once.
        cache: Kept keys and values.
        steps: Recorded steps of a round.
        replay: What the policy keeps for the backward pass, weights and optimizer included.
        context: CUDA's own.
    """

    weights: float
    row: float
    rows: float
    logits: float
    cache: float
    steps: float
    replay: float
    context: float

    @property
    def total(self) -> float:
        """Largest sum: rollouts and updates do not overlap, but steps outlive the rollouts."""
        rollout, update = self.rows + self.logits + self.cache, self.replay
        return (self.weights + self.steps + max(rollout, update)) * (1 + SLACK) + self.context


def row_bytes(sizes: Sizes, tokens: int, itemsize: int) -> float:
    """Return the activations of a row of ``S`` tokens at their peak, within one layer.

    Attention holds the residual stream, its normalised copy, queries before and after the
    rotation, keys likewise, values and the output:
    ``S * itemsize * (3 D + 2 H d + 3 H_kv d + H d)``. The feed-forward part holds the residual
    stream, its normalised copy, and gate, its activation and the other factor:
    ``S * itemsize * (2 D + 3 F)``. Earlier layers leave nothing behind, as there is no backward
    pass. For LLaDA-8B with 456 tokens in bfloat16 this is 41 MB.
    """
    queries = sizes.heads * sizes.head_width
    keys = sizes.key_value_heads * sizes.head_width
    attention = 3 * sizes.width + 3 * queries + 3 * keys
    return tokens * itemsize * max(attention, 2 * sizes.width + 3 * sizes.feed_forward)


def logits_bytes(denoiser: Blueprint, shape: Shape, signals: Signals, on_cpu: bool) -> float:
    """Return the memory of the logits of ``M`` positions, ``M V`` of them.

    ``M`` is as many as ``max_logits`` allows, at most all positions of all rows. The head's
    output (in the denoiser's type) and its float32 copy exist together, ``M V (itemsize + 4)``;
    after that float32 weights beside them where the entropy is asked for, ``8 M V``.
    """
    vocab = denoiser.sizes.vocab_size
    limit = denoiser.arguments.get("max_logits")
    limit = limit or (MAX_LOGITS_CPU if on_cpu else MAX_LOGITS_ACCELERATOR)
    positions = min(max(limit // vocab, 1), shape.rows * shape.length)
    size = denoiser.dtype.itemsize
    copies = _FLOAT if size == _FLOAT else size + _FLOAT
    return positions * vocab * max(copies, 2 * _FLOAT if ENTROPY in signals else 0)


def cache_bytes(sizes: Sizes, shape: Shape, rows: int, itemsize: int) -> float:
    """Return keys and values of all rows of a round: ``2 layers H_kv d S itemsize`` each."""
    each = 2 * sizes.layers * sizes.key_value_heads * sizes.head_width * shape.tokens * itemsize
    return rows * each


def step_bytes(sizes: Sizes, signals: Signals, length: int, itemsize: int) -> float:
    """Return the size of one recorded step.

    For each of the **L** positions: masked, eligible, action and chosen in a byte each, **K**
    confidences and perhaps the entropy in float32, perhaps **D** hidden numbers; 32 bytes besides.
    They are counted twice, as joining them needs both copies.
    """
    floats = signals.top_k + int(ENTROPY in signals)
    hidden = sizes.width * itemsize if HIDDEN in signals else 0
    return 2 * (length * (4 + _FLOAT * floats + hidden) + 32)


def saved_bytes(policy: torch.nn.Module, view: View) -> float:
    """Return what autograd keeps of one replayed step, by replaying some on the CPU."""
    held = [_saved(policy, view.observation(count)) for count in (1, 3)]
    return (held[1] - held[0]) / 2


def _saved(policy: torch.nn.Module, observation: Observation) -> float:
    sizes: dict[int, int] = {}
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        kept.append(tensor)  # so that its address is not used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        distribution = policy(observation)
        distribution.log_prob(distribution.mode())
    return float(sum(sizes.values()))


def memory_of(asked: Asked, shape: Shape, rollouts: int, on_cpu: bool) -> Memory:
    """Return what one rank needs.

    The replay keeps ``saved * n`` bytes, with ``n`` the steps that are replayed at once: a chunk
    where they are recomputed, else all steps of the round. Weights, gradient and Adam's two
    moments of the policy take ``16`` bytes a parameter.

    Args:
        asked: The configuration.
        shape: Of a denoiser call.
        rollouts: Rollouts of a rank in a round.
        on_cpu: Whether it is no GPU that holds it.
    """
    model, denoiser = asked.model, asked.denoiser
    nfe = asked.assumptions.learned_nfe(model.decoding).high
    sizes, itemsize, signals = denoiser.sizes, denoiser.dtype.itemsize, model.policy.signals
    row = row_bytes(sizes, shape.tokens, itemsize)
    cached = model.decoding.approximate.cache != "none"
    steps = rollouts * nfe
    at_once = min(model.rounds.replay_chunk, steps) if model.rounds.recompute else steps
    parameters = sum(weight.numel() for weight in model.policy.parameters())
    replay = 16.0 * parameters
    if parameters:
        view = View(signals, shape.length, sizes.width)
        replay += saved_bytes(model.policy, view) * at_once
    return Memory(
        weights=denoiser.weight_bytes,
        row=row,
        rows=row * shape.rows,
        logits=logits_bytes(denoiser, shape, signals, on_cpu),
        cache=cache_bytes(sizes, shape, rollouts, itemsize) if cached else 0.0,
        steps=steps * step_bytes(sizes, signals, shape.length, itemsize),
        replay=replay,
        context=0.0 if on_cpu else CONTEXT,
    )


def memory_of_evaluation(asked: Asked, shape: Shape, rollouts: int, on_cpu: bool) -> Memory:
    """Return what one rank needs to evaluate: nothing is recorded and nothing is updated.

    A transfer cell with a denoiser of its own has it on the device in the place of the module's,
    one cell at a time. What a device map places stays there, and on a CPU all of them are in
    memory all the time.

    Args:
        asked: The configuration.
        shape: Of the largest denoiser call.
        rollouts: Rollouts of a rank at once.
        on_cpu: Whether it is no GPU that holds it.
    """
    model, denoiser = asked.model, asked.denoiser
    stays = [e.weight_bytes for e in asked.denoisers if on_cpu or e.placement.device_map]
    moves = [e.weight_bytes for e in asked.denoisers if not (on_cpu or e.placement.device_map)]
    sizes, itemsize = denoiser.sizes, denoiser.dtype.itemsize
    row = max(row_bytes(each.sizes, shape.tokens, each.dtype.itemsize) for each in asked.denoisers)
    cached = model.eval_decoding.approximate.cache != "none"
    return Memory(
        weights=sum(stays) + max(moves, default=0.0),
        row=row,
        rows=row * shape.rows,
        logits=logits_bytes(denoiser, shape, model.policy.signals, on_cpu),
        cache=cache_bytes(sizes, shape, rollouts, itemsize) if cached else 0.0,
        steps=0.0,
        replay=_FLOAT * sum(weight.numel() for weight in model.policy.parameters()),
        context=0.0 if on_cpu else CONTEXT,
    )


def rows_at_once(decoding: Decoding, rollouts: int, tokens: int) -> int:
    """Return how many rows a rank decodes at once, given the tokens of a row."""
    return decoding.scheduling.admitted([tokens] * rollouts)
