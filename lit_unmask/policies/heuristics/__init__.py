"""Unmasking rules without parameters, one a file. Each looks at its own row only."""

from lit_unmask.policies.heuristics.entropy_bound import EntropyBound
from lit_unmask.policies.heuristics.left_to_right import LeftToRight
from lit_unmask.policies.heuristics.low_confidence import LowConfidence
from lit_unmask.policies.heuristics.margin import Margin
from lit_unmask.policies.heuristics.random import Random
from lit_unmask.policies.heuristics.threshold import ConfidenceThreshold
from lit_unmask.policies.heuristics.top_k import TopK

__all__ = [
    "ConfidenceThreshold",
    "EntropyBound",
    "LeftToRight",
    "LowConfidence",
    "Margin",
    "Random",
    "TopK",
]
