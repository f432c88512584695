"""The denoiser's readings of the rows, kept up to date with as few forwards as possible."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.denoisers.running.cache import Kept
from lit_unmask.randomness import CORRECTION, TOKEN, Noise, uniform
from lit_unmask.rollout.block_cache import BlockCache
from lit_unmask.rollout.host import DENOISER, Indices, upload
from lit_unmask.rollout.ledger import Ledger
from lit_unmask.rollout.state import RowState
from lit_unmask.rows import Rows
from lit_unmask.types import CHANGE, HIDDEN, Prompt, Reading, Signals


@dataclass(frozen=True)
class Query(Rows):
    """What the denoiser is asked about **R** rows.

    Attributes:
        at: ``[R]`` int64, the rows, for their prompts.
        response: ``[R, L]`` int64, the buffers.
        draws: ``[R, L]`` float32 in ``[0, 1)``, or None at temperature 0.
    """

    at: Tensor
    response: Tensor
    draws: Tensor | None


class Forwards:
    """Asks the denoiser about rows whose buffers changed, those of one state together.

    What decides which forwards run is on the host, so that it need not wait for the device.

    A proposal at a positive token temperature is drawn with the noise of the step at which the
    buffer last changed. The policy sees confidences, never the draw, so the trajectories are
    distributed as with a new draw in each step, and an unchanged row needs no new forward.

    Attributes:
        ledger: Where forwards are counted.
    """

    def __init__(self, denoiser: Denoiser, state: RowState, noise: Noise, signals: Signals) -> None:
        self.denoiser, self.state, self.noise, self.signals = denoiser, state, noise, signals
        self.decoding, self.ledger = state.decoding, Ledger()
        self._asked = signals
        if state.changes is not None:
            self._asked = signals.without(CHANGE) | Signals(names={HIDDEN.name})
        self.cache = None if state.base is None else BlockCache(state)
        # A padding token may also stand in a prompt as a real one: the mask is part of the prompt.
        # The column of lengths is there for prompts of no tokens, which have no other.
        real = state.prompt.attention.long()
        prompts = torch.cat([state.prompt.tokens, real, real.sum(1, keepdim=True)], dim=1)
        self._group = torch.unique(prompts, dim=0, return_inverse=True)[1].cpu().numpy()

    def of(self, rows: Indices) -> Reading:
        """Return the readings of all rows, with those of ``rows`` ``[R]`` up to date.

        They may hold more than what is asked for.
        """
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
            if state.changes is not None and state.said is not None:
                # A reading of a buffer that did not change says nothing new, skipped or not.
                state.changes.note(stale[state.host.stale[stale]], state.said)
            state.settle(stale)
        assert state.said is not None
        return state.said if state.changes is None else state.changes.added(state.said)

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
        parts = [self.state.host.response[rows]]
        if self.cache is not None:
            parts.append(self.cache.key(upload(rows, self.state.device)).cpu().numpy())
        first, place = self._alike(rows, *parts)
        return (rows, None) if len(first) == len(rows) else (rows[first], rows[first[place]])

    def _alike(self, rows: Indices, *parts: Indices) -> tuple[Indices, Indices]:
        """Find rows of one prompt that agree in all parts ``[R, ...]``.

        Returns:
            The first place of each distinct state, and the number of each row's state among them.
        """
        # Rows are few and long, which numpy's search for distinct ones is slow at.
        table = np.concatenate([self._group[rows, None], *parts], axis=1).tolist()
        states = [tuple(row) for row in table]
        first: dict[tuple[int, ...], int] = {}
        for number, one in enumerate(states):
            first.setdefault(one, number)
        order = {one: number for number, one in enumerate(sorted(first))}
        return np.array([first[one] for one in order]), np.array([order[one] for one in states])

    def ask(self, at: Tensor, buffers: Tensor) -> Reading:
        """Read other buffers of some rows for a corrector, and charge the rows for it.

        Args:
            at: ``[A]`` int64, the rows.
            buffers: ``[A, L]`` int64.
        """
        state, temperature = self.state, self.decoding.temperature
        rows = at.cpu().numpy()
        first, place = np.arange(len(rows)), np.arange(len(rows))
        query = Query(at, buffers, None)
        if temperature > 0:
            key, number = self.noise.rollout[at], state.asked[at]
            draws = uniform(self.noise.seed, key, number, buffers.shape[1], CORRECTION)
            query = replace(query, draws=draws)
        elif self.decoding.scheduling.share:
            first, place = self._alike(rows, buffers.cpu().numpy())
        self.ledger.shared += len(rows) - len(first)
        lengths = state.lengths[rows[first]].tolist()
        calls, readings = self.decoding.scheduling.calls(lengths), []
        for call in calls:
            part = query.select(upload(first[call], state.device))
            readings.append(self._call(part, [lengths[one] for one in call]))
        order = np.argsort(np.concatenate(calls), kind="stable")
        reading = Reading.cat(readings).select(upload(order[place], state.device))
        state.charge_asked(at, reading.price)
        return reading

    def _compute(self, rows: Indices) -> None:
        """Ask the denoiser about rows ``[R]``, about all that a cache does not hold."""
        state = self.state
        if self.cache is not None:
            at = upload(rows, state.device)
            full = state.is_base(at)
            for part, kept in self.cache.parts(at[~full]):
                lengths = state.lengths[part.cpu().numpy()].tolist()
                state.remember(part, self._forward(self._query(part), lengths, kept), kept.span)
            rows = rows[full.cpu().numpy()]
            self.cache.renew(upload(rows, state.device))
        lengths = state.lengths[rows].tolist()
        for call in self.decoding.scheduling.calls(lengths):
            part = upload(rows[call], state.device)
            state.remember(part, self._call(self._query(part), [lengths[one] for one in call]))

    def _query(self, at: Tensor) -> Query:
        """Return what is asked of rows ``[R]``, with the noise of their last change."""
        response, draws = self.state.response[at], None
        if self.decoding.temperature > 0:
            key, step = self.noise.rollout[at], self.state.changed_at[at]
            if getattr(self.denoiser, "same_draws", False):
                step = torch.zeros_like(step)
            draws = uniform(self.noise.seed, key, step, response.shape[1], TOKEN)
        return Query(at, response, draws)

    def _call(self, query: Query, lengths: list[int]) -> Reading:
        """Ask about whole rows in one call."""
        if self.decoding.scheduling.deterministic:
            return self._fixed_forward(query, lengths)
        kept = None if self.cache is None else self.cache.full(query.at)
        return self._forward(query, lengths, kept)

    def _forward(self, query: Query, lengths: list[int], kept: Kept | None) -> Reading:
        """Ask about rows, or about the span of them that is to be computed."""
        width, count = max(lengths), len(lengths)
        if kept is None or kept.span is None:
            self._count(count, count * (width + self.decoding.gen_length))
            self.ledger.padded_tokens += count * width - sum(lengths)
        else:
            # A shifted denoiser computes one token more: its state predicts the span's first.
            tokens = count * (kept.span.length + int(self.denoiser.shift))
            self._count(count, tokens)
            self.ledger.partial += count
            self.ledger.partial_tokens += tokens
        # Denoisers that can keep nothing need not know of it.
        options = {} if kept is None else {"kept": kept}
        return self._ask(query, self._prompts(query.at, width), **options)

    def _fixed_forward(self, query: Query, lengths: list[int]) -> Reading:
        """Ask about rows of alike prompts in a call of a shape that others have too."""
        scheduling, longest, count = self.decoding.scheduling, max(lengths), len(lengths)
        places = torch.arange(count, device=query.at.device)
        filled, width = query.select(scheduling.filled(places)), scheduling.width(longest)
        prompt = self._prompts(filled.at, longest)
        prompt = replace(
            prompt,
            tokens=F.pad(prompt.tokens, (width - longest, 0)),
            attention=F.pad(prompt.attention, (width - longest, 0)),
        )
        reading, size = self._ask(filled, prompt), len(filled.at)
        limit = self.denoiser.row_limit.rows
        if limit is not None and limit < size:
            raise RuntimeError(
                f"a call of {size} rows does not fit into memory, and of {limit} it would "
                f"give other numbers; set scheduling.static_rows={limit}"
            )
        blank, columns = size - count, width + self.decoding.gen_length
        self._count(size, size * columns)
        self.ledger.blank += blank
        self.ledger.padded_tokens += blank * columns + count * width - sum(lengths)
        return reading.select(slice(count))

    def _prompts(self, at: Tensor, width: int) -> Prompt:
        """Return the last ``width`` columns of the prompts of rows ``[R]``."""
        prompt = self.state.prompt.select(at)
        first = prompt.tokens.shape[1] - width
        return replace(
            prompt, tokens=prompt.tokens[:, first:], attention=prompt.attention[:, first:]
        )

    def _ask(self, query: Query, prompt: Prompt, **options: Any) -> Reading:
        """Call the denoiser, and look whether its numbers are finite."""
        noise = query.draws, self.decoding.temperature
        reading = self.denoiser(prompt, query.response, self._asked, *noise, **options)
        # One NaN or infinite logit makes all probabilities of its position NaN.
        total = reading.confidence.sum((1, 2))
        self.state.mark(query.at, (total - total) != 0, DENOISER)
        return reading

    def _count(self, rows: int, tokens: int) -> None:
        """Count a call of the denoiser on the ledger."""
        self.ledger.calls += 1
        self.ledger.computed += rows
        self.ledger.tokens += tokens
