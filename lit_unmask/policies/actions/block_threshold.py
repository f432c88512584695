"""Which block to look at, and how sure its tokens must be."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_unmask.policies.actions.base import check_shapes
from lit_unmask.policies.actions.menu import Menu


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
