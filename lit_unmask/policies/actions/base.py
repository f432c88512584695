"""What all distributions over unmasking actions share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
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


def check_shapes(eligible: Tensor, **others: Tensor) -> None:
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


def broken(values: Tensor, counts: Tensor) -> Tensor:
    """Return the rows with a value that counts and is NaN or infinite, ``[B]`` bool.

    Args:
        values: ``[B, C]`` float.
        counts: ``[B, C]`` bool.
    """
    total = values.masked_fill(~counts, 0.0).sum(-1, dtype=torch.float32)
    return (total - total) != 0  # the only numbers that differ from themselves


def check_knobs(temperature: float, scale: float = 1.0) -> None:
    """Raise ValueError unless a policy temperature and a scale are positive."""
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} must be positive; use mode() for 0")
    if not scale > 0:
        raise ValueError(f"scale={scale} must be positive; 1 changes nothing, more is faster")


class UnmaskDistribution(ABC):
    """A distribution over actions for each row of a batch.

    An action is a tensor with one row for each row of the batch; its form is the distribution's
    own, and :meth:`positions` says what it opens. Here it is the ``[B, L]`` bool set of positions
    itself. Rows are independent; a row in which nothing is eligible has one possible action, which
    opens nothing, with probability 1.

    Args:
        eligible: ``[B, L]`` bool, positions that may be opened.

    Attributes:
        opens_any_set: Whether any set of eligible positions, with the exception of the empty one,
            is what some action opens, so that others can be imitated.
    """

    opens_any_set: ClassVar[bool] = True

    def __init__(self, eligible: Tensor) -> None:
        self.eligible = eligible

    @abstractmethod
    def sample(self, uniform: Tensor) -> Tensor:
        """Turn noise into an action.

        Args:
            uniform: ``[B, L]`` float32 in ``[0, 1)``.

        Returns:
            ``[B, ...]``, an action.
        """

    @abstractmethod
    def mode(self) -> Tensor:
        """Return a most probable action, ``[B, ...]``."""

    @abstractmethod
    def log_prob(self, action: Tensor) -> Tensor:
        """Return the log-probability ``[B]`` (nats) of an action.

        It is -inf for an action that cannot occur.
        """

    def positions(self, action: Tensor) -> Tensor:
        """Return what an action opens, ``[B, L]`` bool, within ``eligible``."""
        return action & self.eligible

    def taken_back(self, action: Tensor) -> Tensor | None:
        """Return the tokens that an action takes back, ``[B, L]`` bool; None if none ever do."""
        return None

    def removal_probability(self) -> Tensor | None:
        """Return the marginal probability of each token to be taken back, ``[B, L]``, or None."""
        return None

    def asked(self, action: Tensor) -> Tensor | None:
        """Return the rows for which an action asks the corrector, ``[B]`` bool; None if none do."""
        return None

    def asking_probability(self) -> Tensor | None:
        """Return the marginal probability of each row to ask for it, ``[B]``, or None."""
        return None

    def action_of(self, positions: Tensor) -> Tensor:
        """Return an action that opens given positions, as an imitator needs it.

        Where several do, it is the most probable of them. An empty set is an action of
        log-probability -inf where the distribution never opens nothing.

        Args:
            positions: ``[B, L]`` bool, within ``eligible``, what another policy opened.

        Raises:
            TypeError: If the distribution does not have an action for every set.
        """
        if not self.opens_any_set:
            raise TypeError(
                f"{type(self).__name__} cannot open any set of positions that another policy "
                "chose; imitate with Bernoulli or DynamicPlackettLuce actions"
            )
        return positions

    @abstractmethod
    def entropy(self) -> Tensor:
        """Return the entropy of each row's action, ``[B]`` in nats."""

    @abstractmethod
    def ranking(self) -> Tensor:
        """Return how much each position is preferred, ``[B, L]``; -inf where not eligible.

        An environment that forces progress opens the best one when an action is empty.
        """

    def broken(self) -> Tensor:
        """Return the rows whose numbers are NaN or infinite, ``[B]`` bool."""
        ranking = self.ranking()
        # What is never preferred is ranked -inf.
        return broken(ranking, self.eligible & (ranking != -torch.inf))

    @abstractmethod
    def probability(self) -> Tensor:
        """Return each position's marginal probability of being opened, ``[B, L]`` in [0, 1]."""

    def forced(self, positions: Tensor) -> Tensor:
        """Return the positions, with the first-ranked eligible one in rows where there are none.

        Args:
            positions: ``[B, L]`` bool, what an action opens.

        Returns:
            ``[B, L]`` bool, empty only in rows where nothing is eligible.
        """
        best = self.ranking().argmax(1, keepdim=True)
        first = torch.zeros_like(positions).scatter_(1, best, True) & self.eligible
        return torch.where(positions.any(1, keepdim=True), positions, first)
