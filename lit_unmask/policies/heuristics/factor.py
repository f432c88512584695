"""As many positions as are sure enough together."""

from __future__ import annotations

import torch

from lit_unmask.policies.actions import Deterministic, rank_descending
from lit_unmask.policies.base import Policy
from lit_unmask.types import Observation


class Factor(Policy):
    """Open the largest number ``n`` of the surest positions with ``(n + 1)(1 - c_n) < factor``.

    ``c_n`` is the ``n``-th largest confidence. At least one position is opened. Source: Fast-dLLM,
    arXiv 2505.22618, the factor strategy that follows from its theorem on greedy parallel
    decoding. Its released code takes ``<=``, and one position more where the last of them fails.

    Args:
        factor: Positive; larger is faster.

    Raises:
        ValueError: If it is not positive.
    """

    draws = False

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        if not factor > 0:
            raise ValueError(f"factor={factor} must be positive; larger opens more positions")
        self.factor = factor

    def forward(self, observation: Observation) -> Deterministic:
        """Return the point mass on the sure positions."""
        confidence, eligible = observation.confidence[..., 0], observation.eligible
        ranks = rank_descending(confidence.masked_fill(~eligible, -torch.inf))
        # The left side rises with n, so that each position may be looked at for itself.
        sure = (ranks + 2) * (1 - confidence) < self.factor
        return Deterministic((sure | (ranks == 0)) & eligible, eligible, confidence)
