"""Ordered picks until a stop."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_unmask.policies.actions.base import (
    UnmaskDistribution,
    check_knobs,
    check_shapes,
    rank_descending,
)
from lit_unmask.policies.actions.head import Head, Knobs
from lit_unmask.types import Observation

# Stands in for -inf, where its gradients would not be numbers; far below any logit.
_FLOOR = -1e30
_SMALLEST = 2.0**-25


class DynamicPlackettLuce(UnmaskDistribution):
    """Picks one position after the other, each by its weight, until STOP is picked (DPLS).

    With weights ``w = exp(logits / temperature)`` the first pick is a softmax over the eligible
    positions ``E``. Each further one is a softmax over those that are left and STOP, whose weight
    is 1 (arXiv 2512.09106)::

        log p = log softmax_E(b)[first] + sum over later picks k of (b_k - logsumexp(left_k, STOP))
                - logsumexp(left at the end, STOP)

    An action is ``[B, L]`` int64, 0 where a position is not opened and ``k`` at the ``k``-th pick:
    the order counts. Where anything is eligible, something is opened.

    Args:
        logits: ``[B, L]`` float; only eligible positions count.
        eligible: ``[B, L]`` bool.
        temperature: Policy temperature, positive; STOP's logit of 0 has none.
        scale: Factor of all weights against STOP's, positive. The first pick does not depend on
            it; any other position is opened with odds in proportion to it.

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
        self.scores = (logits / temperature + math.log(scale)).masked_fill(~eligible, _FLOOR)

    def sample(self, uniform: Tensor) -> Tensor:
        """Draw all picks at once.

        A position rings at the time ``-log(uniform) / w``, an exponential variable of rate ``w``,
        and the first ring is the first pick. STOP's clock starts with that ring, so that by the
        lack of memory the later picks are those that ring before STOP. The time ``t`` of the first
        ring says nothing about who rang, nor about what follows, and ``W t`` with the sum ``W`` of
        all weights is exponential of rate 1: it serves as STOP's time, and no further number has
        to be drawn. So all positions are opened that ring before ``t (1 + W)``.
        """
        # In log space, with the sign changed: Gumbel noise on the scores, the largest rings first.
        noise = -uniform.to(self.scores.dtype).clamp(min=_SMALLEST).log().neg().log()
        rings = (self.scores + noise).masked_fill(~self.eligible, -torch.inf)
        stop = rings.amax(-1, keepdim=True) - F.softplus(self.scores.logsumexp(-1, keepdim=True))
        ranks = rank_descending(rings)
        opened = ((rings > stop) | (ranks == 0)) & self.eligible
        return torch.where(opened, ranks + 1, 0)

    def mode(self) -> Tensor:
        """Return the most probable picks: best position first, up to the best place to stop."""
        ranks = rank_descending(self.scores)
        ordered = self.scores.sort(-1, descending=True).values
        left = self._left(ordered)
        taken = (ordered - self._totals(left)).cumsum(-1)
        after = F.softplus(F.pad(left[:, 1:], (0, 1), value=_FLOOR))
        last = (taken - after).argmax(-1, keepdim=True)
        return torch.where((ranks <= last) & self.eligible, ranks + 1, 0)

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the log-probability ``[B]`` of ``action`` ``[B, L]`` int64."""
        length = action.shape[-1]
        opened = action > 0
        rank = torch.where(opened & self.eligible, action, length + 1)
        rank, order = rank.masked_fill(~self.eligible, length + 2).sort(dim=-1, stable=True)
        scores = self.scores.gather(-1, order)
        left = self._left(scores)
        place = torch.arange(length, device=action.device)
        count = opened.sum(-1, keepdim=True)
        picked = place < count
        picks = (scores - self._totals(left)).masked_fill(~picked, 0.0).sum(-1)
        stop = F.softplus(left).masked_fill(place != count, 0.0).sum(-1)
        possible = ((rank == place + 1) | ~picked).all(-1) & (action >= 0).all(-1)
        possible &= ~(opened & ~self.eligible).any(-1)
        possible &= opened.any(-1) | ~self.eligible.any(-1)
        return (picks - stop).masked_fill(~possible, -torch.inf)

    def positions(self, action: Tensor) -> Tensor:
        """Return the positions that were picked, ``[B, L]`` bool."""
        return (action > 0) & self.eligible

    def action_of(self, positions: Tensor) -> Tensor:
        """Return the most probable order in which to pick a set ``[B, L]`` bool: best first.

        It leaves the least weight to the later picks, whatever the set.
        """
        scores = self.scores.masked_fill(~positions, -torch.inf)
        return torch.where(positions, rank_descending(scores) + 1, 0)

    def entropy(self) -> Tensor:
        """Return a lower bound of the entropy of each row's action, ``[B]`` in nats.

        It is the entropy of the first two picks, STOP among the second ones. What follows them
        adds a term that is not negative and has no closed form, so that the bound is exact for up
        to two eligible positions, near for a policy that seldom picks a third one, and low for a
        fast one; the mean of ``-log_prob`` of draws is an unbiased estimate of the whole. The
        bound is differentiable.
        """
        first = self._first()
        total = self.scores.logsumexp(-1)
        chosen = total - (first * self.scores).sum(-1)
        rest, mean = self._others()
        goes_on = rest.sigmoid()
        # Whether to stop, then which of the others if not.
        second = rest.abs() * torch.sigmoid(-rest.abs()) - F.logsigmoid(rest.abs())
        second = second + goes_on * (rest - mean)
        bound = chosen + (first * second.masked_fill(~self.eligible, 0.0)).sum(-1)
        return torch.where(self.eligible.any(-1), bound, 0.0)

    def ranking(self) -> Tensor:
        """Return the logits, -inf where not eligible."""
        return self.scores.masked_fill(~self.eligible, -torch.inf)

    def probability(self) -> Tensor:
        """Return the marginals, exactly: picked first, or later and before STOP.

        Any later position races STOP alone, whoever else is left.
        """
        first = self._first()
        return first + (1 - first) * self.scores.sigmoid() * self.eligible

    def _first(self) -> Tensor:
        """Return the probability of being the first pick, ``[B, L]``, 0 where not eligible."""
        return self.scores.softmax(-1).masked_fill(~self.eligible, 0.0)

    @staticmethod
    def _left(scores: Tensor) -> Tensor:
        """Return the logarithm of the weight of each place and all later ones, ``[B, L]``."""
        return scores.flip(-1).logcumsumexp(-1).flip(-1)

    @staticmethod
    def _totals(left: Tensor) -> Tensor:
        """Return the logarithm of what each pick is taken from; STOP is not there at the first."""
        return torch.cat([left[:, :1], F.softplus(left[:, 1:])], dim=-1)

    def _others(self) -> tuple[Tensor, Tensor]:
        """Return the log of the weight of all other positions, and their mean score, ``[B, L]``.

        The best position may outweigh all others together, so what is left without it is summed
        apart; without any other one the best remains in the sum, and nothing cancels.
        """
        top, best = self.scores.max(-1, keepdim=True)
        weight = (self.scores - top).exp()
        is_best = torch.zeros_like(self.eligible).scatter_(-1, best, True)
        remain = (weight.sum(-1, keepdim=True) - weight).masked_fill(is_best, 1.0)
        moment = weight * self.scores
        rest, mean = top + remain.log(), (moment.sum(-1, keepdim=True) - moment) / remain
        without = self.scores.masked_fill(is_best, _FLOOR)
        rest = torch.where(is_best, without.logsumexp(-1, keepdim=True), rest)
        apart = (without.softmax(-1) * without).sum(-1, keepdim=True)
        return rest, torch.where(is_best, apart, mean)


class PlackettLuceHead(Head):
    """Positions are picked one after the other until STOP: DPLS of arXiv 2512.09106.

    The temperature divides the logits, of which STOP's is 0. The scale multiplies the weights of
    positions against STOP's, and with them the odds of being opened later than first.
    """

    never_empty = True

    def forward(
        self, network: nn.Module, observation: Observation, knobs: Knobs
    ) -> DynamicPlackettLuce:
        """Return ordered picks."""
        return DynamicPlackettLuce(
            network(observation), observation.eligible, knobs.temperature, knobs.scale
        )
