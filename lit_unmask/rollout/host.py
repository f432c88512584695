"""What the host knows of the rows, copied from the device once for each answer of the policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]


def upload(indices: Indices, device: torch.device) -> Tensor:
    """Return indices as a tensor on a device, without waiting for it."""
    tensor = torch.from_numpy(indices)
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class HostRows:
    """The state of all rows as it was after the last step, for the decisions of the host.

    Attributes:
        response: ``[B, L]`` int64, the buffers.
        step: ``[B]`` int64, steps taken.
        nfe: ``[B]`` int64, forwards charged.
        block_steps: ``[B]`` int64, steps in the current block.
        finished: ``[B]`` bool.
    """

    response: Indices
    step: Indices
    nfe: Indices
    block_steps: Indices
    finished: Flags

    @classmethod
    def start(cls, count: int, length: int, mask_id: int) -> HostRows:
        """Return the state of ``count`` rows of ``length`` masks, none of which took a step."""
        zeros = np.zeros(count, dtype=np.int64)
        response = np.full((count, length), mask_id, dtype=np.int64)
        return cls(response, zeros, zeros.copy(), zeros.copy(), np.zeros(count, dtype=np.bool_))

    def fetch(self, rows: Indices, state: tuple[Tensor, ...]) -> Indices:
        """Wait for the device and take over the state of some rows.

        Args:
            rows: ``[R]`` int64.
            state: ``[R, L]`` int64 buffers and five or more ``[R]`` columns: steps taken, forwards
                charged, steps in the block, whether finished, and what else is to be read.

        Returns:
            ``[R, C]`` int64, the columns after the fourth.
        """
        buffers, *columns = state
        # One copy, as each one waits until the device has caught up.
        read = torch.cat([buffers, torch.stack(columns, 1)], 1).cpu().numpy()
        length = buffers.shape[1]
        self.response[rows] = read[:, :length]
        self.step[rows], self.nfe[rows] = read[:, length], read[:, length + 1]
        self.block_steps[rows] = read[:, length + 2]
        self.finished[rows] = read[:, length + 3] != 0
        return read[:, length + 4 :]
