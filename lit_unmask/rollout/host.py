"""What the host knows of the rows, so that its decisions need not wait for the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_unmask.errors import NotFinite

Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Whose numbers broke; the denoiser is asked less often than this within a step.
DENOISER, POLICY = 1, 2**32


def upload(indices: Indices, device: torch.device) -> Tensor:
    """Return indices as a tensor on a device, without waiting for it."""
    tensor = torch.from_numpy(indices)
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class HostRows:
    """The state of all rows after the last write, for the decisions of the host.

    Attributes:
        response: ``[B, L]`` int64, the buffers.
        step: ``[B]`` int64, steps taken.
        nfe: ``[B]`` int64, forwards charged.
        block_steps: ``[B]`` int64, steps in the current block.
        finished: ``[B]`` bool.
        stale: ``[B]`` bool, rows whose reading is not one of their buffer.
        untouched: ``[B]`` bool, rows in which nothing was ever written.
    """

    response: Indices
    step: Indices
    nfe: Indices
    block_steps: Indices
    finished: Flags
    stale: Flags
    untouched: Flags

    @classmethod
    def start(cls, count: int, length: int, mask_id: int) -> HostRows:
        """Return the state of ``count`` rows of ``length`` masks, none of which took a step."""
        response = np.full((count, length), mask_id, dtype=np.int64)
        step, nfe, block_steps = np.zeros((3, count), dtype=np.int64)
        finished, (stale, untouched) = np.zeros(count, np.bool_), np.ones((2, count), np.bool_)
        return cls(response, step, nfe, block_steps, finished, stale, untouched)

    def begin(self, response: Tensor, step: Tensor, finished: Tensor) -> None:
        """Take over states to begin in, which nobody else may be in."""
        self.response[:], self.step[:] = response.cpu().numpy(), step.cpu().numpy()
        self.finished[:] = finished.cpu().numpy()
        self.untouched[:] = False

    def fetch(self, rows: Indices, response: Tensor, *columns: Tensor) -> Indices:
        """Wait for the device and take over the state of some rows.

        Args:
            rows: ``[R]`` int64.
            response: ``[R, L]`` int64.
            columns: ``[R]`` each: steps taken, forwards charged, steps in the block, whether the
                row is finished, whether its reading got out of date, and one that is returned.

        Returns:
            ``[R]`` int64, the last column.
        """
        # One copy, as each one waits until the device has caught up.
        read = torch.cat([response, torch.stack(columns, 1)], 1).cpu().numpy()
        self.response[rows] = read[:, : response.shape[1]]
        step, nfe, block_steps, finished, stale, last = read[:, response.shape[1] :].T
        self.step[rows], self.nfe[rows], self.block_steps[rows] = step, nfe, block_steps
        self.finished[rows] = finished != 0
        self.stale[rows] |= stale != 0
        self.untouched[rows] &= stale == 0
        return last

    def refuse(self, rows: Indices, broken: Indices, particles: int) -> None:
        """Say whose numbers broke.

        Args:
            rows: ``[R]`` int64.
            broken: ``[R]`` int64, what :meth:`RowState.mark` added up, not 0 in some row.
            particles: Rows of each problem.

        Raises:
            NotFinite: Always.
        """
        denoiser = bool((broken % POLICY).any())  # from which the policy's follow
        mine = rows[broken % POLICY != 0] if denoiser else rows[broken != 0]
        where = (mine // particles).tolist(), int(self.step[mine[0]]) - 1
        if denoiser:
            raise NotFinite(
                "the denoiser's probabilities",
                "its weights are damaged or its numbers overflow: load it again, with dtype "
                "float32 or bfloat16, or leave the problem out",
                *where,
            )
        raise NotFinite(
            "the policy's logits",
            "its weights are damaged or too large: take an earlier checkpoint, or a lower "
            "learning rate",
            *where,
        )

    def replace(self, rows: Indices, others: Indices) -> None:
        """Note that rows ``[R]`` took over the states of others ``[R]``."""
        for kept in (self.response, self.step, self.block_steps, self.finished):
            kept[rows] = kept[others]
        self.stale[rows], self.untouched[rows] = True, False
