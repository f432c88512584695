"""Distributions over unmasking actions: which eligible positions to open in one step.

An action is a ``[B, L]`` bool tensor. Rows are independent; a row in which nothing is eligible has
one possible action, the empty one, with probability 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor


def rank_descending(scores: Tensor) -> Tensor:
    """Return each position's rank in its row: 0 for the largest score, ties to the left.

    Args:
        scores: ``[B, L]`` float.

    Returns:
        ``[B, L]`` int64, a permutation of ``0 .. L-1`` in every row.
    """
    order = scores.argsort(dim=-1, descending=True, stable=True)
    places = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, places)


def _check_shapes(eligible: Tensor, **others: Tensor) -> None:
    """Raise ValueError unless every tensor is ``[B, L]`` like the bool tensor ``eligible``."""
    if eligible.ndim != 2 or eligible.dtype != torch.bool:
        raise ValueError(
            f"eligible {tuple(eligible.shape)} {eligible.dtype} must be a [B, L] bool tensor"
        )
    for name, value in others.items():
        if value.shape != eligible.shape:
            raise ValueError(
                f"{name} {tuple(value.shape)} must have the shape {tuple(eligible.shape)} "
                "of eligible"
            )


class UnmaskDistribution(ABC):
    """A distribution over boolean actions for each row of a batch.

    Args:
        eligible: ``[B, L]`` bool, positions that may be opened.
    """

    def __init__(self, eligible: Tensor) -> None:
        self.eligible = eligible

    @abstractmethod
    def sample(self, uniform: Tensor) -> Tensor:
        """Turn noise into an action.

        Args:
            uniform: ``[B, L]`` float32 in ``[0, 1)``.

        Returns:
            ``[B, L]`` bool, within ``eligible``.
        """

    @abstractmethod
    def mode(self) -> Tensor:
        """Return a most probable action, ``[B, L]`` bool."""

    @abstractmethod
    def log_prob(self, action: Tensor) -> Tensor:
        """Return the log-probability ``[B]`` (nats) of ``action`` ``[B, L]`` bool.

        It is -inf for an action that cannot occur.
        """

    @abstractmethod
    def entropy(self) -> Tensor:
        """Return the entropy of each row's action, ``[B]`` in nats."""

    @abstractmethod
    def ranking(self) -> Tensor:
        """Return how much each position is preferred, ``[B, L]``; -inf where not eligible.

        An environment that forces progress opens the best one when an action is empty.
        """

    @abstractmethod
    def probability(self) -> Tensor:
        """Return each position's marginal probability of being opened, ``[B, L]`` in [0, 1]."""

    def forced(self, action: Tensor) -> Tensor:
        """Return the action, with the first-ranked eligible position in rows where it is empty.

        Args:
            action: ``[B, L]`` bool.

        Returns:
            ``[B, L]`` bool, empty only in rows where nothing is eligible.
        """
        best = self.ranking().argmax(1, keepdim=True)
        first = torch.zeros_like(action).scatter_(1, best, True) & self.eligible
        return torch.where(action.any(1, keepdim=True), action, first)


class Bernoulli(UnmaskDistribution):
    """Independent Bernoulli draws on the eligible positions.

    With ``s = sigmoid(logits / temperature)`` the log-probability of an action ``u`` is
    ``sum over eligible of u log s + (1 - u) log(1 - s)``, from arXiv 2512.09106, section 3. It is
    computed in float32 at least and stays finite for any finite logits.

    Args:
        logits: ``[B, L]`` float, unmasking logits; only eligible positions count.
        eligible: ``[B, L]`` bool.
        temperature: Policy temperature, positive; smaller is closer to the mode.

    Raises:
        ValueError: If the shapes differ or the temperature is not positive.
    """

    def __init__(self, logits: Tensor, eligible: Tensor, temperature: float = 1.0) -> None:
        _check_shapes(eligible, logits=logits)
        if not temperature > 0:
            raise ValueError(f"temperature={temperature} must be positive; use mode() for 0")
        super().__init__(eligible)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        self.logits = logits if temperature == 1.0 else logits / temperature

    def sample(self, uniform: Tensor) -> Tensor:
        """Open each eligible position whose uniform number is below its probability."""
        return (uniform < self.logits.sigmoid()) & self.eligible

    def mode(self) -> Tensor:
        """Return the eligible positions with a probability above one half."""
        return (self.logits > 0) & self.eligible

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the log-probability ``[B]`` of ``action`` ``[B, L]`` bool."""
        each = F.logsigmoid(torch.where(action, self.logits, -self.logits))
        total = each.masked_fill(~self.eligible, 0.0).sum(-1)
        return total.masked_fill((action & ~self.eligible).any(-1), -torch.inf)

    def entropy(self) -> Tensor:
        """Return the sum of the positions' entropies, ``[B]`` in nats."""
        # H = -log s(|b|) + |b| s(-|b|): both terms are small and positive for a sure position.
        size = self.logits.abs()
        each = size * torch.sigmoid(-size) - F.logsigmoid(size)
        return each.masked_fill(~self.eligible, 0.0).sum(-1)

    def ranking(self) -> Tensor:
        """Return the logits, -inf where not eligible."""
        return self.logits.masked_fill(~self.eligible, -torch.inf)

    def probability(self) -> Tensor:
        """Return ``sigmoid(logits / temperature)``, 0 where not eligible."""
        return self.logits.sigmoid().masked_fill(~self.eligible, 0.0)


