"""Distributions over unmasking actions: which eligible positions to open in one step."""

from lit_unmask.policies.actions.base import UnmaskDistribution, rank_descending
from lit_unmask.policies.actions.bernoulli import Bernoulli
from lit_unmask.policies.actions.bernoulli_argmax import BernoulliArgmax
from lit_unmask.policies.actions.beta import Spread
from lit_unmask.policies.actions.beta_intensity import BetaIntensity
from lit_unmask.policies.actions.beta_threshold import BetaThreshold
from lit_unmask.policies.actions.block_threshold import BlockThreshold
from lit_unmask.policies.actions.correcting import Correcting
from lit_unmask.policies.actions.count import TopKCount
from lit_unmask.policies.actions.deterministic import Deterministic, UniformSubset
from lit_unmask.policies.actions.plackett_luce import DynamicPlackettLuce
from lit_unmask.policies.actions.remasking import Remasking

__all__ = [
    "Bernoulli",
    "BernoulliArgmax",
    "BetaIntensity",
    "BetaThreshold",
    "BlockThreshold",
    "Correcting",
    "Deterministic",
    "DynamicPlackettLuce",
    "Remasking",
    "Spread",
    "TopKCount",
    "UniformSubset",
    "UnmaskDistribution",
    "rank_descending",
]
