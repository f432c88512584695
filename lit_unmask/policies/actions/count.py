"""How many of the best positions to open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lit_unmask.policies.actions.base import check_shapes, rank_descending
from lit_unmask.policies.actions.head import Knobs, RowHead
from lit_unmask.policies.actions.menu import Menu
from lit_unmask.policies.networks.confidence import ConfidenceTransformer
from lit_unmask.types import Observation


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


class CountHead(RowHead):
    """How many of the most confident positions to open is drawn from a list of counts.

    A count of ``k`` has a probability in proportion to ``1 / k`` at the start. The temperature
    divides the logits; the scale multiplies the counts, which are rounded up.

    Args:
        counts: Ascending; 0 opens nothing.

    Raises:
        ValueError: If the counts are not ascending, or 0 is the only one.
    """

    def __init__(self, counts: Sequence[int] = (1, 2, 4, 8, 16)) -> None:
        if not counts or counts[0] < 0 or counts[-1] < 1 or sorted(set(counts)) != list(counts):
            raise ValueError(f"counts={list(counts)} must ascend from 0 or more; take [1, 2, 4, 8]")
        super().__init__([-math.log(max(count, 1)) for count in counts])
        self.counts = list(counts)
        self.never_empty = counts[0] > 0

    def forward(self, network: nn.Module, observation: Observation, knobs: Knobs) -> TopKCount:
        """Return the distribution of the counts."""
        features = self.features(network, observation)
        logits = self.pooled(features, observation.eligible) / knobs.temperature
        scaled = [math.ceil(knobs.scale * count) for count in self.counts]
        counts = torch.tensor(scaled, device=logits.device)
        ranking = self.ranking(network, features, observation)
        return TopKCount(logits, observation.eligible, ranking, counts)

    def ranking(self, network: nn.Module, features: Tensor, observation: Observation) -> Tensor:
        """Return the preference of positions, ``[B, L]`` float."""
        return observation.confidence[..., 0]


class LogitCountHead(CountHead):
    """The same, but the network's logits rank the positions.

    Ranks have no gradient, so the network stays as it is: give it one that another head has
    trained, and this head learns how many of its best positions to open.

    Args:
        counts: Ascending; 0 opens nothing.

    Raises:
        ValueError: If the counts are not ascending, or 0 is the only one.
    """

    def attach(self, network: nn.Module) -> None:
        """Make the map from features to numbers, and keep the network from being trained."""
        super().attach(network)
        network.requires_grad_(False)

    def ranking(self, network: nn.Module, features: Tensor, observation: Observation) -> Tensor:
        """Return the network's logits, ``[B, L]`` float."""
        return cast(ConfidenceTransformer, network).logits(features, observation)
