"""Turning scores into a set of positions."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_unmask.policies.actions import rank_descending


def top_positions(scores: Tensor, eligible: Tensor, k: int) -> Tensor:
    """Return the ``k`` eligible positions with the largest scores, ties to the left.

    Args:
        scores: ``[B, L]`` float, finite where eligible.
        eligible: ``[B, L]`` bool.
        k: Positions to select in each row; all eligible ones where there are fewer.

    Returns:
        ``[B, L]`` bool, within ``eligible``.
    """
    scores = scores.masked_fill(~eligible, -torch.inf)
    if k == 1:
        best = scores.argmax(-1, keepdim=True)
        return torch.zeros_like(eligible).scatter_(-1, best, True) & eligible
    return (rank_descending(scores) < k) & eligible
