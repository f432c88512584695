"""An intensity that is drawn for each position."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lit_unmask.policies.actions.base import check_shapes
from lit_unmask.policies.actions.beta import EDGE, BetaDraws, Spread
from lit_unmask.policies.actions.head import Head, Knobs
from lit_unmask.types import Observation


class BetaIntensity(BetaDraws):
    """An intensity for each position, drawn from its own Beta distribution.

    An action is ``[B, L]`` float, the intensities, 0 where not eligible. A position is opened if
    its intensity makes up for what its token lacks in confidence,
    ``scale * intensity > 1 - confidence``, so that an intensity is one minus a threshold of the
    position's own. What is asked beyond the ends of what is drawn counts as the end, so that every
    set can be opened.

    Args:
        logits: ``[B, L]`` float, of the most probable intensities.
        eligible: ``[B, L]`` bool.
        confidence: ``[B, L]`` float, largest token probability.
        spread: Concentration and temperature; the scale multiplies intensities, so that more is
            faster.

    Raises:
        ValueError: If the shapes differ.
    """

    def __init__(
        self,
        logits: Tensor,
        eligible: Tensor,
        confidence: Tensor,
        spread: Spread = Spread(),  # noqa: B008  (frozen)
    ) -> None:
        check_shapes(eligible, logits=logits, confidence=confidence)
        super().__init__(logits, eligible, eligible, spread)
        self.confidence = confidence

    def _cutoff(self) -> Tensor:
        """Return what the intensities have to exceed, ``[B, L]``, within what can be drawn."""
        return ((1 - self.confidence) / self.scale).clamp(EDGE, 1 - 2 * EDGE)

    def sample(self, uniform: Tensor) -> Tensor:
        """Draw the intensities, each by the uniform number of its position."""
        return self._clamp(self.quantile(uniform))

    def positions(self, action: Tensor) -> Tensor:
        """Return the eligible positions of sufficient intensity, ``[B, L]`` bool."""
        return (action > self._cutoff()) & self.eligible

    def action_of(self, positions: Tensor) -> Tensor:
        """Return the most probable intensities that open a set ``[B, L]`` bool."""
        cutoff, mode = self._cutoff(), self.center.detach()
        opens = torch.maximum(mode, cutoff.nextafter(torch.ones_like(cutoff)))
        return self._clamp(torch.where(positions, opens, torch.minimum(mode, cutoff)))

    def ranking(self) -> Tensor:
        """Return how far the most probable intensity exceeds what is needed."""
        return (self.center - self._cutoff()).masked_fill(~self.eligible, -torch.inf)

    def probability(self) -> Tensor:
        """Return the probability of a sufficient intensity; not differentiable."""
        return (1 - self.cumulative(self._cutoff())).masked_fill(~self.eligible, 0.0)


class IntensityHead(Head):
    """An intensity for each position is drawn from a Beta distribution around its sigmoid.

    A position is opened if its intensity exceeds one minus its confidence. The temperature
    divides the concentration; the scale multiplies the drawn intensities. Drawing takes some
    microseconds of a CPU for each eligible position.

    Args:
        concentration: ``kappa`` of :class:`BetaIntensity`, positive.

    Raises:
        ValueError: If it is not positive.
    """

    def __init__(self, concentration: float = 20.0) -> None:
        super().__init__()
        Spread(concentration)
        self.concentration = concentration

    def forward(self, network: nn.Module, observation: Observation, knobs: Knobs) -> BetaIntensity:
        """Return independent intensities."""
        spread = Spread(self.concentration, knobs.temperature, knobs.scale)
        confidence = observation.confidence[..., 0]
        return BetaIntensity(network(observation), observation.eligible, confidence, spread)
