"""Which block to look at, and how sure its tokens must be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lit_unmask.policies.actions.base import check_shapes
from lit_unmask.policies.actions.head import Knobs, RowHead
from lit_unmask.policies.actions.menu import Menu
from lit_unmask.types import Observation


class BlockThreshold(Menu):
    """Categorical over pairs of a block length and a confidence threshold.

    The block of length ``n`` is the aligned one, positions ``n i .. n i + n - 1`` of the response,
    that holds the row's first eligible position. A pair opens what a confidence threshold opens
    in it: every eligible position with confidence above the threshold, and at least the most
    confident one. In full diffusion, a policy of one pair is the threshold rule of Fast-dLLM
    (arXiv 2505.22618) with that block length.

    Args:
        logits: ``[B, C]`` float, for each pair.
        eligible: ``[B, L]`` bool.
        confidence: ``[B, L]`` float, largest token probability.
        lengths: ``[C]`` int64, block lengths.
        thresholds: ``[C]`` float.

    Raises:
        ValueError: If the shapes differ.
    """

    def __init__(
        self,
        logits: Tensor,
        eligible: Tensor,
        confidence: Tensor,
        lengths: Tensor,
        thresholds: Tensor,
    ) -> None:
        check_shapes(eligible, confidence=confidence)
        first = torch.arange(len(lengths), device=logits.device) == 0
        super().__init__(logits, first | eligible.any(-1, keepdim=True), eligible)
        self.confidence, self.lengths, self.thresholds = confidence, lengths, thresholds

    def sets(self) -> Tensor:
        """Return what each pair opens, ``[B, C, L]`` bool."""
        places = torch.arange(self.eligible.shape[1], device=self.eligible.device)
        block = places // self.lengths[:, None]
        start = self.eligible.int().argmax(-1)[:, None] // self.lengths
        inside = (block == start[:, :, None]) & self.eligible[:, None]
        confidence = self.confidence[:, None].expand(inside.shape)
        best = confidence.masked_fill(~inside, -torch.inf).argmax(-1, keepdim=True)
        first = torch.zeros_like(inside).scatter_(-1, best, True)
        return inside & ((confidence > self.thresholds[:, None]) | first)

    def ranking(self) -> Tensor:
        """Return the confidence, -inf where not eligible."""
        return self.confidence.masked_fill(~self.eligible, -torch.inf)


class BlockThresholdHead(RowHead):
    """A block length and a confidence threshold are drawn together, for each step.

    All pairs of the two lists are alike at the start. Blocks are those of
    :class:`BlockThreshold`, within ``decoding.block_length``. The
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
        features = self.features(network, observation)
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