class Deterministic(UnmaskDistribution):
    """The point mass on one action: what a heuristic decides.

    Args:
        action: ``[B, L]`` bool, within ``eligible``.
        eligible: ``[B, L]`` bool.
        ranking: ``[B, L]`` float, preference of positions.

    Raises:
        ValueError: If the shapes differ.
    """

    def __init__(self, action: Tensor, eligible: Tensor, ranking: Tensor) -> None:
        _check_shapes(eligible, action=action, ranking=ranking)
        super().__init__(eligible)
        self.action = action
        self._ranking = ranking

    def sample(self, uniform: Tensor) -> Tensor:
        """Return the action; the noise is not used."""
        return self.action

    def mode(self) -> Tensor:
        """Return the action."""
        return self.action

    def log_prob(self, action: Tensor) -> Tensor:
        """Return 0 for the action itself and -inf for any other, ``[B]`` float32."""
        other = (action != self.action).any(-1)
        return torch.zeros(other.shape, device=other.device).masked_fill(other, -torch.inf)

    def entropy(self) -> Tensor:
        """Return zeros, ``[B]`` float32."""
        return torch.zeros(self.action.shape[0], device=self.action.device)

    def ranking(self) -> Tensor:
        """Return the preference given, -inf where not eligible."""
        return self._ranking.masked_fill(~self.eligible, -torch.inf)

    def probability(self) -> Tensor:
        """Return 1 at the action's positions and 0 elsewhere."""
        return self.action.float()


class UniformSubset(UnmaskDistribution):
    """All subsets of ``k`` eligible positions alike; all of them where fewer are eligible.

    With ``n`` eligible positions and ``m = min(k, n)`` each subset of size ``m`` has probability
    ``1 / C(n, m)``.

    Args:
        eligible: ``[B, L]`` bool.
        k: Size of the subset, at least 1.

    Raises:
        ValueError: If ``eligible`` is not ``[B, L]`` bool or ``k`` is below 1.
    """

    def __init__(self, eligible: Tensor, k: int) -> None:
        _check_shapes(eligible)
        if k < 1:
            raise ValueError(f"k={k} must be at least 1")
        super().__init__(eligible)
        self.k = k

    def _counts(self) -> tuple[Tensor, Tensor]:
        """Return the number of eligible positions and the subset's size, ``[B]`` int64 each."""
        available = self.eligible.sum(-1)
        return available, available.clamp(max=self.k)

    def _first(self, scores: Tensor) -> Tensor:
        """Return the eligible positions with the ``k`` largest finite ``scores``."""
        ranks = rank_descending(scores.masked_fill(~self.eligible, -torch.inf))
        return (ranks < self.k) & self.eligible

    def sample(self, uniform: Tensor) -> Tensor:
        """Open the positions with the ``k`` smallest uniform numbers."""
        return self._first(-uniform)

    def mode(self) -> Tensor:
        """Return the leftmost ``k`` eligible positions; every subset of that size is a mode."""
        return self._first(torch.zeros(self.eligible.shape, device=self.eligible.device))

    def log_prob(self, action: Tensor) -> Tensor:
        """Return ``-log C(n, m)`` for a subset of the right size, else -inf; ``[B]`` float32."""
        wrong_size = action.sum(-1) != self._counts()[1]
        outside = (action & ~self.eligible).any(-1)
        return (-self.entropy()).masked_fill(wrong_size | outside, -torch.inf)

    def entropy(self) -> Tensor:
        """Return ``log C(n, m)``, ``[B]`` float32 in nats."""
        available, size = (count.double() for count in self._counts())
        ways = (
            torch.lgamma(available + 1)
            - torch.lgamma(size + 1)
            - torch.lgamma(available - size + 1)
        )
        return ways.float()

    def ranking(self) -> Tensor:
        """Return 0 where eligible and -inf elsewhere."""
        return torch.zeros(self.eligible.shape, device=self.eligible.device).masked_fill(
            ~self.eligible, -torch.inf
        )

    def probability(self) -> Tensor:
        """Return ``m / n`` where eligible and 0 elsewhere."""
        available, size = self._counts()
        share = size / available.clamp(min=1)
        return share[:, None] * self.eligible
