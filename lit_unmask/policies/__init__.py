"""Policies: what decides which positions to unmask. A heuristic is a policy without parameters."""

from lit_unmask.policies.actions.head import (
    BernoulliArgmaxHead,
    BernoulliHead,
    Head,
    IntensityHead,
    PlackettLuceHead,
)
from lit_unmask.policies.actions.row_heads import (
    BlockThresholdHead,
    CountHead,
    LogitCountHead,
    ThresholdHead,
)
from lit_unmask.policies.base import Policy
from lit_unmask.policies.choice import Choice
from lit_unmask.policies.conditioned import Paced
from lit_unmask.policies.heuristics import (
    ConfidenceThreshold,
    EntropyBound,
    LeftToRight,
    LowConfidence,
    Margin,
    Random,
)
from lit_unmask.policies.learned import LearnedPolicy
from lit_unmask.policies.networks.confidence import ConfidenceTransformer
from lit_unmask.policies.networks.hidden import HiddenTransformer
from lit_unmask.policies.turned import Scaled, Tempered

__all__ = [
    "BernoulliArgmaxHead",
    "BernoulliHead",
    "BlockThresholdHead",
    "Choice",
    "ConfidenceThreshold",
    "ConfidenceTransformer",
    "CountHead",
    "EntropyBound",
    "Head",
    "HiddenTransformer",
    "IntensityHead",
    "LearnedPolicy",
    "LeftToRight",
    "LogitCountHead",
    "LowConfidence",
    "Margin",
    "Paced",
    "PlackettLuceHead",
    "Policy",
    "Random",
    "Scaled",
    "Tempered",
    "ThresholdHead",
]
