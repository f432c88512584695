"""Real numbers between 0 and 1 that decide on positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.policies.actions.base import UnmaskDistribution, check_knobs, check_shapes

# Draws keep this distance from 0 and 1, where a density may be 0 or infinite in float32.
EDGE = 2.0**-24


@dataclass(frozen=True)
class Spread:
    """How a Beta distribution lies around its mode, and how its draws are used.

    Attributes:
        concentration: ``kappa``, positive; larger is closer to the mode.
        temperature: Divides ``kappa``, positive.
        scale: Speed at test time, positive; what it multiplies is the distribution's own.

    Raises:
        ValueError: If a value is not positive.
    """

    concentration: float = 20.0
    temperature: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_knobs(self.temperature, self.scale)
        if not self.concentration > 0:
            raise ValueError(f"concentration={self.concentration} must be positive")


class BetaDraws(UnmaskDistribution):
    """Independent Beta draws whose mode is the sigmoid of a logit.

    With ``m = sigmoid(logit)`` and ``kappa = concentration / temperature`` a draw has
    ``a = 1 + kappa m`` and ``b = 1 + kappa (1 - m)``, so that the density has its only mode at
    ``m``. Draws invert the cumulative distribution at the given uniform numbers. An action holds
    the draws, and its log-probability is their log-density; where there is nothing to decide, a
    draw counts 0 whatever it is, and is 0. Entropies are differential and may be negative.

    Args:
        logits: ``[B]`` or ``[B, L]`` float, one for each draw.
        drawn: Of the same shape, bool, draws that decide something.
        eligible: ``[B, L]`` bool.
        spread: Concentration, temperature and scale.

    Raises:
        ValueError: If the shapes differ.
    """

    def __init__(self, logits: Tensor, drawn: Tensor, eligible: Tensor, spread: Spread) -> None:
        check_shapes(eligible)
        if logits.shape != drawn.shape:
            raise ValueError(
                f"logits {tuple(logits.shape)} must have the shape {tuple(drawn.shape)} of the "
                "draws"
            )
        super().__init__(eligible)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        kappa = spread.concentration / spread.temperature
        self.logits, self.drawn, self.scale = logits, drawn, spread.scale
        self.center = logits.sigmoid()
        # a - 1 and b - 1, both exact for extreme logits.
        self.toward_one, self.toward_zero = kappa * self.center, kappa * torch.sigmoid(-logits)

    @property
    def beta(self) -> torch.distributions.Beta:
        """The distribution of each draw."""
        return torch.distributions.Beta(
            1 + self.toward_one, 1 + self.toward_zero, validate_args=False
        )

    def _sum(self, each: Tensor) -> Tensor:
        """Return the sum over the draws of each row, ``[B]``."""
        each = each.masked_fill(~self.drawn, 0.0)
        return each if each.ndim == 1 else each.sum(-1)

    def _clamp(self, draws: Tensor) -> Tensor:
        return draws.clamp(EDGE, 1 - EDGE).masked_fill(~self.drawn, 0.0)

    def quantile(self, uniform: Tensor) -> Tensor:
        """Return where the cumulative distribution of each draw reaches ``uniform``, else 0."""
        # scipy takes long to load and only sampling needs it.
        from scipy.special import betaincinv

        parts = 1 + self.toward_one, 1 + self.toward_zero, uniform
        a, b, chance = (part.detach()[self.drawn].double().cpu().numpy() for part in parts)
        found = torch.zeros_like(self.center)
        found[self.drawn] = torch.as_tensor(betaincinv(a, b, chance)).to(found)
        return found

    def cumulative(self, at: Tensor) -> Tensor:
        """Return the probability of a draw below ``at``, ``[B, L]``; not differentiable."""
        from scipy.special import betainc

        shapes = 1 + self.toward_one, 1 + self.toward_zero
        wide = [each if each.ndim == 2 else each[:, None] for each in shapes]
        a, b, where = (each.detach().double().cpu().numpy() for each in (*wide, at.clamp(0, 1)))
        return torch.as_tensor(betainc(a, b, where)).to(self.center)

    def mode(self) -> Tensor:
        """Return the sigmoids of the logits."""
        return self._clamp(self.center.detach())

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the log-density ``[B]`` of an action; -inf outside of (0, 1)."""
        inside = (action > 0) & (action < 1)
        draws = torch.where(inside, action, 0.5)
        a, b = 1 + self.toward_one, 1 + self.toward_zero
        density = self.toward_one * draws.log() + self.toward_zero * torch.log1p(-draws)
        density = density - a.lgamma() - b.lgamma() + (a + b).lgamma()
        return self._sum(density.masked_fill(~inside, -torch.inf))

    def broken(self) -> Tensor:
        """Return the rows whose preferences or logits are not finite."""
        total = self._sum(self.logits)
        return super().broken() | ((total - total) != 0)

    def entropy(self) -> Tensor:
        """Return the differential entropy of each row's draws, ``[B]`` in nats; exact."""
        return self._sum(self.beta.entropy())
