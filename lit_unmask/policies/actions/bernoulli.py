"""Independent draws at every position."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_unmask.policies.actions.base import (
    UnmaskDistribution,
    broken,
    check_knobs,
    check_shapes,
)
from lit_unmask.policies.actions.head import Head, Knobs
from lit_unmask.types import Observation

# The logit of a sure position: its probability is 1 in float32, and all terms stay finite.
_SURE = 88.0


class Bernoulli(UnmaskDistribution):
    """Independent Bernoulli draws on the eligible positions.

    With ``s = sigmoid(logits / temperature)`` the log-probability of an action ``u`` is
    ``sum over eligible of u log s + (1 - u) log(1 - s)``, from arXiv 2512.09106, section 3. It is
    computed in float32 at least and stays finite for any finite logits.

    Args:
        logits: ``[B, L]`` float, unmasking logits; only eligible positions count.
        eligible: ``[B, L]`` bool.
        temperature: Policy temperature, positive; smaller is closer to the mode.
        scale: Factor of the probabilities, ``s <- min(1, scale * s)``, positive: the knob of the
            paper for speed at test time.

    Raises:
        ValueError: If the shapes differ, or the temperature or the scale is not positive.
    """

    def __init__(
        self, logits: Tensor, eligible: Tensor, temperature: float = 1.0, scale: float = 1.0
    ) -> None:
        check_shapes(eligible, logits=logits)
        check_knobs(temperature, scale)
        super().__init__(eligible)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        logits = self._given = logits if temperature == 1.0 else logits / temperature
        self.logits = logits if scale == 1.0 else _scaled(logits, scale)

    def sample(self, uniform: Tensor) -> Tensor:
        """Open each eligible position whose uniform number is below its probability."""
        return (uniform < self.logits.sigmoid()) & self.eligible

    def mode(self) -> Tensor:
        """Return the eligible positions with a probability above one half."""
        return (self.logits > 0) & self.eligible

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the log-probability ``[B]`` of ``action`` ``[B, L]`` bool."""
        total = self.each_log_prob(action).sum(-1)
        return total.masked_fill((action & ~self.eligible).any(-1), -torch.inf)

    def each_log_prob(self, action: Tensor) -> Tensor:
        """Return the log-probability ``[B, L]`` of each position's draw, 0 where not eligible."""
        each = F.logsigmoid(torch.where(action, self.logits, -self.logits))
        return each.masked_fill(~self.eligible, 0.0)

    def entropy(self) -> Tensor:
        """Return the sum of the positions' entropies, ``[B]`` in nats."""
        # H = -log s(|b|) + |b| s(-|b|): both terms are small and positive for a sure position.
        size = self.logits.abs()
        each = size * torch.sigmoid(-size) - F.logsigmoid(size)
        return each.masked_fill(~self.eligible, 0.0).sum(-1)

    def ranking(self) -> Tensor:
        """Return the logits, -inf where not eligible."""
        return self.logits.masked_fill(~self.eligible, -torch.inf)

    def broken(self) -> Tensor:
        """Return the rows whose logits were not finite before they were scaled."""
        return broken(self._given, self.eligible)

    def probability(self) -> Tensor:
        """Return ``sigmoid(logits / temperature)``, 0 where not eligible."""
        return self.logits.sigmoid().masked_fill(~self.eligible, 0.0)


def _scaled(logits: Tensor, scale: float) -> Tensor:
    """Return the logits of ``min(1, scale * sigmoid(logits))``."""
    log_chance = F.logsigmoid(logits) + math.log(scale)
    # Where the product is no chance below 1 any more, a finite stand-in takes the place of log 0.
    below = log_chance.clamp(max=-torch.finfo(logits.dtype).tiny)
    scaled = below - (-torch.expm1(below)).log()
    return torch.where(log_chance < 0, scaled, _SURE).clamp(max=_SURE)


class BernoulliHead(Head):
    """Each position is drawn for itself: the policy of arXiv 2512.09106.

    The temperature divides the logits; the scale multiplies the probabilities,
    ``s <- min(1, scale * s)``.
    """

    def forward(self, network: nn.Module, observation: Observation, knobs: Knobs) -> Bernoulli:
        """Return independent draws."""
        return Bernoulli(network(observation), observation.eligible, knobs.temperature, knobs.scale)
