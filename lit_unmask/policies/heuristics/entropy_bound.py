"""As many positions as a bound of their joint error allows."""

from __future__ import annotations

from typing import ClassVar

import torch

from lit_unmask.policies.actions import Deterministic, rank_descending
from lit_unmask.policies.base import Policy
from lit_unmask.types import ENTROPY, Observation, Signals


class EntropyBound(Policy):
    """Open the longest prefix, by rising entropy, whose joint error bound stays below ``gamma``.

    With the eligible positions sorted by entropy ``H``, the prefix may grow while
    ``sum(H) - max(H) <= gamma``, and has at least one position. Source: the EB-Sampler,
    arXiv 2505.24857, with the entropy itself as the error proxy that sorts. Entropies are taken
    as they come; at equal entropy the left position is first.

    Args:
        gamma: Bound in nats, at least 0; 0 opens one position a step (more if entropies are 0).

    Raises:
        ValueError: If ``gamma`` is negative.
    """

    signals = Signals(names={ENTROPY.name})
    draws: ClassVar[bool] = False

    def __init__(self, gamma: float = 0.1) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma={gamma} must be at least 0; it bounds a sum of entropies")
        self.gamma = gamma

    def forward(self, observation: Observation) -> Deterministic:
        """Return the point mass on the prefix.

        Raises:
            ValueError: If the observation has no entropy.
        """
        entropy, eligible = observation[ENTROPY], observation.eligible
        sure = (-entropy).masked_fill(~eligible, -torch.inf)
        ranks = rank_descending(sure)
        # In rising order the largest entropy is the last one: the bound is the sum before it.
        rising = torch.zeros_like(entropy).scatter_(-1, ranks, entropy.masked_fill(~eligible, 0.0))
        before = rising.cumsum(-1).roll(1, -1)
        before[:, :1] = 0.0
        action = (before <= self.gamma).gather(-1, ranks) & eligible
        return Deterministic(action, eligible, -entropy)
