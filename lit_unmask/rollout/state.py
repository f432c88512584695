"""The state of the rows. Nobody else changes it: the loop writes edits, the forwards readings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.denoisers.running.cache import Span
from lit_unmask.rollout.changes import Changes
from lit_unmask.rollout.correctors.base import Edit, View
from lit_unmask.rollout.decoding import Decoding
from lit_unmask.rollout.history import Log, Start, ended, total
from lit_unmask.rollout.host import HostRows, Indices
from lit_unmask.types import CORRECTOR, PREDICTOR, Prompt, Reading


class RowState:
    """All that is known of **B** rows; every tensor has the rows first.

    Args:
        denoiser: Says which tokens are the mask and ends.
        prompt: All prompts.
        decoding: Lengths and savings.
        log: Where to note what happens to the rows; None notes nothing.
        changes: What keeps how far proposal distributions move, where that is wanted.

    Attributes:
        response: ``[B, L]`` int64, the buffers.
        committed_at: ``[B, L]`` int64, step at which a position was committed, or -1.
        sure: ``[B, L]`` float32, confidence with which the policy committed it, for correctors.
        step: ``[B]`` int64, steps taken.
        begun: ``[B]`` int64, those of them that were taken before.
        price: ``[B]`` int64 forwards charged, by kind.
        block: ``[B]`` int64, the current block.
        block_steps: ``[B]`` int64, steps taken in it.
        changed_at: ``[B]`` int64, the step at which the buffer last changed.
        corrected: ``[B]`` bool, rows whose reading is a corrector's, and good for one step.
        asked: ``[B]`` int64, how often a corrector asked about the row.
        wanted: ``[B]`` bool, whether the policy asked for a correction in the row's last step.
        finished: ``[B]`` bool.
        broken: ``[B]`` int64, not 0 where the denoiser or the policy said NaN or infinity.
        base: ``[B, L]`` int64, the buffers as they were when their blocks began; None without a
            cache of keys and values.
        slot: ``[B]`` int64, where the keys and values of each row are, or -1.
        said: The denoiser's latest reading of each row; None before the first.
        log: All writes and charges, if they are noted.
        host: What the host knows of all this.
        lengths: ``[B]`` int64 on the host, tokens of each prompt.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        prompt: Prompt,
        decoding: Decoding,
        log: Log | None = None,
        changes: Changes | None = None,
    ) -> None:
        self.prompt, self.decoding, self.mask_id = prompt, decoding, denoiser.mask_id
        count, length, device = len(prompt), decoding.gen_length, prompt.tokens.device
        self.response = torch.full((count, length), self.mask_id, device=device)
        self.committed_at = torch.full_like(self.response, -1)
        self.sure = torch.zeros(count, length, device=device)
        self.step = torch.zeros(count, dtype=torch.int64, device=device)
        self.begun, self.broken = torch.zeros_like(self.step), torch.zeros_like(self.step)
        self.price = {PREDICTOR: torch.zeros_like(self.step)}
        self.block, self.block_steps = torch.zeros_like(self.step), torch.zeros_like(self.step)
        self.changed_at, self.asked = torch.zeros_like(self.step), torch.zeros_like(self.step)
        self.finished, self.corrected, self.wanted = torch.zeros(3, count, device=device).bool()
        self.base = self.response.clone() if decoding.approximate.cache != "none" else None
        self.slot = torch.full_like(self.step, -1)
        self.said: Reading | None = None
        self.changes, self.log = changes, log
        self.host = HostRows.start(count, length, self.mask_id)
        self.lengths: Indices = prompt.attention.sum(1).cpu().numpy()
        self._block_of = torch.arange(length, device=device) // decoding.block_length
        self._end_ids = None
        if decoding.approximate.early_stop:
            self._end_ids = torch.tensor(denoiser.end_ids, device=device)

    def begin(self, start: Start) -> None:
        """Take over states to begin in, in the place of masks alone.

        Raises:
            ValueError: If there is not one state a row, of as many tokens as are decoded.
        """
        if start.response.shape != self.response.shape or start.step.shape != self.step.shape:
            raise ValueError(
                f"start has buffers {tuple(start.response.shape)} and steps "
                f"{tuple(start.step.shape)}; they must be {tuple(self.response.shape)} and "
                f"{tuple(self.step.shape)}"
            )
        self.response, self.step = start.response.clone(), start.step.clone()
        self.begun, self.changed_at = self.step.clone(), self.step.clone()
        masked = self.response == self.mask_id
        opened = masked.unflatten(1, (-1, self.decoding.block_length)).any(2)
        self.block = torch.where(opened.any(1), opened.int().argmax(1), opened.shape[1])
        self.finished = ~opened.any(1)
        if self.base is not None:
            self.base = self.response.clone()
        if self._end_ids is not None:
            self._stop_early(torch.arange(len(self.step), device=self.device), self._end_ids)
        self.host.begin(self.response, self.step, self.finished)

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

    def mark(self, at: Tensor, broken: Tensor, whose: int, asks: Tensor | None = None) -> None:
        """Note where what was said is not finite, of which the next write tells, and what is asked.

        Args:
            at: ``[M]`` int64, rows, also more than once.
            broken: ``[M]`` bool.
            whose: ``DENOISER`` or ``POLICY``.
            asks: ``[M]`` bool, rows for which the policy asks for a correction, if it ever does.
        """
        if asks is not None:
            self.wanted[at] = asks
        self.broken.index_add_(0, at, broken.long(), alpha=whose)

    def settle(self, rows: Indices) -> None:
        """Note that the readings of rows ``[R]`` are up to date."""
        self.host.stale[rows] = False

    def point(self, at: Tensor, slots: Tensor | int) -> None:
        """Note where the keys and values of rows ``[R]`` are."""
        self.slot[at] = slots

    def view(self, at: Tensor) -> View:
        """Return what a corrector sees of rows ``[R]``."""
        response = self.response[at]
        return View(
            response=response,
            masked=response == self.mask_id,
            in_block=self.in_block(at),
            committed_at=self.committed_at[at],
            sure=self.sure[at],
            asked=self.wanted[at],
            step=self.step[at],
            block_steps=self.block_steps[at],
            mask_id=self.mask_id,
        )

    def rewrite(self, at: Tensor, edit: Edit, reading: Reading) -> None:
        """Correct the buffers of rows ``[R]``, with the reading that holds for this step.

        Masked positions are left to the policy, and masks are put back in the current block alone.
        What stands there already is not written again.
        """
        opened = (edit.tokens != self.mask_id) | self.in_block(at)
        where = edit.where & ~self.masked(at) & opened & (edit.tokens != self.response[at])
        self._put(at, Edit(where, edit.tokens), self.step[at], corrected=True)
        # The draws of the next reading are new ones.
        self.changed_at[at] = torch.where(where.any(1), self.step[at] + 1, self.changed_at[at])
        self.corrected[at] = True
        assert self.said is not None
        self.remember(at, replace(reading, price=self.said.select(at).price))

    def write(self, rows: Indices, at: Tensor, edit: Edit, steps: Tensor) -> None:
        """Charge for steps, write tokens and move on from blocks that are done; tell the host.

        Tokens are committed at each row's latest step.

        Args:
            rows: ``[R]`` int64, the rows.
            at: The same on the device.
            edit: What the policy reveals.
            steps: ``[R]`` int64, steps that it took the policy, for which the row is charged.

        Raises:
            NotFinite: If what was said of a row so far is not.
        """
        self._charge(at, steps)
        self._put(at, edit, self.step[at] - 1)
        if self.decoding.corrector is not None and self.said is not None:
            sure = self.said.confidence[at, :, 0].float()
            self.sure[at] = torch.where(edit.where, sure, self.sure[at])
        stale = edit.where.any(1)
        self.changed_at[at] = torch.where(stale, self.step[at], self.changed_at[at])
        stale |= self.corrected[at]
        self.corrected[at] = False
        done = self._move_on(at)
        if self.base is not None:
            stale |= self._enter(at, done)
        self.tell(rows, at, stale)

    def tell(self, rows: Indices, at: Tensor, stale: Tensor) -> None:
        """Tell the host of rows ``[R]``, and of which the readings got out of date."""
        nfe = total({kind: price[at] for kind, price in self.price.items()})
        counts = self.step[at], nfe, self.block_steps[at]
        told = *counts, self.finished[at], stale, self.broken[at]
        broken = self.host.fetch(rows, self.response[at], *told)
        if broken.any():
            resampler = self.decoding.resampler
            self.host.refuse(rows, broken, 1 if resampler is None else resampler.particles)

    def _put(self, at: Tensor, edit: Edit, step: Tensor, corrected: bool = False) -> None:
        """Write tokens to rows ``[R]`` at steps ``[R]``; nothing else changes a buffer."""
        where = edit.where
        self.response[at] = torch.where(where, edit.tokens, self.response[at])
        when = step[:, None].expand_as(where).masked_fill(edit.tokens == self.mask_id, -1)
        self.committed_at[at] = torch.where(where, when, self.committed_at[at])
        if self.log is not None:
            self.log.write(at, edit, step, corrected)

    def _charge(self, at: Tensor, steps: Tensor) -> None:
        """Charge rows ``[R]`` for steps ``[R]``, by the price of their readings."""
        assert self.said is not None
        for kind, price in self.said.price.items():
            self._account(kind, at, steps * price[at], steps)
        self.step[at] += steps
        self.block_steps[at] += steps

    def charge_asked(self, at: Tensor, price: Mapping[str, Tensor]) -> None:
        """Charge rows ``[R]`` for readings of theirs that a corrector asked for."""
        self.asked[at] += 1
        for kind, forwards in price.items():
            kind = CORRECTOR if kind == PREDICTOR else kind
            self._account(kind, at, forwards, torch.ones_like(at))

    def _account(self, kind: str, at: Tensor, forwards: Tensor, steps: Tensor) -> None:
        self.price.setdefault(kind, torch.zeros_like(self.step))[at] += forwards
        if self.log is not None:
            self.log.charge(at, self.step[at], steps, list(self.price).index(kind), forwards)

    def replace(self, at: Tensor, others: Tensor) -> None:
        """Let rows ``[R]`` take over the states of others ``[R]``; what they cost stays theirs."""
        own = self.response, self.committed_at, self.sure, self.step, self.block, self.block_steps
        flags = self.corrected, self.wanted, self.finished
        for value in (*own, self.changed_at, self.asked, *flags):
            value[at] = value[others]
        if self.changes is not None:
            self.changes.replace(at, others)
        self.host.replace(at.cpu().numpy(), others.cpu().numpy())

    def _move_on(self, at: Tensor) -> Tensor:
        """Leave the blocks of rows ``[R]`` that are done, and return which are, ``[R]`` bool."""
        done = ~(self.masked(at) & self.in_block(at)).any(1)
        done |= self.block_steps[at] >= self.decoding.most_block_steps
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
        self._put(at, Edit(fill, end[:, None].expand_as(fill)), torch.full_like(at, -1))
        self.finished[at] |= stop
