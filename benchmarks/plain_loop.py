"""The baseline of the rollout benchmark: a plain lock-step loop.

In each step all rows of the batch go through the denoiser, also those that are finished and those
whose buffer did not change, until the slowest row is done. Each forward makes the logits of the
whole response, ``[B, L, V]``, and a full softmax of them. Nothing is skipped, shared or compacted,
and prompts of different lengths are padded to the longest of the batch.

Blocks, forcing and the keys of the noise are those of ``lit_unmask.rollout``, so that both loops
have the same trajectories and a comparison of their time is one of the same work.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.denoisers import Denoiser
from lit_unmask.policies import Policy
from lit_unmask.policies.actions import UnmaskDistribution
from lit_unmask.randomness import ACTION, TOKEN, uniform
from lit_unmask.rollout import Decoding, Noise
from lit_unmask.types import CHANGE, ENTROPY, HIDDEN, Observation, Prompt, Reading, Signals


@dataclass(frozen=True)
class PlainRollout:
    """What the plain loop decoded.

    Attributes:
        response: ``[B, L]`` int64 token ids; the mask id where a row ended with masks left.
        nfe: ``[B]`` int64, steps until the row was done.
        committed_at: ``[B, L]`` int64, step at which a position was committed, or -1.
        computed: Row-forwards that ran.
    """

    response: Tensor
    nfe: Tensor
    committed_at: Tensor
    computed: int


class _LockStep:
    """State of one batch; every tensor has the rows first."""

    def __init__(
        self,
        denoiser: Denoiser,
        policy: Policy,
        prompt: Prompt,
        decoding: Decoding,
        noise: Noise,
    ) -> None:
        for signal in (HIDDEN, CHANGE):
            if signal in policy.signals:
                raise ValueError(f"the plain loop reads logits alone; {signal.name} is wanted")
        self.denoiser, self.policy, self.prompt = denoiser, policy, prompt
        self.decoding, self.noise = decoding, noise
        shape, device = (len(prompt), decoding.gen_length), prompt.tokens.device
        self.response = torch.full(shape, denoiser.mask_id, device=device)
        self.committed_at = torch.full_like(self.response, -1)
        self.nfe = torch.zeros(len(prompt), dtype=torch.int64, device=device)
        self.changed_at = torch.zeros_like(self.nfe)
        self.block = torch.zeros_like(self.nfe)
        self.block_steps = torch.zeros_like(self.nfe)
        places = torch.arange(decoding.gen_length, device=device)
        self.position_block = places // decoding.block_length

    @property
    def finished(self) -> Tensor:
        """``[B]`` bool, rows whose last block is done."""
        return self.block > self.position_block[-1]

    def step(self) -> None:
        """Take one step in all rows; it changes nothing in those that are finished."""
        active = ~self.finished
        masked = self.response == self.denoiser.mask_id
        eligible = masked & (self.position_block == self.block[:, None])
        said = self._ask()
        time = self.nfe.float() / self.decoding.gen_length
        distribution = self.policy(
            Observation(masked, eligible, said.confidence, time, said.signals)
        )
        action = distribution.sample(self._uniform(self.nfe, ACTION))
        opened = distribution.positions(action) & eligible
        commit = self._forced(opened, distribution) & eligible
        self.response = torch.where(commit, said.proposal, self.response)
        self.committed_at = torch.where(commit, self.nfe[:, None], self.committed_at)
        self.nfe += active
        self.block_steps += active
        self.changed_at = torch.where(commit.any(1), self.nfe, self.changed_at)
        done = ~(eligible & ~commit).any(1) | (self.block_steps >= self.decoding.block_length)
        self.block += done & active
        self.block_steps *= ~done

    def _ask(self) -> Reading:
        logits = self.denoiser.logits(self.prompt, self.response)
        temperature = self.decoding.temperature
        draws = self._uniform(self.changed_at, TOKEN) if temperature > 0 else None
        return full_softmax(logits, self.policy.signals, draws, temperature)

    def _uniform(self, step: Tensor, stream: int) -> Tensor:
        """Return noise ``[B, L]`` of the steps ``[B]``."""
        length = self.decoding.gen_length
        return uniform(self.noise.seed, self.noise.rollout, step, length, stream)

    def _forced(self, action: Tensor, distribution: UnmaskDistribution) -> Tensor:
        """Return the action, or where it is empty and must not be, the first-ranked position."""
        if self.decoding.on_empty == "wait":
            return action
        best = distribution.ranking().argmax(1, keepdim=True)
        forced = torch.zeros_like(action).scatter_(1, best, True)
        return torch.where(action.any(1, keepdim=True), action, forced)


def full_softmax(
    logits: Tensor, signals: Signals, draws: Tensor | None = None, temperature: float = 0.0
) -> Reading:
    """Return proposal and signals from probabilities of the whole vocabulary.

    Args:
        logits: ``[B, L, V]`` float32, ``-inf`` at the mask token.
        signals: What is asked for.
        draws: ``[B, L]`` in ``[0, 1)`` to draw the proposal with, or None for the most probable.
        temperature: Of the draw.
    """
    probability = logits.softmax(-1)
    proposal = logits.argmax(-1)
    if signals.top_k == 1:  # as published loops do; topk would cost the baseline more
        confidence = probability.gather(-1, proposal[..., None])
    else:
        confidence = probability.topk(signals.top_k).values
    if draws is not None:
        below = (logits / temperature).softmax(-1).cumsum(-1)
        total = below[..., -1:]
        target = torch.minimum(draws[..., None] * total, total.nextafter(torch.zeros_like(total)))
        proposal = torch.searchsorted(below, target, right=True).squeeze(-1)
    found = {}
    if ENTROPY in signals:
        found[ENTROPY.name] = -torch.special.xlogy(probability, probability).sum(-1)
    return Reading(proposal, confidence, found)


@torch.no_grad()
def plain_rollout(
    denoiser: Denoiser, policy: Policy, prompt: Prompt, decoding: Decoding, noise: Noise
) -> PlainRollout:
    """Decode a response for every prompt, ``decoding.scheduling.max_rows`` rows in lock step.

    Args:
        denoiser: The frozen dLLM.
        policy: Chooses the positions to commit.
        prompt: **B** prompts on the denoiser's device.
        decoding: Lengths, temperature, forcing; of the scheduling only ``max_rows`` is read.
        noise: Key of the random numbers, with one rollout number a row.
    """
    batch = decoding.scheduling.max_rows or len(prompt)
    computed, parts = 0, []
    for rows in torch.arange(len(prompt), device=prompt.tokens.device).split(batch):
        part = Noise(noise.seed, noise.rollout[rows])
        state = _LockStep(denoiser, policy, prompt.select(rows).trim(), decoding, part)
        while not bool(state.finished.all()):
            state.step()
            computed += len(rows)
        parts.append((state.response, state.nfe, state.committed_at))
    response, nfe, committed_at = (torch.cat(values) for values in zip(*parts, strict=True))
    return PlainRollout(response, nfe, committed_at, computed)
