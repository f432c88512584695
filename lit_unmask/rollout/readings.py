"""What the denoiser said about each row, brought up to date with as few forwards as possible."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_unmask.denoisers.base import Denoiser
from lit_unmask.denoisers.cache import Kept, Span
from lit_unmask.randomness import TOKEN, Noise, uniform
from lit_unmask.rollout.approximation import BlockCache
from lit_unmask.rollout.decoding import Decoding
from lit_unmask.rollout.ledger import Ledger
from lit_unmask.types import DenoiserOutput, Prompt, Signals


@dataclass
class Readings:
    """Keeps the denoiser's latest output for each row; every tensor has the rows first.

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
        self.stale = torch.ones(count, dtype=torch.bool, device=device)
        self.untouched = self.stale.clone()
        self.changed_at = torch.zeros(count, dtype=torch.int64, device=device)
        self.lengths: list[int] = self.prompt.attention.sum(1).tolist()
        # A padding token may also stand in a prompt as a real one: the mask is part of the prompt.
        # The column of lengths is there for prompts of no tokens, which have no other.
        real = self.prompt.attention.long()
        prompts = torch.cat([self.prompt.tokens, real, real.sum(1, keepdim=True)], dim=1)
        self.group = torch.unique(prompts, dim=0, return_inverse=True)[1]
        self.seen: DenoiserOutput | None = None
        self.cache: BlockCache | None = None
        if self.decoding.approximate.cache != "none":
            self.cache = BlockCache(
                self.prompt,
                self.decoding.gen_length,
                self.decoding.block_length,
                to_end=self.decoding.approximate.cache == "prefix",
            )

    def mark_changed(self, rows: Tensor, changed: Tensor, step: Tensor) -> None:
        """Note whether the buffers of some rows changed.

        Args:
            rows: ``[R]`` int64.
            changed: ``[R]`` bool.
            step: ``[R]`` int64, steps that each row has taken by now.
        """
        self.stale[rows] |= changed
        self.untouched[rows] &= ~changed
        self.changed_at[rows] = torch.where(changed, step, self.changed_at[rows])

    def mark_entered(self, rows: Tensor, response: Tensor, block: Tensor) -> None:
        """Note that some rows begin a block.

        With a cache that needs a full forward, unless the last one was of the same buffer.

        Args:
            rows: ``[R]`` int64.
            response: ``[B, L]`` int64, the buffers of all rows.
            block: ``[B]`` int64, the blocks of all rows.
        """
        if self.cache is not None:
            self.stale[rows] |= self.cache.enter(rows, response[rows], block[rows])

    def release(self, rows: Tensor) -> None:
        """Forget the keys and values of some rows ``[R]``, which are finished."""
        if self.cache is not None:
            self.cache.release(rows)

    def update(self, rows: Tensor, response: Tensor) -> None:
        """Bring the output for some rows up to date.

        Args:
            rows: ``[R]`` int64.
            response: ``[B, L]`` int64, the buffers of all rows.
        """
        scheduling = self.decoding.scheduling
        stale = rows[self.stale[rows]] if scheduling.skip else rows
        if not len(stale):
            return
        first, inverse = stale, None
        if scheduling.share and self.decoding.temperature == 0:
            stale = self._with_waiting(stale)
            first, inverse = self._distinct(stale, response)
        self.ledger.shared += len(stale) - len(first)
        self._compute(first, response)
        if inverse is not None and self.seen is not None:
            self._remember(stale, self.seen.select(first[inverse]))
            if self.cache is not None:
                self.cache.share(stale, first[inverse])
        self.stale[stale] = False

    def of(self, rows: Tensor) -> DenoiserOutput:
        """Return the latest output for some rows ``[R]``, which are up to date."""
        assert self.seen is not None
        return self.seen.select(rows)

    def _with_waiting(self, rows: Tensor) -> Tensor:
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
        waiting = self.untouched & self.stale & torch.isin(self.group, self.group[first])
        waiting[rows] = False
        return torch.cat([rows, waiting.nonzero().squeeze(1)])

    def _distinct(self, rows: Tensor, response: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return one row for each distinct state, and where each row finds its own.

        The state is prompt and buffer, and for a partial forward what it attends to.
        """
        state = torch.cat([self.group[rows, None], response[rows]], dim=1)
        if self.cache is not None:
            state = torch.cat([state, self.cache.key(rows, response[rows])], dim=1)
        unique, inverse = torch.unique(state, dim=0, return_inverse=True)
        if len(unique) == len(rows):
            return rows, None
        first = torch.full((len(unique),), len(rows), device=rows.device)
        first.scatter_reduce_(0, inverse, torch.arange(len(rows), device=rows.device), "amin")
        return rows[first], inverse

    def _compute(self, rows: Tensor, response: Tensor) -> None:
        """Ask the denoiser about rows ``[R]``, about all that a cache does not hold."""
        if self.cache is not None:
            full = self.cache.is_base(rows, response[rows])
            for part, some in self.cache.parts(rows[~full]):
                lengths = self._lengths_of(part)
                self._remember(part, self._forward(part, lengths, response, some), some.span)
            rows = rows[full]
            self.cache.renew(rows)
        lengths, scheduling = self._lengths_of(rows), self.decoding.scheduling
        for call in scheduling.calls(lengths):
            part = rows[torch.tensor(call, device=rows.device)]
            of_part = [lengths[place] for place in call]
            if scheduling.deterministic:
                output = self._fixed_forward(part, of_part, response)
            elif scheduling.packed and len(set(of_part)) > 1:
                output = self._packed_forward(part, of_part, response)
            else:
                kept = None if self.cache is None else self.cache.full(part)
                output = self._forward(part, of_part, response, kept)
            self._remember(part, output)

    def _lengths_of(self, rows: Tensor) -> list[int]:
        """Return the prompt lengths of rows ``[R]``."""
        if len(set(self.lengths)) == 1:  # the host need not wait for the device
            return self.lengths[: len(rows)]
        return [self.lengths[row] for row in rows.tolist()]

    def _prompt_of(self, rows: Tensor, width: int) -> Prompt:
        """Return the last ``width`` columns of the prompts of rows ``[R]``."""
        prompt = self.prompt.select(rows)
        first = prompt.tokens.shape[1] - width
        return replace(
            prompt, tokens=prompt.tokens[:, first:], attention=prompt.attention[:, first:]
        )

    def _fixed_forward(self, rows: Tensor, lengths: list[int], response: Tensor) -> DenoiserOutput:
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

    def _packed_forward(self, rows: Tensor, lengths: list[int], response: Tensor) -> DenoiserOutput:
        """Ask about rows ``[R]``, one after the other without padding."""
        prompt = self._prompt_of(rows, max(lengths))
        self._count(len(rows), sum(lengths) + len(rows) * response.shape[1])
        return self._ask(rows, prompt, response[rows], lengths=lengths)

    def _forward(
        self, rows: Tensor, lengths: list[int], response: Tensor, kept: Kept | None = None
    ) -> DenoiserOutput:
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
    ) -> DenoiserOutput:
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

    def _remember(self, rows: Tensor, output: DenoiserOutput, span: Span | None = None) -> None:
        """Keep what was said about rows ``[R]``, or about a span of them."""
        if self.seen is None:
            count = len(self.prompt)
            self.seen = output._map(lambda value: value.new_zeros(count, *value.shape[1:]))
        for name, kept in vars(self.seen).items():
            if kept is None:
                continue
            if span is None:
                kept[rows] = getattr(output, name)
            else:
                kept[rows[:, None], span.positions] = getattr(output, name)
