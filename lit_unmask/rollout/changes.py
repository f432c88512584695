"""How far the denoiser's proposal distributions move from reading to reading."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.rollout.host import Indices, upload
from lit_unmask.types import CHANGE, HIDDEN, Reading


class Changes:
    """The signal ``change`` of each row: how far its distributions moved at the last two readings.

    It is the larger of the last two Kullback-Leibler divergences of a proposal distribution at
    temperature 1 from that of the reading before, in nats. A first reading moved infinitely far,
    so that the signal is infinite before a third one.

    A reading is one of a buffer that was written to since the one before; reading a buffer again
    is none, so that skipping changes nothing. Each row is compared with its own last reading, also
    where it shares a forward, and by itself, so that a row does not depend on its company. What a
    corrector asks about other buffers does not count. With a cache, positions outside of the
    computed span have not moved.

    Instead of distributions, the states that the output head makes them of are kept:
    ``2 L D`` numbers a row instead of ``L V``, in the denoiser's own type and without any rounding.
    LLaDA-8B with 256 tokens has 4 MB a row so, where float32 distributions would have 130 MB.
    In return the head is applied to two states more a position and reading.

    Args:
        denoiser: Makes distributions of states.
        count: Rows **B**.
        length: Generation length **L**.

    Raises:
        ValueError: If the denoiser cannot compare its distributions.
    """

    def __init__(self, denoiser: Denoiser, count: int, length: int) -> None:
        if not denoiser.compares:
            raise ValueError(
                f"{type(denoiser).__name__} cannot say how far its distributions moved, which the "
                "policy looks at (change): wrapped denoisers and those spread over ranks do not "
                "compare; decode by another policy or with the denoiser alone"
            )
        self.denoiser = denoiser
        self.latest = torch.full((count, length), torch.inf, device=denoiser.device)
        self.change = self.latest.clone()
        self._read = np.zeros(count, np.bool_)
        self._states: Tensor | None = None

    def note(self, rows: Indices, said: Reading) -> None:
        """Compare the new readings of rows ``[R]`` with their last ones, and keep them.

        Args:
            rows: ``[R]`` int64, rows with new readings.
            said: Readings of all rows, with hidden states.
        """
        if self._states is None:
            self._states = torch.zeros_like(said.signals[HIDDEN.name])
        at = upload(rows, self.latest.device)
        moved, states = torch.full_like(self.latest[at], torch.inf), said.signals[HIDDEN.name]
        for place in np.flatnonzero(self._read[rows]):
            row = rows[place]
            moved[place] = self.denoiser.divergence(states[row], self._states[row])
        self.change[at] = torch.maximum(self.latest[at], moved)
        self.latest[at] = moved
        self._states[at] = states[at]
        self._read[rows] = True

    def added(self, said: Reading) -> Reading:
        """Return readings of all rows with the signal."""
        return replace(said, signals={**said.signals, CHANGE.name: self.change})

    def replace(self, at: Tensor, others: Tensor) -> None:
        """Let rows ``[R]`` take over the past of others ``[R]``."""
        for value in (self.latest, self.change, self._states):
            if value is not None:
                value[at] = value[others]
        self._read[at.cpu().numpy()] = self._read[others.cpu().numpy()]
