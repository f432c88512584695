"""Where rollouts begin, and what was written since."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.rows import Rows


@dataclass(frozen=True)
class Start(Rows):
    """States that rollouts begin in.

    A row goes on in the first block that has masks, with all of its steps. What is decoded from a
    state of a rollout with its number is what came after that state, as noise is keyed by the step;
    at a positive token temperature, if the state is one just after a write. Not for policies that
    look at changes: what was said before the state is not known.

    Attributes:
        response: ``[B, L]`` int64, the buffers.
        step: ``[B]`` int64, steps taken before.
    """

    response: Tensor
    step: Tensor


@dataclass(frozen=True)
class Writes(Rows):
    """The log of writes: one row a write to one buffer, in the order of each rollout's steps.

    Some write nothing, which the host need not know.

    Attributes:
        rollout: ``[W]`` int64, index of the rollout.
        step: ``[W]`` int64, step at which it was written; -1 where an early stop filled in.
        where: ``[W, L]`` bool, positions that got a token.
        tokens: ``[W, L]`` int64; the mask where a token was taken back.
        corrected: ``[W]`` bool, written by a corrector and not by the policy.
    """

    rollout: Tensor
    step: Tensor
    where: Tensor
    tokens: Tensor
    corrected: Tensor


def ended(response: Tensor, mask_id: int, end_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Find the rows that have an end token and nothing left to commit before it.

    Args:
        response: ``[B, L]`` int64.
        mask_id: Token id of the mask.
        end_ids: ``[E]`` int64 token ids that end a response.

    Returns:
        ``[B]`` bool, whether there is such an end token, and ``[B]`` int64, the first end token
        (any token where there is none).
    """
    ends = torch.isin(response, end_ids)
    masks_before = (response == mask_id).cumsum(1)
    first = ends.int().argmax(1, keepdim=True)
    whole = ends.any(1) & (masks_before.gather(1, first)[:, 0] == 0)
    return whole, response.gather(1, first)[:, 0]
