"""Policies: what decides which positions to unmask. A heuristic is a policy without parameters."""

from lit_unmask.former import renamed
from lit_unmask.policies.actions.bernoulli import BernoulliHead
from lit_unmask.policies.actions.bernoulli_argmax import BernoulliArgmaxHead
from lit_unmask.policies.actions.beta_intensity import IntensityHead
from lit_unmask.policies.actions.beta_threshold import ThresholdHead
from lit_unmask.policies.actions.block_threshold import BlockThresholdHead
from lit_unmask.policies.actions.correcting import CorrectingHead
from lit_unmask.policies.actions.count import CountHead, LogitCountHead
from lit_unmask.policies.actions.head import Head
from lit_unmask.policies.actions.plackett_luce import PlackettLuceHead
from lit_unmask.policies.actions.remasking import RemaskingHead
from lit_unmask.policies.base import Policy
from lit_unmask.policies.choice import Choice
from lit_unmask.policies.conditioned import Conditioned
from lit_unmask.policies.heuristics import (
    KLASS,
    Ancestral,
    ConfidenceThreshold,
    Dilated,
    EarlyExit,
    EntropyBound,
    Factor,
    LeftToRight,
    LowConfidence,
    LowEntropy,
    Margin,
    Random,
)
from lit_unmask.policies.learned import LearnedPolicy, Scaled, Tempered, Thresholded
from lit_unmask.policies.networks.confidence import ConfidenceTransformer
from lit_unmask.policies.networks.hidden import HiddenTransformer
from lit_unmask.policies.networks.planner import Planner
from lit_unmask.policies.plain import Plain

__all__ = [
    "KLASS",
    "Ancestral",
    "BernoulliArgmaxHead",
    "BernoulliHead",
    "BlockThresholdHead",
    "Choice",
    "Conditioned",
    "ConfidenceThreshold",
    "ConfidenceTransformer",
    "CorrectingHead",
    "CountHead",
    "Dilated",
    "EarlyExit",
    "EntropyBound",
    "Factor",
    "Head",
    "HiddenTransformer",
    "IntensityHead",
    "LearnedPolicy",
    "LeftToRight",
    "LogitCountHead",
    "LowConfidence",
    "LowEntropy",
    "Margin",
    "PlackettLuceHead",
    "Plain",
    "Planner",
    "Policy",
    "Random",
    "RemaskingHead",
    "Scaled",
    "Tempered",
    "ThresholdHead",
    "Thresholded",
]

__getattr__ = renamed(__name__)
