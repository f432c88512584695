"""Independent draws that open the best position where they would open nothing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_unmask.policies.actions.bernoulli import Bernoulli
from lit_unmask.policies.actions.head import Head, Knobs
from lit_unmask.types import Observation


class BernoulliArgmax(Bernoulli):
    """Independent draws; an empty one becomes the eligible position with the largest logit.

    With the probability ``B(u)`` of :class:`Bernoulli` and the best position ``j`` the probability
    of a set is ``B({j}) + B({}) = product over the others of (1 - s)`` for ``{j}``, 0 for the
    empty set where anything is eligible, and ``B(u)`` else. The draw is the argmax fallback that
    arXiv 2512.09106 decodes with; there it is no part of the likelihood that is trained, here it
    is. Among equal logits the left one is the best.

    Args:
        logits: ``[B, L]`` float, unmasking logits; only eligible positions count.
        eligible: ``[B, L]`` bool.
        temperature: Policy temperature, positive.
        scale: Factor of the probabilities, as in :class:`Bernoulli`.

    Raises:
        ValueError: If the shapes differ, or the temperature or the scale is not positive.
    """

    def _best(self) -> Tensor:
        """Return each row's best position as a set, ``[B, L]`` bool."""
        return self.forced(torch.zeros_like(self.eligible))

    def sample(self, uniform: Tensor) -> Tensor:
        """Draw each position, and open the best one of rows without any."""
        return self.forced(super().sample(uniform))

    def mode(self) -> Tensor:
        """Return the more probable of the best position alone and all those above one half."""
        alone, likely = self._best(), super().mode()
        # Without positions above one half, the best one alone takes the empty draw's share, which
        # no other set exceeds.
        better = self.log_prob(likely) > self.log_prob(alone)
        return torch.where(better[:, None], likely, alone)

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the log-probability ``[B]`` of ``action`` ``[B, L]`` bool."""
        best = self._best()
        each = F.logsigmoid(torch.where(action, self.logits, -self.logits))
        alone = (action == best).all(-1, keepdim=True)
        total = each.masked_fill(~self.eligible | (alone & best), 0.0).sum(-1)
        empty = ~action.any(-1) & self.eligible.any(-1)
        return total.masked_fill(empty | (action & ~self.eligible).any(-1), -torch.inf)

    def entropy(self) -> Tensor:
        """Return the entropy of each row's action, ``[B]`` in nats; exact."""
        nothing, alone = torch.zeros_like(self.eligible), self._best()
        parts = [super(BernoulliArgmax, self).log_prob(draw) for draw in (nothing, alone)]
        merged = self.log_prob(alone)
        # Two outcomes of the draw are one here: their terms of -p log p give way to that of both.
        split = sum(-part.exp() * part for part in parts)
        change = -merged.exp() * merged - split
        return torch.where(self.eligible.any(-1), super().entropy() + change, 0.0)

    def probability(self) -> Tensor:
        """Return the marginals: those of the draw, and at the best position ``s + B({})``."""
        empty = super().log_prob(torch.zeros_like(self.eligible)).exp()
        return super().probability() + self._best() * empty[:, None]


class BernoulliArgmaxHead(Head):
    """Each position is drawn for itself, and an empty draw opens the best one.

    So that training sees what decoding does. Temperature and scale are those of
    :class:`~lit_unmask.policies.BernoulliHead`.
    """

    never_empty = True

    def forward(
        self, network: nn.Module, observation: Observation, knobs: Knobs
    ) -> BernoulliArgmax:
        """Return draws that are never empty."""
        return BernoulliArgmax(
            network(observation), observation.eligible, knobs.temperature, knobs.scale
        )
