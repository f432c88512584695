"""A number of best positions, whatever makes them the best."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from lit_unmask.policies.actions import Deterministic, rank_descending
from lit_unmask.policies.base import Policy
from lit_unmask.types import Observation


def check_count(k: int, name: str = "k") -> int:
    """Return ``k``; raise ValueError unless it is at least 1."""
    if k < 1:
        raise ValueError(f"{name}={k} must be at least 1, or decoding would never end")
    return k


def top_positions(scores: Tensor, eligible: Tensor, k: int) -> Tensor:
    """Return the ``k`` eligible positions with the largest scores, ties to the left.

    Args:
        scores: ``[B, L]`` float, finite where eligible.
        eligible: ``[B, L]`` bool.
        k: Positions to select in each row; all eligible ones where there are fewer.

    Returns:
        ``[B, L]`` bool, within ``eligible``.
    """
    scores = scores.masked_fill(~eligible, -torch.inf)
    if k == 1:
        best = scores.argmax(-1, keepdim=True)
        return torch.zeros_like(eligible).scatter_(-1, best, True) & eligible
    return (rank_descending(scores) < k) & eligible


class TopK(Policy):
    """Open the ``k`` eligible positions with the largest score; ties are broken to the left.

    Args:
        k: Positions a step.
    """

    draws = False

    def __init__(self, k: int = 1) -> None:
        super().__init__()
        self.k = check_count(k)

    @abstractmethod
    def scores(self, observation: Observation) -> Tensor:
        """Return how much each position is preferred, ``[B, L]`` finite float."""

    def forward(self, observation: Observation) -> Deterministic:
        """Return the point mass on the best ``k`` positions."""
        scores = self.scores(observation)
        action = top_positions(scores, observation.eligible, self.k)
        return Deterministic(action, observation.eligible, scores)
