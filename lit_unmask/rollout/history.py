"""Where rollouts begin, and what was written since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor

from lit_unmask.rollout.correctors.base import Edit
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
        particle: ``[W]`` int64, which of the prompt's rows it was, from 0.
    """

    rollout: Tensor
    step: Tensor
    where: Tensor
    tokens: Tensor
    corrected: Tensor
    particle: Tensor


@dataclass(frozen=True)
class Charges(Rows):
    """Forwards that rollouts were charged for, and for which steps.

    Attributes:
        rollout: ``[C]`` int64, index of the rollout.
        step: ``[C]`` int64, the first of the steps; behind the last one for a corrector at the end.
        steps: ``[C]`` int64, how many, all of which cost the same; some entries are for none.
        kind: ``[C]`` int64, place of the kind in ``Rollout.price``.
        forwards: ``[C]`` int64, for all of these steps together.
    """

    rollout: Tensor
    step: Tensor
    steps: Tensor
    kind: Tensor
    forwards: Tensor


@dataclass
class Log:
    """What happens to rows, in order."""

    particles: int = 1
    writes: list[Writes] = field(default_factory=list)
    charges: list[Charges] = field(default_factory=list)

    def write(self, at: Tensor, edit: Edit, step: Tensor, corrected: bool) -> None:
        """Note a write to rows ``[R]`` at steps ``[R]``."""
        marks = torch.full_like(step, corrected, dtype=torch.bool)
        of = at % self.particles
        self.writes.append(Writes(at, step, edit.where, edit.tokens, marks, of))

    def charge(self, at: Tensor, step: Tensor, steps: Tensor, kind: int, forwards: Tensor) -> None:
        """Note a charge of rows ``[R]``; see :class:`Charges`."""
        self.charges.append(Charges(at, step, steps, torch.full_like(at, kind), forwards))


def total(price: Mapping[str, Tensor]) -> Tensor:
    """Return the forwards of all kinds, ``[B]`` int64."""
    return reduce(torch.add, price.values())


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
