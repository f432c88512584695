"""What a policy is asked: each row's next step, and of rows that wait several at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_unmask.rollout.host import Indices, upload
from lit_unmask.rollout.state import RowState


@dataclass(frozen=True)
class Asked:
    """Steps that the policy is asked about in one batch: for each row, its next ones in order.

    Attributes:
        rows: ``[R]`` int64, the rows.
        at: The same on the device.
        row: ``[M]`` int64, the row of each step.
        index: ``[M]`` int64, number of each step within its rollout.
        first: ``[R]`` int64, where each row's steps begin.
        last: ``[R]`` int64, how many steps come after the first.
        place: ``[M]`` int64, place of each step's row among the rows.
        offset: ``[M]`` int64, number of each step after the row's next one.
        starts: ``first``, on the host.
        before: ``[R]`` int64 on the host, steps that the rows have taken.
    """

    rows: Indices
    at: Tensor
    row: Tensor
    index: Tensor
    first: Tensor
    last: Tensor
    place: Tensor
    offset: Tensor
    starts: Indices
    before: Indices

    @classmethod
    def of(cls, state: RowState, rows: Indices, most: int) -> Asked:
        """Lay out up to ``most`` steps, at least one, for each of rows ``[R]``."""
        left = state.decoding.most_block_steps - state.host.block_steps[rows]
        count = left.clip(max=most)
        starts = count.cumsum() - count
        layout = (*_runs(count), starts, count - 1, rows)
        sizes = [len(part) for part in layout]
        place, offset, first, last, at = upload(np.concatenate(layout), state.device).split(sizes)
        row, before = at[place], state.host.step[rows]
        index = state.step[row] + offset
        return cls(rows, at, row, index, first, last, place, offset, starts, before)

    def stop(self, acts: Tensor) -> Tensor:
        """Return which step ends each row's wait, ``[R]`` int64: the first that acts, or the last.

        Args:
            acts: ``[M]`` bool, whether the action at each step commits anything.
        """
        offset = torch.where(acts, self.offset, self.last[self.place])
        return self.last.scatter_reduce(0, self.place, offset, "amin")

    def taken(self, state: RowState) -> Tensor | slice:
        """Return the places of the steps that were taken, **T** of them."""
        if len(self.row) == len(self.rows):
            return slice(None)
        place, offset = _runs(state.host.step[self.rows] - self.before)
        return upload(self.starts[place] + offset, self.row.device)


def _runs(count: Indices) -> tuple[Indices, Indices]:
    """Return for ``count`` ``[R]`` items a row the row and the number within it of each item."""
    row = np.repeat(np.arange(len(count)), count)
    return row, np.arange(len(row)) - (count.cumsum() - count)[row]


def lookahead(state: RowState, rows: Indices, most: int) -> Iterator[Asked]:
    """Ask rows ``[R]`` for a step, and those that wait for ``most`` until they write or finish.

    Without a change there is nothing new to ask the denoiser, but the time moves on. All rows are
    then ready for a forward; without ``skip``, or with a corrector, each is asked once.
    """
    yield Asked.of(state, rows, 1)
    decoding, host = state.decoding, state.host
    if decoding.corrector is not None:
        return
    while decoding.scheduling.skip and decoding.on_empty == "wait":
        rows = rows[~host.stale[rows] & ~host.finished[rows]]
        if decoding.resampler is not None:  # who has ended a block waits for the others
            rows = rows[host.block_steps[rows] > 0]
        if not len(rows):
            return
        yield Asked.of(state, rows, most)
