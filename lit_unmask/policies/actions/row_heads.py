"""Heads that decide on a row as a whole: how many to open, which threshold, which block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lit_unmask.policies.actions import BetaThreshold, BlockThreshold, Spread, TopKCount
from lit_unmask.policies.actions.head import Knobs, RowHead
from lit_unmask.policies.networks.confidence import ConfidenceTransformer
from lit_unmask.types import Observation


class ThresholdHead(RowHead):
    """A confidence threshold for each row is drawn from a Beta distribution.

    The temperature divides the concentration; the scale multiplies the confidences that are
    compared with the threshold.

    Args:
        concentration: ``kappa`` of :class:`~lit_unmask.policies.actions.BetaThreshold`, positive.
        initial: Most probable threshold at the start, in ``(0, 1)``.

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(self, concentration: float = 20.0, initial: float = 0.9) -> None:
        if not 0 < initial < 1:
            raise ValueError(f"initial={initial} must lie in (0, 1); it is a threshold")
        super().__init__([math.log(initial / (1 - initial))])
        Spread(concentration)
        self.concentration, self.initial = concentration, initial

    def forward(self, network: nn.Module, observation: Observation, knobs: Knobs) -> BetaThreshold:
        """Return the distribution of the thresholds."""
        features = cast(ConfidenceTransformer, network).features(observation)
        logits = self.pooled(features, observation.eligible).squeeze(-1)
        spread = Spread(self.concentration, knobs.temperature, knobs.scale)
        confidence = observation.confidence[..., 0]
        return BetaThreshold(logits, observation.eligible, confidence, spread)


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
        features = cast(ConfidenceTransformer, network).features(observation)
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


class BlockThresholdHead(RowHead):
    """A block length and a confidence threshold are drawn together, for each step.

    All pairs of the two lists are alike at the start. Blocks are those of
    :class:`~lit_unmask.policies.actions.BlockThreshold`, within ``decoding.block_length``. The
    temperature divides the logits; the scale multiplies the confidences that are compared with
    the threshold.

    Args:
        block_lengths: At least 1 each.
        thresholds: In ``[0, 1]`` each.

    Raises:
        ValueError: If a list is empty, or a value is out of range.
    """

    never_empty = True

    def __init__(
        self,
        block_lengths: Sequence[int] = (8, 32, 128),
        thresholds: Sequence[float] = (0.5, 0.7, 0.9),
    ) -> None:
        if not block_lengths or min(block_lengths) < 1:
            raise ValueError(f"block_lengths={list(block_lengths)} must be at least 1 each")
        if not thresholds or min(thresholds) < 0 or max(thresholds) > 1:
            raise ValueError(f"thresholds={list(thresholds)} must lie in [0, 1] each")
        super().__init__([0.0] * (len(block_lengths) * len(thresholds)))
        self.block_lengths, self.thresholds = list(block_lengths), list(thresholds)

    def forward(self, network: nn.Module, observation: Observation, knobs: Knobs) -> BlockThreshold:
        """Return the distribution of the pairs."""
        features = cast(ConfidenceTransformer, network).features(observation)
        logits = self.pooled(features, observation.eligible) / knobs.temperature
        lengths = torch.tensor(self.block_lengths, device=logits.device)
        thresholds = torch.tensor(self.thresholds, device=logits.device)
        return BlockThreshold(
            logits,
            observation.eligible,
            knobs.scale * observation.confidence[..., 0],
            lengths.repeat_interleave(len(thresholds)),
            thresholds.repeat(len(lengths)),
        )
