"""Positions that are far apart first, alone or before another policy chooses among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lit_unmask.policies.actions import Deterministic, UnmaskDistribution
from lit_unmask.policies.base import Policy
from lit_unmask.types import Observation


def dilation(block_length: int, base: int) -> list[int]:
    """Return the strides of the rounds of a block: ``max(1, floor(B / a**t))`` down to 1."""
    strides: list[int] = []
    scale = base
    while not strides or strides[-1] > 1:
        strides.append(max(1, block_length // scale))
        scale *= base
    return strides


class Dilated(Policy):
    """Rounds of positions that are far apart, closer in each round: DUS, arXiv 2506.19037.

    Round ``t`` has the positions ``i`` of a block, from 0, with ``i mod s_t = 0`` that no earlier
    round has. A row is in the first round of which something is eligible. Alone, it opens the
    round at once, so that a block takes as many steps as there are rounds. With a policy, that
    one is shown the round alone as eligible, and its actions and likelihoods are exactly its own
    there. How long a round lasts under another policy is open in the source; here, until all of it
    is committed. So the paper's skipping of unsure tokens is ``policy: ConfidenceThreshold(0.3)``,
    with the difference that they are not put off until later rounds.

    Args:
        policy: Chooses among the positions of a round; None opens all of them.
        block_length: Length **B** of the blocks that are dilated, usually that of the decoding;
            with a longer one there, its blocks are dilated side by side.
        base: Factor **a** between the strides of rounds, at least 2.
        strides: Strides ``s_t`` of the rounds, in their place; the last of them has to be 1.

    Raises:
        ValueError: If a number is too small, or some position is in no round.
    """

    rounds: Tensor

    def __init__(
        self,
        policy: Policy | None = None,
        block_length: int = 32,
        base: int = 2,
        strides: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if block_length < 1 or base < 2:
            raise ValueError(
                f"block_length={block_length} must be at least 1, and base={base} at least 2"
            )
        self.policy, self.block_length, self.base = policy, block_length, base
        self.strides = None if strides is None else list(strides)
        self.register_buffer("rounds", self._rounds(), persistent=False)
        if policy is not None:
            self.signals = policy.signals
        self.draws = policy is not None and policy.draws

    def _rounds(self) -> Tensor:
        """Return the round of each position of a block, ``[block_length]`` int64."""
        strides = self.strides or dilation(self.block_length, self.base)
        if min(strides) < 1:
            raise ValueError(f"strides={strides} must be at least 1")
        places = torch.arange(self.block_length)
        within = torch.stack([places % stride == 0 for stride in strides])
        uncovered = (~within.any(0)).nonzero()
        if len(uncovered):
            raise ValueError(
                f"strides={strides} never open position {int(uncovered[0])} of a block of "
                f"{self.block_length}; let the last stride be 1"
            )
        return within.int().argmax(0)

    def round(self, eligible: Tensor) -> Tensor:
        """Return the eligible positions ``[B, L]`` bool of each row's current round."""
        places = torch.arange(eligible.shape[1], device=eligible.device) % self.block_length
        rounds = self.rounds.to(eligible.device)[places].expand_as(eligible)
        current = rounds.masked_fill(~eligible, self.block_length).amin(1, keepdim=True)
        return eligible & (rounds == current)

    def forward(self, observation: Observation) -> UnmaskDistribution:
        """Return what is done with the current round."""
        eligible = self.round(observation.eligible)
        if self.policy is None:
            return Deterministic(eligible, eligible, observation.confidence[..., 0])
        return self.policy(replace(observation, eligible=eligible))

    def _at(self, **settings: float) -> Policy:
        if self.policy is None:
            return super()._at(**settings)
        return Dilated(self.policy.at(**settings), self.block_length, self.base, self.strides)
