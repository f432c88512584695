"""Policies: what decides which positions to unmask. A heuristic is a policy without parameters."""

from lit_unmask.policies.base import Policy
from lit_unmask.policies.choice import Choice
from lit_unmask.policies.confidence import ConfidenceTransformer
from lit_unmask.policies.heuristics import (
    ConfidenceThreshold,
    EntropyBound,
    LeftToRight,
    LowConfidence,
    Margin,
    Random,
)
from lit_unmask.policies.learned import LearnedPolicy

__all__ = [
    "Choice",
    "ConfidenceThreshold",
    "ConfidenceTransformer",
    "EntropyBound",
    "LearnedPolicy",
    "LeftToRight",
    "LowConfidence",
    "Margin",
    "Policy",
    "Random",
]
