"""Distributions over unmasking actions: which eligible positions to open in one step."""

from lit_unmask.distributions.base import UnmaskDistribution, rank_descending
from lit_unmask.distributions.bernoulli import Bernoulli
from lit_unmask.distributions.heuristic import Deterministic, UniformSubset

__all__ = [
    "Bernoulli",
    "Deterministic",
    "UniformSubset",
    "UnmaskDistribution",
    "rank_descending",
]
