"""Positions at random."""

from __future__ import annotations

from lit_unmask.policies.actions import UniformSubset
from lit_unmask.policies.base import Policy
from lit_unmask.policies.heuristics.top_k import check_count
from lit_unmask.types import Observation


class Random(Policy):
    """Open ``k`` eligible positions at random, all subsets alike (LLaDA, arXiv 2502.09992).

    Args:
        k: Positions a step.
    """

    def __init__(self, k: int = 1) -> None:
        super().__init__()
        self.k = check_count(k)

    def forward(self, observation: Observation) -> UniformSubset:
        """Return the uniform distribution over subsets of size ``k``."""
        return UniformSubset(observation.eligible, self.k)
