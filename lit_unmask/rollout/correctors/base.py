"""What a corrector sees, asks and returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from lit_unmask.rows import Rows
from lit_unmask.types import Reading, Signals

Ask = Callable[[Tensor, Tensor], Reading]
"""``ask(rows, buffers)``: what the denoiser says of other buffers ``[A, L]`` int64 of rows ``[A]``
int64, numbered within the view; each row is charged for one forward of the kind ``corrector``."""


@dataclass(frozen=True)
class Edit(Rows):
    """A write to the buffers of **R** rows.

    Attributes:
        where: ``[R, L]`` bool, positions that get a token.
        tokens: ``[R, L]`` int64; the mask takes a token back.
    """

    where: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class View(Rows):
    """**R** rows before a step of theirs.

    Attributes:
        response: ``[R, L]`` int64, the buffers.
        masked: ``[R, L]`` bool.
        in_block: ``[R, L]`` bool, positions of the current block.
        committed_at: ``[R, L]`` int64, step at which a position got its token, or -1.
        step: ``[R]`` int64, steps taken.
        block_steps: ``[R]`` int64, steps taken in the current block.
    """

    response: Tensor
    masked: Tensor
    in_block: Tensor
    committed_at: Tensor
    step: Tensor
    block_steps: Tensor


@dataclass(frozen=True)
class Corrector(ABC):
    """Rewrites committed tokens before the policy acts; a frozen dataclass of its settings.

    What it does to a row follows from that row alone, and its forwards are charged to it.
    """

    @property
    def signals(self) -> Signals:
        """What it needs of readings."""
        return Signals()

    @abstractmethod
    def due(self, rows: View) -> Tensor:
        """Return which rows are to be corrected before this step, ``[R]`` bool."""

    @abstractmethod
    def correct(self, rows: View, said: Reading, ask: Ask) -> tuple[Edit, Reading]:
        """Correct rows that are due.

        Args:
            rows: **R** rows.
            said: The denoiser's reading of them.
            ask: Reads other buffers of theirs.

        Returns:
            What to write, and the reading that the policy acts on in this step. Masked positions
            are left to the policy: writes to them are dropped. A mask may be put back within the
            current block alone; elsewhere the token stays.
        """
