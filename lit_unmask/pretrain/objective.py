"""The masked diffusion objective of MDLM and LLaDA."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Smallest share of masked tokens. Below it a row of 64 tokens rarely has a mask at all, and the
# few that it has would weigh as much as a whole batch.
SMALLEST_TIME = 0.01


def stratified_times(rows: int, generator: torch.Generator | None = None) -> Tensor:
    """Return ``[rows]`` float32 times, each uniform on ``(0, 1)``, one in each of ``rows`` strata.

    The estimate stays unbiased and varies less than with independent times (arXiv 2406.07524,
    section 3.5, has the same device).
    """
    offset = torch.rand(1, generator=generator)
    order = torch.randperm(rows, generator=generator)
    return ((order + offset) / rows).clamp(min=SMALLEST_TIME)


def mask_response(
    response: Tensor, times: Tensor, mask_id: int, generator: torch.Generator | None = None
) -> Tensor:
    """Replace each token of ``response [B, L]`` by the mask with probability ``times [B]``."""
    hidden = torch.rand(response.shape, generator=generator).to(times) < times[:, None]
    return response.masked_fill(hidden, mask_id)


def masked_diffusion_loss(
    logits: Tensor, target: Tensor, times: Tensor, rows: Tensor, size: int
) -> Tensor:
    """Return ``sum(cross entropy / t) / size``: LLaDA's bound (arXiv 2502.09992, equation 3).

    Args:
        logits: ``[M, V]`` of the masked positions alone.
        target: ``[M]`` int64 clean tokens there.
        times: ``[B]`` share of masked tokens that each row was drawn with.
        rows: ``[M]`` int64, row of each masked position.
        size: Number of response tokens in the batch, masked or not (``B * L``).
    """
    losses = F.cross_entropy(logits.float(), target, reduction="none")
    return (losses / times[rows]).sum() / size
