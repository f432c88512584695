"""Plain remasking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lit_unmask.rollout.correctors.base import Ask, Corrector, Edit, View, taken_back
from lit_unmask.types import STANDING, Reading, Signals


@dataclass(frozen=True)
class Remask(Corrector):
    """Takes back the least sure tokens of the current block; costs no forward of its own.

    A token is as sure as the denoiser is of it where it stands. As many come back as were committed
    if ``count`` is what the policy commits, so that ``decoding.max_block_steps`` has to end blocks.

    Attributes:
        count: Tokens that are taken back at a time, if there are so many.

    Raises:
        ValueError: If the count is not positive.
    """

    takes_back: ClassVar[bool] = True
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count={self.count} must be at least 1 token")

    @property
    def signals(self) -> Signals:
        """What it needs of readings."""
        return super().signals | Signals(1, {STANDING.name})

    def within(self, rows: View) -> Tensor:
        """Return the tokens of the block, ``[R, L]`` bool."""
        return rows.in_block & ~rows.masked

    def due(self, rows: View, said: Reading) -> Tensor:
        """Return which rows have tokens in their blocks when it is time, ``[R]`` bool."""
        return super().due(rows, said) & self.within(rows).any(1)

    def correct(self, rows: View, said: Reading, ask: Ask) -> tuple[Edit, Reading]:
        """Take back; see :meth:`Corrector.correct`."""
        return taken_back(rows, least(said, self.within(rows), self.count), said)


def least(said: Reading, among: Tensor, count: int | Tensor) -> Tensor:
    """Return the tokens that the denoiser is least sure of, ``[R, L]`` bool.

    Args:
        said: The reading of **R** rows.
        among: ``[R, L]`` bool, tokens to choose from.
        count: How many at most, of each row or ``[R, 1]``.
    """
    standing = said.signals[STANDING.name].masked_fill(~among, torch.inf)
    rank = standing.argsort(dim=1, stable=True).argsort(1)
    return (rank < count) & among
