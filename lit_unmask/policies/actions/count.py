"""How many of the best positions to open."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_unmask.policies.actions.base import check_shapes, rank_descending
from lit_unmask.policies.actions.menu import Menu


class TopKCount(Menu):
    """Categorical over how many of the best-ranked positions to open.

    Set ``c`` holds the ``counts[c]`` best eligible positions, ties to the left. Counts are on offer
    up to the first that takes all that is eligible, so that no two open the same set.

    Args:
        logits: ``[B, C]`` float, for each count.
        eligible: ``[B, L]`` bool.
        ranking: ``[B, L]`` float, preference of positions.
        counts: ``[C]`` int64, ascending; 0 opens nothing.

    Raises:
        ValueError: If the shapes differ.
    """

    def __init__(self, logits: Tensor, eligible: Tensor, ranking: Tensor, counts: Tensor) -> None:
        check_shapes(eligible, ranking=ranking)
        before = torch.cat([counts.new_full((1,), -1), counts[:-1]])
        super().__init__(logits, before < eligible.sum(-1, keepdim=True), eligible)
        self._ranking, self.counts = ranking, counts

    def sets(self) -> Tensor:
        """Return the best positions of each count, ``[B, C, L]`` bool."""
        ranks = rank_descending(self.ranking())
        return (ranks[:, None] < self.counts[:, None]) & self.eligible[:, None]

    def ranking(self) -> Tensor:
        """Return the preference given, -inf where not eligible."""
        return self._ranking.masked_fill(~self.eligible, -torch.inf)
