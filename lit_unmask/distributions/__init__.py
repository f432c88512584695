"""Distributions over unmasking actions: which eligible positions to open in one step."""

from lit_unmask.distributions.base import UnmaskDistribution, rank_descending
from lit_unmask.distributions.bernoulli import Bernoulli
from lit_unmask.distributions.beta import Spread
from lit_unmask.distributions.block_threshold import BlockThreshold
from lit_unmask.distributions.count import TopKCount
from lit_unmask.distributions.forced import BernoulliArgmax
from lit_unmask.distributions.heuristic import Deterministic, UniformSubset
from lit_unmask.distributions.intensity import BetaIntensity
from lit_unmask.distributions.plackett_luce import DynamicPlackettLuce
from lit_unmask.distributions.threshold import BetaThreshold

__all__ = [
    "Bernoulli",
    "BernoulliArgmax",
    "BetaIntensity",
    "BetaThreshold",
    "BlockThreshold",
    "Deterministic",
    "DynamicPlackettLuce",
    "Spread",
    "TopKCount",
    "UniformSubset",
    "UnmaskDistribution",
    "rank_descending",
]
