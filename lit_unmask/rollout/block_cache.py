"""Keys and values of the tokens outside the current block, so that forwards compute a part."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_unmask.denoisers.running.cache import Kept, KeyValues, Span
from lit_unmask.rollout.state import RowState


class BlockCache:
    """What the keys and values of each row were computed from, and where they are.

    A row's *base* is its buffer as it was when its block began. What the denoiser says about a row
    follows from prompt, base, block and buffer alone: a full forward if the buffer is the base,
    else a partial one from the base's keys and values, and the base's full forward outside the
    computed span. So rows do not depend on their company, nor on what was skipped or shared.

    Rows of the same prompt and base may point at the same slot. Nobody writes to a slot that a row
    points at, except the full forward that fills it.

    Args:
        state: The rows, which know their bases, blocks and slots.
    """

    def __init__(self, state: RowState) -> None:
        self.state = state
        self.store = KeyValues(state.prompt.tokens.shape[1] + state.decoding.gen_length)

    def key(self, at: Tensor) -> Tensor:
        """Return ``[R, 2]`` int64: rows of one prompt and buffer that agree in it may share.

        A full forward depends on prompt and buffer alone, a partial one on slot and block too.
        """
        key = torch.stack([self.state.slot[at], self.state.block[at]], dim=1)
        return key.masked_fill_(self.state.is_base(at)[:, None], -1)

    def renew(self, at: Tensor) -> None:
        """Give some rows ``[R]`` slots of their own, for full forwards."""
        self.state.point(at, -1)
        free = self._free()
        if len(free) < len(at):
            self.store.slots += len(at) - len(free)
            free = self._free()
        self.state.point(at, free[: len(at)])

    def share(self, at: Tensor, others: Tensor) -> None:
        """Let rows ``[R]`` use the slots of others ``[R]`` that have the same prompt and base."""
        self.state.point(at, self.state.slot[others])

    def full(self, at: Tensor) -> Kept:
        """Return where a full forward of some rows ``[R]`` keeps keys and values."""
        return Kept(self.store, self.state.slot[at])

    def parts(self, at: Tensor) -> list[tuple[Tensor, Kept]]:
        """Return the partial forwards of some rows ``[R]``: rows, and what they compute.

        Spans to the end of the response are as long as what is left of it, so that rows in
        different blocks then go through the denoiser apart.
        """
        decoding = self.state.decoding
        start = self.state.block[at] * decoding.block_length
        if decoding.approximate.cache == "dual":
            return [(at, self._part(at, start, decoding.block_length))] if len(at) else []
        groups = [(first, start == first) for first in start.unique().tolist()]
        return [
            (at[mine], self._part(at[mine], start[mine], decoding.gen_length - first))
            for first, mine in groups
        ]

    def _part(self, at: Tensor, start: Tensor, length: int) -> Kept:
        return Kept(self.store, self.state.slot[at], Span(start, length))

    def _free(self) -> Tensor:
        """Return the slots that no row points at."""
        slot = self.state.slot
        taken = torch.zeros(self.store.slots, dtype=torch.bool, device=slot.device)
        taken[slot[slot >= 0]] = True
        return (~taken).nonzero()[:, 0]
