"""The state of the rows. Nobody else changes it: the loop writes edits, the forwards readings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_unmask.denoisers.network import Denoiser
from lit_unmask.denoisers.running.cache import Span
from lit_unmask.rollout.decoding import Decoding
from lit_unmask.types import PREDICTOR, Prompt, Reading

Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]


def upload(indices: Indices, device: torch.device) -> Tensor:
    """Return indices as a tensor on a device, without waiting for it."""
    tensor = torch.from_numpy(indices)
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def total(price: Mapping[str, Tensor]) -> Tensor:
    """Return the forwards of all kinds, ``[B]`` int64."""
    return reduce(torch.add, price.values())


@dataclass(frozen=True)
class Edit:
    """A write to the buffers of some rows.

    Attributes:
        rows: ``[R]`` int64, the rows.
        at: The same on the device.
        steps: ``[R]`` int64, steps that it took the policy, for which the row is charged.
        where: ``[R, L]`` bool, positions that get a token.
        tokens: ``[R, L]`` int64.
    """

    rows: Indices
    at: Tensor
    steps: Tensor
    where: Tensor
    tokens: Tensor


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

    def fetch(self, rows: Indices, response: Tensor, *columns: Tensor) -> None:
        """Wait for the device and take over the state of some rows.

        Args:
            rows: ``[R]`` int64.
            response: ``[R, L]`` int64.
            columns: ``[R]`` each: steps taken, forwards charged, steps in the block, whether the
                row is finished, and whether its reading got out of date.
        """
        # One copy, as each one waits until the device has caught up.
        read = torch.cat([response, torch.stack(columns, 1)], 1).cpu().numpy()
        self.response[rows] = read[:, : response.shape[1]]
        step, nfe, block_steps, finished, stale = read[:, response.shape[1] :].T
        self.step[rows], self.nfe[rows], self.block_steps[rows] = step, nfe, block_steps
        self.finished[rows] = finished != 0
        self.stale[rows] |= stale != 0
        self.untouched[rows] &= stale == 0


class RowState:
    """All that is known of **B** rows; every tensor has the rows first.

    Args:
        denoiser: Says which tokens are the mask and ends.
        prompt: All prompts.
        decoding: Lengths and savings.

    Attributes:
        response: ``[B, L]`` int64, the buffers.
        committed_at: ``[B, L]`` int64, step at which a position was committed, or -1.
        step: ``[B]`` int64, steps taken.
        price: ``[B]`` int64 forwards charged, by kind.
        block: ``[B]`` int64, the current block.
        block_steps: ``[B]`` int64, steps taken in it.
        changed_at: ``[B]`` int64, the step at which the buffer last changed.
        finished: ``[B]`` bool.
        base: ``[B, L]`` int64, the buffers as they were when their blocks began; None without a
            cache of keys and values.
        slot: ``[B]`` int64, where the keys and values of each row are, or -1.
        said: The denoiser's latest reading of each row; None before the first.
        host: What the host knows of all this.
        lengths: ``[B]`` int64 on the host, tokens of each prompt.
    """

    def __init__(self, denoiser: Denoiser, prompt: Prompt, decoding: Decoding) -> None:
        self.prompt, self.decoding, self.mask_id = prompt, decoding, denoiser.mask_id
        count, length, device = len(prompt), decoding.gen_length, prompt.tokens.device
        self.response = torch.full((count, length), self.mask_id, device=device)
        self.committed_at = torch.full_like(self.response, -1)
        self.step = torch.zeros(count, dtype=torch.int64, device=device)
        self.price = {PREDICTOR: torch.zeros_like(self.step)}
        self.block, self.block_steps = torch.zeros_like(self.step), torch.zeros_like(self.step)
        self.changed_at = torch.zeros_like(self.step)
        self.finished = torch.zeros_like(self.step, dtype=torch.bool)
        self.base = self.response.clone() if decoding.approximate.cache != "none" else None
        self.slot = torch.full_like(self.step, -1)
        self.said: Reading | None = None
        self.host = HostRows.start(count, length, self.mask_id)
        self.lengths: Indices = prompt.attention.sum(1).cpu().numpy()
        self._block_of = torch.arange(length, device=device) // decoding.block_length
        self._end_ids = None
        if decoding.approximate.early_stop:
            self._end_ids = torch.tensor(denoiser.end_ids, device=device)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.response.device

    def masked(self, at: Tensor) -> Tensor:
        """Return the masked positions of rows ``[R]``, ``[R, L]`` bool."""
        return self.response[at] == self.mask_id

    def in_block(self, at: Tensor) -> Tensor:
        """Return the positions of the current blocks of rows ``[R]``, ``[R, L]`` bool."""
        return self._block_of == self.block[at, None]

    def is_base(self, at: Tensor) -> Tensor:
        """Return ``[R]`` bool, rows whose buffer is as it was when the block began."""
        assert self.base is not None
        return (self.base[at] == self.response[at]).all(1)

    def remember(self, at: Tensor, reading: Reading, span: Span | None = None) -> None:
        """Keep the reading of rows ``[R]``, or of a span of their positions."""
        if self.said is None:
            count = len(self.step)
            self.said = reading.map(lambda value: value.new_zeros(count, *value.shape[1:]))
        where = at if span is None else (at[:, None], span.positions)
        self.said.proposal[where] = reading.proposal
        self.said.confidence[where] = reading.confidence
        for name, kept in self.said.signals.items():
            kept[where] = reading.signals[name]
        for kind, price in self.said.price.items():
            price[at] = reading.price[kind]

    def settle(self, rows: Indices) -> None:
        """Note that the readings of rows ``[R]`` are up to date."""
        self.host.stale[rows] = False

    def point(self, at: Tensor, slots: Tensor | int) -> None:
        """Note where the keys and values of rows ``[R]`` are."""
        self.slot[at] = slots

    def write(self, edit: Edit) -> None:
        """Charge for steps, write tokens and move on from blocks that are done; tell the host.

        Tokens are committed at each row's latest step.
        """
        at, where = edit.at, edit.where
        self._charge(at, edit.steps)
        self.response[at] = torch.where(where, edit.tokens, self.response[at])
        latest = (self.step[at, None] - 1).expand_as(where)
        self.committed_at[at] = torch.where(where, latest, self.committed_at[at])
        stale = where.any(1)
        self.changed_at[at] = torch.where(stale, self.step[at], self.changed_at[at])
        done = self._move_on(at)
        if self.base is not None:
            stale |= self._enter(at, done)
        nfe = total({kind: price[at] for kind, price in self.price.items()})
        counts = self.step[at], nfe, self.block_steps[at]
        self.host.fetch(edit.rows, self.response[at], *counts, self.finished[at], stale)

    def _charge(self, at: Tensor, steps: Tensor) -> None:
        """Charge rows ``[R]`` for steps ``[R]``, by the price of their readings."""
        assert self.said is not None
        self.step[at] += steps
        self.block_steps[at] += steps
        for kind, price in self.said.price.items():
            self.price.setdefault(kind, torch.zeros_like(self.step))[at] += steps * price[at]

    def _move_on(self, at: Tensor) -> Tensor:
        """Leave the blocks of rows ``[R]`` that are done, and return which are, ``[R]`` bool."""
        done = ~(self.masked(at) & self.in_block(at)).any(1)
        done |= self.block_steps[at] >= self.decoding.block_length
        self.block[at] += done
        self.block_steps[at] *= ~done
        self.finished[at] = self.block[at] > self._block_of[-1]
        if self._end_ids is not None:
            self._stop_early(at, self._end_ids)
        return done

    def _enter(self, at: Tensor, done: Tensor) -> Tensor:
        """Begin the next block of rows ``[R]`` that are done with one.

        Returns:
            ``[R]`` bool, rows that need a full forward, as their base changed.
        """
        assert self.base is not None
        changed = done & ~self.is_base(at)
        self.base[at] = torch.where(done[:, None], self.response[at], self.base[at])
        self.slot[at] = self.slot[at].masked_fill(self.finished[at], -1)
        return changed

    def _stop_early(self, at: Tensor, end_ids: Tensor) -> None:
        """Finish rows ``[R]`` that are committed up to an end token, and fill them with it.

        What is filled was decided by nobody: it is not charged, and ``committed_at`` stays -1.
        """
        response = self.response[at]
        stop, end = ended(response, self.mask_id, end_ids)
        fill = stop[:, None] & (response == self.mask_id)
        self.response[at] = torch.where(fill, end[:, None], response)
        self.finished[at] |= stop


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
