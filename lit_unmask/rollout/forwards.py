"""The denoiser's readings of the rows, kept up to date with as few forwards as possible."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lit_unmask.denoisers.network import Denoiser
from lit_unmask.denoisers.running.cache import Kept
from lit_unmask.randomness import TOKEN, Noise, uniform
from lit_unmask.rollout.block_cache import BlockCache
from lit_unmask.rollout.ledger import Ledger
from lit_unmask.rollout.state import Indices, RowState, upload
from lit_unmask.types import Prompt, Reading, Signals


class Forwards:
    """Asks the denoiser about rows whose buffers changed, those of one state together.

    What decides which forwards run is on the host, so that it need not wait for the device.

    A proposal at a positive token temperature is drawn with the noise of the step at which the
    buffer last changed. The policy sees confidences, never the draw, so the trajectories are
    distributed as with a new draw in each step, and an unchanged row needs no new forward.

    Args:
        denoiser: The frozen dLLM.
        state: The rows.
        noise: Key of the random numbers.
        signals: What the denoiser is asked for.

    Attributes:
        ledger: Where forwards are counted.
    """

    def __init__(self, denoiser: Denoiser, state: RowState, noise: Noise, signals: Signals) -> None:
        self.denoiser, self.state, self.noise, self.signals = denoiser, state, noise, signals
        self.decoding, self.ledger = state.decoding, Ledger()
        self.cache = None if state.base is None else BlockCache(state)
        # A padding token may also stand in a prompt as a real one: the mask is part of the prompt.
        # The column of lengths is there for prompts of no tokens, which have no other.
        real = state.prompt.attention.long()
        prompts = torch.cat([state.prompt.tokens, real, real.sum(1, keepdim=True)], dim=1)
        self._group = torch.unique(prompts, dim=0, return_inverse=True)[1].cpu().numpy()

    def of(self, rows: Indices) -> Reading:
        """Return the readings of all rows, with those of ``rows`` ``[R]`` up to date."""
        scheduling, state = self.decoding.scheduling, self.state
        stale = rows[state.host.stale[rows]] if scheduling.skip else rows
        if len(stale):
            first, source = stale, None
            if scheduling.share and self.decoding.temperature == 0:
                stale = self._with_waiting(stale)
                first, source = self._distinct(stale)
            self.ledger.shared += len(stale) - len(first)
            self._compute(first)
            if source is not None:
                self._share(stale, source)
            state.settle(stale)
        assert state.said is not None
        return state.said

    def _share(self, rows: Indices, source: Indices) -> None:
        """Give rows ``[R]`` the readings of others ``[R]`` in the same state."""
        at, origin = upload(rows, self.state.device), upload(source, self.state.device)
        assert self.state.said is not None
        self.state.remember(at, self.state.said.select(origin))
        if self.cache is not None:
            self.cache.share(at, origin)

    def _with_waiting(self, rows: Indices) -> Indices:
        """Return rows ``[R]`` and those in the queue that will begin in the state of one of them.

        A group that does not run all at once so has one first forward all the same.
        """
        scheduling, host = self.decoding.scheduling, self.state.host
        # Without a limit there is no queue.
        queue = scheduling.max_rows is not None or scheduling.max_tokens is not None
        if not queue or self.cache is not None or not scheduling.skip:
            return rows
        first = rows[host.untouched[rows]]
        if not len(first):
            return rows
        waiting = host.untouched & host.stale & np.isin(self._group, self._group[first])
        waiting[rows] = False
        return np.concatenate([rows, waiting.nonzero()[0]])

    def _distinct(self, rows: Indices) -> tuple[Indices, Indices | None]:
        """Return one row for each distinct state, and for each row the one that stands for it.

        The state is prompt and buffer, and for a partial forward what it attends to.
        """
        parts = [self._group[rows, None], self.state.host.response[rows]]
        if self.cache is not None:
            parts.append(self.cache.key(upload(rows, self.state.device)).cpu().numpy())
        # Rows are few and long, which numpy's search for distinct ones is slow at.
        states = [tuple(row) for row in np.concatenate(parts, axis=1).tolist()]
        first: dict[tuple[int, ...], int] = {}
        for number, one in enumerate(states):
            first.setdefault(one, number)
        if len(first) == len(rows):
            return rows, None
        return rows[[first[one] for one in sorted(first)]], rows[[first[one] for one in states]]

    def _compute(self, rows: Indices) -> None:
        """Ask the denoiser about rows ``[R]``, about all that a cache does not hold."""
        state, scheduling = self.state, self.decoding.scheduling
        if self.cache is not None:
            at = upload(rows, state.device)
            full = state.is_base(at)
            for part, kept in self.cache.parts(at[~full]):
                lengths = state.lengths[part.cpu().numpy()].tolist()
                state.remember(part, self._forward(part, lengths, kept), kept.span)
            rows = rows[full.cpu().numpy()]
            self.cache.renew(upload(rows, state.device))
        lengths = state.lengths[rows].tolist()
        for call in scheduling.calls(lengths):
            part, of_part = upload(rows[call], state.device), [lengths[place] for place in call]
            if scheduling.deterministic:
                reading = self._fixed_forward(part, of_part)
            else:
                kept_here = None if self.cache is None else self.cache.full(part)
                reading = self._forward(part, of_part, kept_here)
            state.remember(part, reading)

    def _forward(self, at: Tensor, lengths: list[int], kept: Kept | None) -> Reading:
        """Ask about rows ``[R]``, or about the span of them that is to be computed."""
        width = max(lengths)
        if kept is None or kept.span is None:
            self._count(len(at), len(at) * (width + self.decoding.gen_length))
            self.ledger.padded_tokens += len(at) * width - sum(lengths)
        else:
            # A shifted denoiser computes one token more: its state predicts the span's first.
            tokens = len(at) * (kept.span.length + int(self.denoiser.shift))
            self._count(len(at), tokens)
            self.ledger.partial += len(at)
            self.ledger.partial_tokens += tokens
        # Denoisers that can keep nothing need not know of it.
        return self._ask(at, self._prompts(at, width), **({} if kept is None else {"kept": kept}))

    def _fixed_forward(self, at: Tensor, lengths: list[int]) -> Reading:
        """Ask about rows ``[R]`` of alike prompts in a call of a shape that others have too."""
        scheduling, longest = self.decoding.scheduling, max(lengths)
        filled, width = scheduling.filled(at), scheduling.width(longest)
        prompt = self._prompts(filled, longest)
        prompt = replace(
            prompt,
            tokens=F.pad(prompt.tokens, (width - longest, 0)),
            attention=F.pad(prompt.attention, (width - longest, 0)),
        )
        reading = self._ask(filled, prompt)
        limit = self.denoiser.row_limit.rows
        if limit is not None and limit < len(filled):
            raise RuntimeError(
                f"a call of {len(filled)} rows does not fit into memory, and of {limit} it would "
                f"give other numbers; set scheduling.static_rows={limit}"
            )
        blank, columns = len(filled) - len(at), width + self.decoding.gen_length
        self._count(len(filled), len(filled) * columns)
        self.ledger.blank += blank
        self.ledger.padded_tokens += blank * columns + len(at) * width - sum(lengths)
        return reading.select(slice(len(at)))

    def _prompts(self, at: Tensor, width: int) -> Prompt:
        """Return the last ``width`` columns of the prompts of rows ``[R]``."""
        prompt = self.state.prompt.select(at)
        first = prompt.tokens.shape[1] - width
        return replace(
            prompt, tokens=prompt.tokens[:, first:], attention=prompt.attention[:, first:]
        )

    def _ask(self, at: Tensor, prompt: Prompt, **options: Any) -> Reading:
        """Call the denoiser on rows ``[R]``, with the noise of their last change."""
        response, temperature, draws = self.state.response[at], self.decoding.temperature, None
        if temperature > 0:
            key, step = self.noise.rollout[at], self.state.changed_at[at]
            draws = uniform(self.noise.seed, key, step, response.shape[1], TOKEN)
        return self.denoiser(prompt, response, self.signals, draws, temperature, **options)

    def _count(self, rows: int, tokens: int) -> None:
        """Count a call of the denoiser on the ledger."""
        self.ledger.calls += 1
        self.ledger.computed += rows
        self.ledger.tokens += tokens
