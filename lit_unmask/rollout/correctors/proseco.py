"""The sampler of self-correcting diffusion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.rollout.correctors.base import Ask, Corrector, Edit, View
from lit_unmask.types import Reading


@dataclass(frozen=True)
class ProSeCo(Corrector):
    """Rewrites committed tokens by what the denoiser says of the filled text.

    Source: ProSeCo, arXiv 2602.11590, the sampler of its small models: all positions are filled
    with the proposals, committed ones too, then up to ``iterations`` times with what the denoiser
    proposes for that text, until nothing changes any more. Committed tokens become those of the
    last text, and the policy acts on the reading of it. The policy's masks stay.

    Every row ends at its own fixed point, compared by token ids, and is charged for its own
    forwards, the one that finds nothing to change among them (the release ends all rows of a batch
    together). At a positive token temperature corrections are drawn as proposals are. A denoiser
    that was trained on masks alone has learned nothing about tokens that stand: the bundled ones
    solve fewer problems with it than without.

    Attributes:
        iterations: Most forwards of a correction.
        changes: Most positions that one forward rewrites: of those that differ the ones with the
            largest confidence, in the likeliest token also where another one was drawn. None
            rewrites all.

    Raises:
        ValueError: If a number is below 1.
    """

    iterations: int = 4
    changes: int | None = None

    def __post_init__(self) -> None:
        if self.changes is not None and self.changes < 1:
            raise ValueError(f"changes={self.changes} must be at least 1, or null for no bound")
        if self.iterations < 1:
            raise ValueError(f"iterations={self.iterations} must be at least 1 forward")

    def filled(self, rows: View, said: Reading) -> Tensor:
        """Return the text to begin with, ``[R, L]`` int64."""
        return said.proposal

    def reach(self, rows: View) -> Tensor:
        """Return the positions that are rewritten, masks among them, ``[R, L]`` bool."""
        return torch.ones_like(rows.masked)

    def within(self, rows: View) -> Tensor:
        """Return the tokens that it may rewrite, ``[R, L]`` bool."""
        return self.reach(rows) & ~rows.masked

    def correct(self, rows: View, said: Reading, ask: Ask) -> tuple[Edit, Reading]:
        """Rewrite; see :meth:`Corrector.correct`."""
        reach, text = self.reach(rows), self.filled(rows, said).clone()
        going = torch.arange(len(text), device=text.device)
        for _ in range(self.iterations):
            read = ask(going, text[going])
            said = latest(said, going, read)
            differs = reach[going] & (read.proposal != text[going])
            if self.changes is not None:
                sure = read.confidence[..., 0].masked_fill(~differs, -torch.inf)
                rank = sure.argsort(dim=1, descending=True, stable=True).argsort(1)
                differs &= rank < self.changes
            text[going] = torch.where(differs, read.proposal, text[going])
            going = going[differs.any(1)]
            if not len(going):
                break
        return Edit(self.within(rows), text), said


@dataclass(frozen=True)
class BlockProSeCo(ProSeCo):
    """The same as its LLaDA samples, block by block.

    Source: as above, with corrections every second step (``placement: {every: 2}``) in blocks of
    32. The text to begin with keeps the committed tokens; masks of this block and of later ones are
    filled with proposals, and only what is not behind the block is rewritten, earlier blocks too.
    """

    def filled(self, rows: View, said: Reading) -> Tensor:
        """Return the text to begin with, ``[R, L]`` int64."""
        return torch.where(rows.masked, said.proposal, rows.response)

    def reach(self, rows: View) -> Tensor:
        """Return the positions up to the end of the block, ``[R, L]`` bool; behind all, all."""
        ahead = rows.in_block.flip(1).cumsum(1).flip(1) > 0
        return ahead | ~rows.in_block.any(1, keepdim=True)


def latest(said: Reading, rows: Tensor, read: Reading) -> Reading:
    """Return a reading in which rows ``[A]`` have been read again."""
    place = torch.arange(len(said.proposal), device=rows.device)
    place[rows] = len(place) + torch.arange(len(rows), device=rows.device)
    joined: Reading = Reading.cat([said, read]).select(place)
    return joined
