"""What a policy is asked: each row's next step, and of rows that wait several at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_unmask.rollout.state import Indices, RowState, upload
from lit_unmask.types import HIDDEN, Signals


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
        left = state.decoding.block_length - state.host.block_steps[rows]
        count = left.clip(max=most)
        starts = count.cumsum() - count
        layout = (*_runs(count), starts, count - 1, rows)
        sizes = [len(part) for part in layout]
        uploaded = upload(np.concatenate(layout), state.device).split(sizes)
        place, offset, first, last, at = uploaded
        row = at[place]
        index = state.step[row] + offset
        before = state.host.step[rows]
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


class Lookahead:
    """Who is asked, and about how many steps.

    Args:
        state: The rows.
        signals: What observations hold.
    """

    def __init__(self, state: RowState, signals: Signals) -> None:
        self.state = state
        decoding = state.decoding
        # Without a change there is nothing new to ask the denoiser, but the time moves on.
        self.again = decoding.scheduling.skip and decoding.on_empty == "wait"
        # Asking ahead repeats the observation, which hidden states make large.
        self.most = 1 if HIDDEN in signals else decoding.scheduling.lookahead

    def over(self, rows: Indices) -> Iterator[Asked]:
        """Ask rows ``[R]`` for a step, and those that commit nothing until they do or finish.

        All are then ready for a forward. Without ``skip`` each is asked once.
        """
        yield Asked.of(self.state, rows, 1)
        host = self.state.host
        while self.again:
            rows = rows[~host.stale[rows] & ~host.finished[rows]]
            if not len(rows):
                return
            yield Asked.of(self.state, rows, self.most)
