"""What the denoiser said about each row, brought up to date with as few forwards as possible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lit_unmask.denoisers.base import Denoiser
from lit_unmask.denoisers.cache import Kept, Span
from lit_unmask.randomness import TOKEN, Noise, uniform
from lit_unmask.rollout.approximation import BlockCache
from lit_unmask.rollout.decoding import Decoding
from lit_unmask.rollout.host import Indices, upload
from lit_unmask.rollout.ledger import Ledger
from lit_unmask.types import Prompt, Reading, Signals


@dataclass
class Readings:
    """Keeps the denoiser's latest output for each row; every tensor has the rows first.

    What decides which forwards run is on the host, so that it need not wait for the device.

    A proposal at a positive token temperature is drawn with the noise of the step at which the
    buffer last changed. The policy sees confidences, never the draw, so the trajectories are
    distributed as with a new draw in each step, and an unchanged row needs no new forward.

    Attributes:
        denoiser: The frozen dLLM.
        prompt: All **B** prompts.
        decoding: Lengths, token temperature and scheduling.
        noise: Key of the random numbers.
        signals: What the denoiser is asked for.
        ledger: Where forwards are counted.
    """

    denoiser: Denoiser
    prompt: Prompt
    decoding: Decoding
    noise: Noise
    signals: Signals
    ledger: Ledger = field(default_factory=Ledger)

    def __post_init__(self) -> None:
        """Set every row out of date."""
        device = self.prompt.tokens.device
        count = len(self.prompt)
        self.device = device
        self.stale = np.ones(count, dtype=np.bool_)
        self.untouched = self.stale.copy()
        self.changed_at = torch.zeros(count, dtype=torch.int64, device=device)
        self.lengths = self.prompt.attention.sum(1).cpu().numpy()
        # A padding token may also stand in a prompt as a real one: the mask is part of the prompt.
        # The column of lengths is there for prompts of no tokens, which have no other.
        real = self.prompt.attention.long()
        prompts = torch.cat([self.prompt.tokens, real, real.sum(1, keepdim=True)], dim=1)
        self.group = torch.unique(prompts, dim=0, return_inverse=True)[1].cpu().numpy()
        self.seen: Reading | None = None
        self.cache: BlockCache | None = None
        if self.decoding.approximate.cache != "none":
            self.cache = BlockCache(
                self.prompt,
                self.decoding.gen_length,
                self.decoding.block_length,
                to_end=self.decoding.approximate.cache == "prefix",
            )

    def mark_changed(self, rows: Indices) -> None:
        """Note that the buffers of some rows ``[R]`` changed."""
        self.stale[rows] = True
        self.untouched[rows] = False

    def mark_entered(self, rows: Indices, response: Tensor, block: Tensor) -> None:
        """Note that some rows begin a block.

        With a cache that needs a full forward, unless the last one was of the same buffer.

        Args:
            rows: ``[R]`` int64.
            response: ``[B, L]`` int64, the buffers of all rows.
            block: ``[B]`` int64, the blocks of all rows.
        """
        if self.cache is not None and len(rows):
            place = upload(rows, self.device)
            changed = self.cache.enter(place, response[place], block[place])
            self.stale[rows] |= changed.cpu().numpy()

    def release(self, rows: Tensor) -> None:
        """Forget the keys and values of some rows ``[R]``, which are finished."""
        if self.cache is not None:
            self.cache.release(rows)

    def update(self, rows: Indices, response: Tensor, known: Indices) -> None:
        """Bring the output for some rows up to date.

        Args:
            rows: ``[R]`` int64.
            response: ``[B, L]`` int64, the buffers of all rows.
            known: The same on the host.
        """
        scheduling = self.decoding.scheduling
        stale = rows[self.stale[rows]] if scheduling.skip else rows
        if not len(stale):
            return
        first, source = stale, None
        if scheduling.share and self.decoding.temperature == 0:
            stale = self._with_waiting(stale)
            first, source = self._distinct(stale, response, known)
        self.ledger.shared += len(stale) - len(first)
        self._compute(first, response)
        if source is not None and self.seen is not None:
            place, origin = upload(stale, self.device), upload(source, self.device)
            self._remember(place, self.seen.select(origin))
            if self.cache is not None:
                self.cache.share(place, origin)
        self.stale[stale] = False

    def of(self, rows: Tensor) -> Reading:
        """Return the latest output for some rows ``[R]``, which are up to date."""
        assert self.seen is not None
        return self.seen.select(rows)

    @property
    def price(self) -> Mapping[str, Tensor]:
        """``[B]`` forwards that a step with the latest output costs, by kind."""
        assert self.seen is not None
        return self.seen.price

    def _with_waiting(self, rows: Indices) -> Indices:
        """Return rows ``[R]`` and those in the queue that will begin in the state of one of them.

        A group that does not run all at once so has one first forward all the same.
        """
        scheduling = self.decoding.scheduling
        # Without a limit there is no queue.
        queue = scheduling.max_rows is not None or scheduling.max_tokens is not None
        if not queue or self.cache is not None or not scheduling.skip:
            return rows
        first = rows[self.untouched[rows]]
        if not len(first):
            return rows
        waiting = self.untouched & self.stale & np.isin(self.group, self.group[first])
        waiting[rows] = False
        return np.concatenate([rows, waiting.nonzero()[0]])

    def _distinct(
        self, rows: Indices, response: Tensor, known: Indices
    ) -> tuple[Indices, Indices | None]:
        """Return one row for each distinct state, and for each row the one that stands for it.

        The state is prompt and buffer, and for a partial forward what it attends to.
        """
        state = np.concatenate([self.group[rows, None], known[rows]], axis=1)
        if self.cache is not None:
            place = upload(rows, self.device)
            key = self.cache.key(place, response[place]).cpu().numpy()
            state = np.concatenate([state, key], axis=1)
        # Rows are few and long, which numpy's search for distinct ones is slow at.
        states = [tuple(row) for row in state.tolist()]
        first: dict[tuple[int, ...], int] = {}
        for number, one in enumerate(states):
            first.setdefault(one, number)
        if len(first) == len(rows):
            return rows, None
        return rows[[first[one] for one in sorted(first)]], rows[[first[one] for one in states]]

    def _compute(self, rows: Indices, response: Tensor) -> None:
        """Ask the denoiser about rows ``[R]``, about all that a cache does not hold."""
        if self.cache is not None:
            place = upload(rows, self.device)
            full = self.cache.is_base(place, response[place])
            for part, some in self.cache.parts(place[~full]):
                lengths = self.lengths[part.cpu().numpy()].tolist()
                self._remember(part, self._forward(part, lengths, response, some), some.span)
            rows = rows[full.cpu().numpy()]
            self.cache.renew(upload(rows, self.device))
        lengths, scheduling = self.lengths[rows].tolist(), self.decoding.scheduling
        for call in scheduling.calls(lengths):
            part = upload(rows[call], self.device)
            of_part = [lengths[place] for place in call]
            if scheduling.deterministic:
                output = self._fixed_forward(part, of_part, response)
            elif scheduling.packed and len(set(of_part)) > 1:
                output = self._packed_forward(part, of_part, response)
            else:
                kept = None if self.cache is None else self.cache.full(part)
                output = self._forward(part, of_part, response, kept)
            self._remember(part, output)

    def _prompt_of(self, rows: Tensor, width: int) -> Prompt:
        """Return the last ``width`` columns of the prompts of rows ``[R]``."""
        prompt = self.prompt.select(rows)
        first = prompt.tokens.shape[1] - width
        return replace(
            prompt, tokens=prompt.tokens[:, first:], attention=prompt.attention[:, first:]
        )

    def _fixed_forward(self, rows: Tensor, lengths: list[int], response: Tensor) -> Reading:
        """Ask about rows ``[R]`` of alike prompts in a call of a shape that others have too."""
        scheduling, longest = self.decoding.scheduling, max(lengths)
        filled, width = scheduling.filled(rows), scheduling.width(longest)
        prompt = self._prompt_of(filled, longest)
        prompt = replace(
            prompt,
            tokens=F.pad(prompt.tokens, (width - longest, 0)),
            attention=F.pad(prompt.attention, (width - longest, 0)),
        )
        output = self._ask(filled, prompt, response[filled])
        limit = self.denoiser.row_limit.rows
        if limit is not None and limit < len(filled):
            raise RuntimeError(
                f"a call of {len(filled)} rows does not fit into memory, and of {limit} it would "
                f"give other numbers; set scheduling.static_rows={limit}"
            )
        blank, columns = len(filled) - len(rows), width + response.shape[1]
        self._count(len(filled), len(filled) * columns)
        self.ledger.blank += blank
        self.ledger.padded_tokens += blank * columns + len(rows) * width - sum(lengths)
        return output.select(torch.arange(len(rows), device=rows.device))

    def _packed_forward(self, rows: Tensor, lengths: list[int], response: Tensor) -> Reading:
        """Ask about rows ``[R]``, one after the other without padding."""
        prompt = self._prompt_of(rows, max(lengths))
        self._count(len(rows), sum(lengths) + len(rows) * response.shape[1])
        return self._ask(rows, prompt, response[rows], lengths=lengths)

    def _forward(
        self, rows: Tensor, lengths: list[int], response: Tensor, kept: Kept | None = None
    ) -> Reading:
        """Ask about rows ``[R]``, or about the span of them that is to be computed."""
        width = max(lengths)
        prompt = self._prompt_of(rows, width)
        if kept is None or kept.span is None:
            self._count(len(rows), len(rows) * (width + response.shape[1]))
            self.ledger.padded_tokens += len(rows) * width - sum(lengths)
        else:
            # A shifted denoiser computes one token more: its state predicts the span's first.
            tokens = len(rows) * (kept.span.length + int(self.denoiser.shift))
            self._count(len(rows), tokens)
            self.ledger.partial += len(rows)
            self.ledger.partial_tokens += tokens
        return self._ask(rows, prompt, response[rows], kept=kept)

    def _ask(
        self,
        rows: Tensor,
        prompt: Prompt,
        response: Tensor,
        kept: Kept | None = None,
        lengths: list[int] | None = None,
    ) -> Reading:
        """Call the denoiser on rows ``[R]``, with the noise of their last change."""
        draws = None
        if self.decoding.temperature > 0:
            key, step = self.noise.rollout[rows], self.changed_at[rows]
            draws = uniform(self.noise.seed, key, step, response.shape[1], TOKEN)
        asked = prompt, response, self.signals, draws, self.decoding.temperature
        # Denoisers that can do neither need not know of them.
        if kept is not None:
            return self.denoiser(*asked, kept=kept)
        return self.denoiser(*asked) if lengths is None else self.denoiser(*asked, lengths=lengths)

    def _count(self, rows: int, tokens: int) -> None:
        """Count a call of the denoiser on the ledger."""
        self.ledger.calls += 1
        self.ledger.computed += rows
        self.ledger.tokens += tokens

    def _remember(self, rows: Tensor, output: Reading, span: Span | None = None) -> None:
        """Keep what was said about rows ``[R]``, or about a span of them."""
        if self.seen is None:
            count = len(self.prompt)
            self.seen = output.map(lambda value: value.new_zeros(count, *value.shape[1:]))
        at = rows if span is None else (rows[:, None], span.positions)
        self.seen.proposal[at], self.seen.confidence[at] = output.proposal, output.confidence
        for name, kept in self.seen.signals.items():
            kept[at] = output.signals[name]
        for kind, price in self.seen.price.items():
            price[rows] = output.price[kind]
