"""Decoding that costs less than the exact engine and may decide otherwise: off unless asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lit_unmask.denoisers.cache import Kept, KeyValues, Span
from lit_unmask.types import Prompt


@dataclass(frozen=True)
class Approximate:
    """Savings that change trajectories. ``lit_unmask.drift`` measures by how much.

    They belong to ``decoding`` and hold for whatever a callback decodes on top of it, heuristics
    and baselines too, so that what is compared was decoded alike. Where a callback asks for blocks
    that a cache makes no sense with, it is refused before any work starts. Demonstrations for
    others are recorded exactly or not at all, and a results store does not compare approximate
    runs with exact ones.

    Attributes:
        cache: Block-wise cache of keys and values, as in Fast-dLLM (arXiv 2505.22618). The first
            forward of a block is a full one, whose keys and values are kept; in the later forwards
            of the block only a part of the tokens is computed, which attends to what was kept of
            the rest. With ``dual`` that part is the block, with ``prefix`` the block and all that
            comes after it; a shifted denoiser computes the token before it too. Other positions
            keep the signals of the full forward. ``none`` computes everything.
        early_stop: Whether a row is finished once it has committed an end token and everything
            before it. The remaining masks then become that token, without being charged.

    Raises:
        ValueError: If there is no such cache.
    """

    cache: Literal["none", "prefix", "dual"] = "none"
    early_stop: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.cache not in ("none", "prefix", "dual"):
            raise ValueError(f"cache={self.cache!r} must be 'none', 'prefix' or 'dual'")

    def check_blocks(self, gen_length: int, block_length: int) -> None:
        """Refuse a cache that would never be used.

        Raises:
            ValueError: If there is a cache and the only block is the whole response.
        """
        if self.cache != "none" and block_length == gen_length:
            raise ValueError(
                f"approximate.cache={self.cache!r} keeps keys and values of what lies outside the "
                f"current block, and with block_length={block_length} equal to gen_length there "
                "is no other block; choose a smaller block_length or approximate.cache='none'"
            )


class BlockCache:
    """What the keys and values of each row were computed from, and where they are.

    A row's *base* is its buffer as it was when its block began. What the denoiser says about a row
    follows from prompt, base, block and buffer alone: a full forward if the buffer is the base,
    else a partial one from the base's keys and values, and the base's full forward outside the
    computed span. So rows do not depend on their company, nor on what was skipped or shared.

    Rows of the same prompt and base may point at the same slot. Nobody writes to a slot that a row
    points at, except the full forward that fills it.

    Args:
        prompt: All **B** prompts.
        gen_length: Generation length **L** in tokens.
        block_length: Block length in tokens, less than **L**.
        to_end: Whether the computed span goes on to the end of the response, or ends with the
            block.

    Attributes:
        base: ``[B, L]`` int64; -1 until a row's first block begins.
        block: ``[B]`` int64, the current block of each row.
        slot: ``[B]`` int64, where the keys and values of each row are, or -1.
    """

    def __init__(self, prompt: Prompt, gen_length: int, block_length: int, to_end: bool) -> None:
        count, device = len(prompt), prompt.tokens.device
        self.gen_length, self.block_length, self.to_end = gen_length, block_length, to_end
        self.store = KeyValues(prompt.tokens.shape[1] + gen_length)
        self.base = torch.full((count, gen_length), -1, device=device)
        self.block = torch.zeros(count, dtype=torch.int64, device=device)
        self.slot = torch.full_like(self.block, -1)

    def enter(self, rows: Tensor, buffer: Tensor, block: Tensor) -> Tensor:
        """Begin a block in some rows.

        Args:
            rows: ``[R]`` int64.
            buffer: ``[R, L]`` int64.
            block: ``[R]`` int64.

        Returns:
            ``[R]`` bool, rows that need a full forward, as their base changed.
        """
        changed = ~self.is_base(rows, buffer)
        self.base[rows], self.block[rows] = buffer, block
        return changed

    def is_base(self, rows: Tensor, buffer: Tensor) -> Tensor:
        """Return ``[R]`` bool, rows whose buffer ``[R, L]`` is as it was when the block began."""
        return (self.base[rows] == buffer).all(1)

    def key(self, rows: Tensor, buffer: Tensor) -> Tensor:
        """Return ``[R, 2]`` int64: rows of one prompt and buffer that agree in it may share.

        A full forward depends on prompt and buffer alone, a partial one on slot and block too.
        """
        key = torch.stack([self.slot[rows], self.block[rows]], dim=1)
        return key.masked_fill_(self.is_base(rows, buffer)[:, None], -1)

    def renew(self, rows: Tensor) -> None:
        """Give some rows ``[R]`` slots of their own, for full forwards."""
        self.release(rows)
        free = self._free()
        if len(free) < len(rows):
            self.store.slots += len(rows) - len(free)
            free = self._free()
        self.slot[rows] = free[: len(rows)]

    def share(self, rows: Tensor, others: Tensor) -> None:
        """Let rows ``[R]`` use the slots of others ``[R]`` that have the same prompt and base."""
        self.slot[rows] = self.slot[others]

    def release(self, rows: Tensor) -> None:
        """Give up the slots of some rows ``[R]``."""
        self.slot[rows] = -1

    def full(self, rows: Tensor) -> Kept:
        """Return where a full forward of some rows ``[R]`` keeps keys and values."""
        return Kept(self.store, self.slot[rows])

    def parts(self, rows: Tensor) -> list[tuple[Tensor, Kept]]:
        """Return the partial forwards of some rows ``[R]``: rows, and what they compute.

        Spans to the end of the response are as long as what is left of it, so that rows in
        different blocks then go through the denoiser apart.
        """
        start = self.block[rows] * self.block_length
        if not self.to_end:
            return [(rows, self._part(rows, start, self.block_length))] if len(rows) else []
        groups = [(first, start == first) for first in start.unique().tolist()]
        return [
            (rows[mine], self._part(rows[mine], start[mine], self.gen_length - first))
            for first, mine in groups
        ]

    def _part(self, rows: Tensor, start: Tensor, length: int) -> Kept:
        return Kept(self.store, self.slot[rows], Span(start, length))

    def _free(self) -> Tensor:
        """Return the slots that no row points at."""
        taken = torch.zeros(self.store.slots, dtype=torch.bool, device=self.slot.device)
        taken[self.slot[self.slot >= 0]] = True
        return (~taken).nonzero()[:, 0]


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
