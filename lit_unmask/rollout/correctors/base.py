"""What a corrector sees, asks and returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from lit_unmask.rows import Rows
from lit_unmask.types import ENTROPY, STANDING, Reading, Signals

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
        sure: ``[R, L]`` float32, confidence with which the policy committed a position.
        asked: ``[R]`` bool, whether the policy asked for a correction in its last step.
        step: ``[R]`` int64, steps taken.
        block_steps: ``[R]`` int64, steps taken in the current block.
        mask_id: Token id of the mask.
    """

    response: Tensor
    masked: Tensor
    in_block: Tensor
    committed_at: Tensor
    sure: Tensor
    asked: Tensor
    step: Tensor
    block_steps: Tensor
    mask_id: int


@dataclass(frozen=True)
class Placement:
    """When a corrector acts; any corrector takes any placement.

    Attributes:
        every: Acts before each so-manieth step of a row, counted over the whole response.
        below: Acts only where the least probability that a token it may rewrite has where it
            stands is below; None acts whatever the probabilities.
        end: Acts once, after the last step, instead of before steps. The reading of the finished
            text, which no policy needs, is then a forward of the corrector.
        learned: Acts only before steps of rows for which the policy asked in the step before: an
            action of :class:`~lit_unmask.policies.CorrectingHead`. A policy that asks for nothing,
            as heuristics do, decodes without the corrector.

    Raises:
        ValueError: If a number is out of range, or a policy is to decide after its last step.
    """

    every: int = 1
    below: float | None = None
    end: bool = False
    learned: bool = False

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every={self.every} must be at least 1 step")
        if self.below is not None and not 0 < self.below <= 1:
            raise ValueError(f"below={self.below} must lie in (0, 1], or be null for no bound")
        if self.learned and self.end:
            raise ValueError(
                "learned=True leaves to the policy before which steps to correct, and end=True "
                "corrects after the last one; choose one"
            )

    @property
    def signals(self) -> Signals:
        """What it needs of readings."""
        return Signals() if self.below is None else Signals(1, {STANDING.name})

    def due(self, step: Tensor, within: Tensor, said: Reading) -> Tensor:
        """Return which rows ``[R]`` it is time for, by steps taken and tokens ``[R, L]``."""
        due = (step + 1) % (1 if self.end else self.every) == 0
        if self.below is not None:
            due &= ((said.signals[STANDING.name] < self.below) & within).any(1)
        return due


@dataclass(frozen=True)
class Corrector(ABC):
    """Rewrites committed tokens before the policy acts; a frozen dataclass of its settings.

    What it does to a row follows from that row alone, and its forwards are charged to it.

    Attributes:
        takes_back: Whether only ``decoding.max_block_steps`` ends a block in which it puts masks
            back.
        placement: When it acts.
    """

    takes_back: ClassVar[bool] = False
    placement: Placement = field(default=Placement(), kw_only=True)

    @property
    def signals(self) -> Signals:
        """What it needs of readings."""
        return self.placement.signals

    def within(self, rows: View) -> Tensor:
        """Return the tokens that it may rewrite, ``[R, L]`` bool."""
        return ~rows.masked

    def due(self, rows: View, said: Reading) -> Tensor:
        """Return which rows are to be corrected before this step, ``[R]`` bool."""
        due = self.placement.due(rows.step, self.within(rows), said)
        return due & rows.asked if self.placement.learned else due

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


def taken_back(rows: View, where: Tensor, said: Reading) -> tuple[Edit, Reading]:
    """Put masks back at ``[R, L]``, which the policy passes over in this step.

    They were read with their tokens in place, and a denoiser is sure of what it sees: until the
    next forward they count as the least sure, with confidence 0 and the row's largest entropy.
    """
    signals = dict(said.signals)
    if ENTROPY.name in signals:
        entropy = signals[ENTROPY.name]
        signals[ENTROPY.name] = torch.where(where, entropy.amax(1, keepdim=True), entropy)
    confidence = said.confidence.masked_fill(where[..., None], 0.0)
    masks = torch.full_like(rows.response, rows.mask_id)
    return Edit(where, masks), replace(said, confidence=confidence, signals=signals)
