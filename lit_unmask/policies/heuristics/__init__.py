"""Unmasking rules without parameters, one a file. Each looks at its own row only."""

from lit_unmask.policies.heuristics.ancestral import Ancestral
from lit_unmask.policies.heuristics.dilated import Dilated
from lit_unmask.policies.heuristics.early_exit import EarlyExit
from lit_unmask.policies.heuristics.entropy_bound import EntropyBound
from lit_unmask.policies.heuristics.factor import Factor
from lit_unmask.policies.heuristics.klass import KLASS
from lit_unmask.policies.heuristics.left_to_right import LeftToRight
from lit_unmask.policies.heuristics.low_confidence import LowConfidence
from lit_unmask.policies.heuristics.low_entropy import LowEntropy
from lit_unmask.policies.heuristics.margin import Margin
from lit_unmask.policies.heuristics.random import Random
from lit_unmask.policies.heuristics.threshold import ConfidenceThreshold
from lit_unmask.policies.heuristics.top_k import TopK
