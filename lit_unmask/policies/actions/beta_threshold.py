"""A confidence threshold that is drawn for each row."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_unmask.policies.actions.base import check_shapes
from lit_unmask.policies.actions.beta import BetaDraws, Spread


class BetaThreshold(BetaDraws):
    """One confidence threshold for each row, drawn from a Beta distribution.

    An action is ``[B]`` float, the threshold; every eligible position with
    ``scale * confidence > threshold`` is opened, which may be none.

    Args:
        logits: ``[B]`` float, of the most probable threshold.
        eligible: ``[B, L]`` bool.
        confidence: ``[B, L]`` float, largest token probability.
        spread: Concentration and temperature; the scale multiplies confidences, so that more is
            faster.

    Raises:
        ValueError: If the shapes differ.
    """

    opens_any_set = False

    def __init__(
        self,
        logits: Tensor,
        eligible: Tensor,
        confidence: Tensor,
        spread: Spread = Spread(),  # noqa: B008  (frozen)
    ) -> None:
        check_shapes(eligible, confidence=confidence)
        super().__init__(logits, eligible.any(-1), eligible, spread)
        self.confidence = confidence

    def sample(self, uniform: Tensor) -> Tensor:
        """Draw each row's threshold by its first uniform number."""
        return self._clamp(self.quantile(uniform[:, 0]))

    def positions(self, action: Tensor) -> Tensor:
        """Return the eligible positions that are surer than the threshold, ``[B, L]`` bool."""
        return (self.scale * self.confidence > action[:, None]) & self.eligible

    def ranking(self) -> Tensor:
        """Return the confidence, -inf where not eligible."""
        return self.confidence.masked_fill(~self.eligible, -torch.inf)

    def probability(self) -> Tensor:
        """Return the probability of a threshold below each confidence; not differentiable."""
        return self.cumulative(self.scale * self.confidence).masked_fill(~self.eligible, 0.0)
