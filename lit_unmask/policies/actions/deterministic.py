"""What heuristics decide: one action, or any subset of a size."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_unmask.policies.actions.base import UnmaskDistribution, check_shapes, rank_descending


class Deterministic(UnmaskDistribution):
    """The point mass on one action: what a heuristic decides.

    Args:
        action: ``[B, L]`` bool, within ``eligible``.
        eligible: ``[B, L]`` bool.
        ranking: ``[B, L]`` float, preference of positions.
        back: ``[B, L]`` bool, tokens to take back; None takes none.
        asks: ``[B]`` bool, rows to be corrected; None asks for none.

    Raises:
        ValueError: If the shapes differ.
    """

    def __init__(
        self,
        action: Tensor,
        eligible: Tensor,
        ranking: Tensor,
        back: Tensor | None = None,
        asks: Tensor | None = None,
    ) -> None:
        check_shapes(eligible, action=action, ranking=ranking)
        super().__init__(eligible)
        self.action, self.back, self.asks = action, back, asks
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

    def taken_back(self, action: Tensor) -> Tensor | None:
        """Return the tokens to take back, whatever the action."""
        return self.back

    def asked(self, action: Tensor) -> Tensor | None:
        """Return the rows to be corrected, whatever the action."""
        return self.asks

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
        check_shapes(eligible)
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
