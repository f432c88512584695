"""Self-correction of a text, one token at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lit_unmask.rollout.correctors.base import Ask, Corrector, Edit, Placement, View
from lit_unmask.rollout.correctors.proseco import latest
from lit_unmask.types import LIKELIHOOD, Reading, Signals


@dataclass(frozen=True)
class GIDD(Corrector):
    """Changes the token whose replacement is likeliest, again and again, after the last step.

    Source: GIDD, arXiv 2503.04482, self-correction. Each forward allows one change: of the
    positions where the proposal differs from the token, the one of the likeliest proposal takes it.
    A row ends when nothing differs, after ``changes``, or when the share of agreeing positions has
    not risen for more than ``patience`` changes. Nobody is charged for another's forwards.

    Deviations: the release draws proposals at temperature 0.1 and scores them by that distribution;
    here they are the denoiser's at the token temperature (0 is the limit of 0.1), scored by their
    probability at temperature 1. Masks that are left stay. The denoiser should have been trained on
    replaced tokens.

    Attributes:
        changes: Most tokens that are changed.
        patience: Changes without a rise of the agreement, beyond which a row ends.

    Raises:
        ValueError: If a number is out of range.
    """

    changes: int = 128
    patience: int = 32
    placement: Placement = field(default=Placement(end=True), kw_only=True)

    def __post_init__(self) -> None:
        if self.changes < 1 or self.patience < 0:
            raise ValueError(
                f"changes={self.changes} must be at least 1 and patience={self.patience} at least 0"
            )

    @property
    def signals(self) -> Signals:
        """What it needs of readings."""
        return super().signals | Signals(1, {LIKELIHOOD.name})

    def correct(self, rows: View, said: Reading, ask: Ask) -> tuple[Edit, Reading]:
        """Change; see :meth:`Corrector.correct`."""
        within, text = self.within(rows), rows.response.clone()
        going = torch.arange(len(text), device=text.device)
        highest, waited = torch.full((2, len(text)), -1, device=text.device)
        for change in range(1, self.changes + 1):
            here = said.select(going)
            differs = (here.proposal != text[going]) & within[going]
            agreed = (~differs).sum(1)
            waited[going] = torch.where(agreed > highest[going], 0, waited[going] + 1)
            highest[going] = torch.maximum(highest[going], agreed)
            on = differs.any(1) & (waited[going] <= self.patience)
            going, here, differs = going[on], here.select(on), differs[on]
            if not len(going):
                break
            text[going] = _one_changed(text[going], here, differs)
            if change < self.changes:
                said = latest(said, going, ask(going, text[going]))
        return Edit(within, text), said


def _one_changed(text: Tensor, said: Reading, differs: Tensor) -> Tensor:
    """Return texts ``[R, L]`` with the likeliest of the proposals that differ, ``[R, L]`` bool."""
    score = said.signals[LIKELIHOOD.name].masked_fill(~differs, -torch.inf)
    best = score.argmax(1, keepdim=True)
    return text.scatter(1, best, said.proposal.gather(1, best))
