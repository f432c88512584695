"""A confidence threshold that is drawn for each row."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lit_unmask.policies.actions.base import check_shapes
from lit_unmask.policies.actions.beta import BetaDraws, Spread
from lit_unmask.policies.actions.head import Knobs, RowHead
from lit_unmask.types import Observation


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


class ThresholdHead(RowHead):
    """A confidence threshold for each row is drawn from a Beta distribution.

    The temperature divides the concentration; the scale multiplies the confidences that are
    compared with the threshold.

    Args:
        concentration: ``kappa`` of :class:`BetaThreshold`, positive.
        initial: Most probable threshold at the start, in ``(0, 1)``.

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(self, concentration: float = 20.0, initial: float = 0.9) -> None:
        if not 0 < initial < 1:
            raise ValueError(f"initial={initial} must lie in (0, 1); it is a threshold")
        super().__init__([math.log(initial / (1 - initial))])
        Spread(concentration)
        self.concentration, self.initial = concentration, initial

    def forward(self, network: nn.Module, observation: Observation, knobs: Knobs) -> BetaThreshold:
        """Return the distribution of the thresholds."""
        features = self.features(network, observation)
        logits = self.pooled(features, observation.eligible).squeeze(-1)
        spread = Spread(self.concentration, knobs.temperature, knobs.scale)
        confidence = observation.confidence[..., 0]
        return BetaThreshold(logits, observation.eligible, confidence, spread)
