"""All positions that are sure enough."""

from __future__ import annotations

from lit_unmask.policies.actions import Deterministic
from lit_unmask.policies.base import Policy
from lit_unmask.policies.heuristics.top_k import top_positions
from lit_unmask.types import Observation


class ConfidenceThreshold(Policy):
    """Open every position with confidence above a threshold, and at least the best of each row.

    Source: Fast-dLLM, arXiv 2505.22618, section on confidence-aware parallel decoding. The rule
    "at least one" holds for each row, so a row's course does not depend on its batch.

    Args:
        threshold: Probability in ``[0, 1]`` that a confidence must exceed.

    Raises:
        ValueError: If ``threshold`` is outside ``[0, 1]``.
    """

    draws = False

    def __init__(self, threshold: float = 0.9) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold={threshold} must lie in [0, 1]; it is a probability")
        self.threshold = threshold

    def forward(self, observation: Observation) -> Deterministic:
        """Return the point mass on the confident positions."""
        confidence, eligible = observation.confidence[..., 0], observation.eligible
        action = (confidence > self.threshold) & eligible
        action |= top_positions(confidence, eligible, 1)
        return Deterministic(action, eligible, confidence)
