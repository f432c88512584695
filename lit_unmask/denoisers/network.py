"""A denoiser that is one network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from lit_unmask.denoisers.face import Adjust, Denoiser
from lit_unmask.denoisers.loading.loading import Loaded
from lit_unmask.denoisers.loading.placement import input_device, named_weights
from lit_unmask.denoisers.loading.probes import Probed, run_probes
from lit_unmask.denoisers.running.cache import Kept
from lit_unmask.denoisers.running.memory import RowLimit
from lit_unmask.denoisers.running.reduction import (
    Draw,
    Reduced,
    divergence,
    even_chunk,
    reduce_logits,
)
from lit_unmask.denoisers.running.sequences import Sequences
from lit_unmask.types import HIDDEN, Prompt, Reading, Signals

# In float32 16 MiB, to stay in a CPU's caches, and 256 MiB, to keep an accelerator busy.
MAX_LOGITS_CPU = 2**22
MAX_LOGITS_ACCELERATOR = 2**26


class NetworkDenoiser(Denoiser):
    """A frozen masked diffusion language model: a network that attends in both directions.

    Args:
        loaded: The checkpoint.
        max_logits: Largest number of logits (positions times **V**) that exist at once; bounds
            memory, does not change results. None takes what is fast on the device.

    Attributes:
        network: A model of transformers with input and output embeddings.
        placement: Where its weights are.
        causal: Whether the network looks ahead nowhere.

    Raises:
        ValueError: If ``max_logits`` is not positive.
        RuntimeError: If a start-up probe fails.
    """

    causal: ClassVar[bool] = False

    def __init__(self, loaded: Loaded, max_logits: int | None = None) -> None:
        super().__init__()
        self.network: Any = loaded.network
        self.tokenizer = loaded.tokenizer
        self.mask_id, self.pad_id, self.end_ids = loaded.mask_id, loaded.pad_id, loaded.end_ids
        self.max_length = loaded.max_length
        self.max_logits = max_logits
        self.placement = loaded.placement
        self.row_limit = RowLimit()
        self._identity = loaded.identity
        self.requires_grad_(False)
        self.eval()
        self.probe()

    @property
    def device(self) -> torch.device:
        """Where inputs go and outputs come from."""
        return input_device(self.network.get_input_embeddings())

    @property
    def vocab_size(self) -> int:
        """Vocabulary **V**, mask token included."""
        return int(self.network.get_output_embeddings().weight.shape[0])

    @property
    def width(self) -> int:
        """Hidden width **D**."""
        return int(self.network.get_output_embeddings().weight.shape[1])

    @property
    def identity(self) -> dict[str, str | None]:
        """What a policy's checkpoint records: ``path``, ``revision``, ``config_hash`` and more."""
        return dict(self._identity)

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights by name; ranks that share them call this together."""
        return named_weights(self.network)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast the weights, unless a device map or ranks have them in their places."""
        if self.placement.device_map is None and self.shards is None:
            return super()._apply(fn, recurse)
        sample = torch.empty(0)
        self.placement.refuse_move(sample, fn(sample), self.device)
        return self

    def probe(self) -> None:
        """Check on short inputs that the loaded network is the denoiser it claims to be.

        Raises:
            RuntimeError: If the network looks where it should not, or is not repeatable.
        """
        probed = Probed(self._body, self._project, self.vocab_size, self.device, self.causal)
        run_probes(probed)

    @torch.no_grad()
    def forward(
        self,
        prompt: Prompt,
        response: Tensor,
        signals: Signals,
        uniform: Tensor | None = None,
        temperature: float = 0.0,
        kept: Kept | None = None,
        adjust: Adjust | None = None,
    ) -> Reading:
        """Propose a token for every position of the response; see :meth:`Denoiser.forward`."""
        self._check(prompt, response)
        if not 1 <= signals.top_k < self.vocab_size:
            raise ValueError(f"top_k={signals.top_k} must lie in [1, {self.vocab_size - 1}]")
        draw, standing = Draw.of(response, uniform, temperature), response
        span = None if kept is None else kept.span
        if kept is not None:
            kept.check(len(response), prompt.tokens.shape[1], response.shape[1])
        if span is not None:
            if adjust is not None:
                raise ValueError(
                    "logits of a span cannot be adjusted; leave out decoding.approximate.cache or "
                    "what changes the logits"
                )
            there = span.positions
            standing = response.gather(1, there)
            draw = draw and draw.map(lambda noise: noise.gather(1, there))

        def part(rows: slice) -> Reading:
            one = Prompt(prompt.tokens[rows], prompt.attention[rows])
            first = rows.start * response.shape[1]

            def change(logits: Tensor, place: Tensor) -> Tensor:
                assert adjust is not None
                return adjust(logits, place + first)

            def ask() -> Reading:
                states = self.states(one, response[rows], kept and kept.select(rows))
                return self.read(
                    states, signals, draw and draw.select(rows), standing[rows], adjust and change
                )

            return ask() if self.shards is None else self.shards.run(ask)

        recover = None if self.shards is None else self.shards.finish
        return Reading.cat(self.row_limit.run(part, len(response), recover))

    def read(
        self,
        states: Tensor,
        signals: Signals,
        draw: Draw | None = None,
        standing: Tensor | None = None,
        adjust: Adjust | None = None,
    ) -> Reading:
        """Reduce the logits of states to a reading, a chunk of positions at a time.

        Args:
            states: ``[B, W, D]``.
            signals: What to return beside the proposal.
            draw: Noise of ``[B, W]`` positions; None for the most probable tokens.
            standing: ``[B, W]`` int64, the tokens that stand there, for the signal of that name.
            adjust: Changes the logits before anything is read from them.
        """
        shape = states.shape[:2]
        flat = states.flatten(0, 1)
        noise = draw and draw.map(lambda value: value.flatten())
        tokens = None if standing is None else standing.flatten()
        chunk = even_chunk(len(flat), self._most_positions())
        parts = []
        for start in range(0, len(flat), chunk):
            # All chunks have one shape, as rounding may depend on it: the last one begins earlier.
            first = min(start, len(flat) - chunk)
            piece = slice(first, first + chunk)
            # The head may be on another device than the inputs.
            logits = self.head(flat[piece])
            if adjust is not None:
                logits = adjust(logits, torch.arange(first, first + chunk, device=logits.device))
            drawn = noise and noise.select(piece).to(logits.device)
            there = None if tokens is None else tokens[piece].to(logits.device)
            reduced = reduce_logits(logits, signals, self.mask_id, drawn, there)
            parts.append(reduced.select(slice(start - first, None)))
        reduced = Reduced.cat(parts).map(lambda value: value.unflatten(0, shape))
        hidden = {HIDDEN.name: states} if HIDDEN in signals else {}
        reading = Reading(reduced.proposal, reduced.confidence, {**reduced.signals, **hidden})
        return reading.to(self.device)

    @torch.no_grad()
    def logits(self, prompt: Prompt, response: Tensor) -> Tensor:
        """Return all logits of the response; large, so for small models and tests.

        Args:
            prompt: **B** prompts.
            response: ``[B, L]`` int64.

        Returns:
            ``[B, L, V]`` float32, ``-inf`` at the mask token.
        """
        self._check(prompt, response)

        def ask() -> Tensor:
            return self.head(self.states(prompt, response)).to(self.device)

        return ask() if self.shards is None else self.shards.run(ask)

    @property
    def compares(self) -> bool:
        """Whether :meth:`divergence` works: ranks that share weights make whole forwards alone."""
        return self.shards is None

    @torch.no_grad()
    def divergence(self, states: Tensor, before: Tensor) -> Tensor:
        """Return how far distributions moved; see :meth:`Denoiser.divergence`."""
        chunk = even_chunk(len(states), max(self._most_positions() // 2, 1))
        pairs = zip(states.split(chunk), before.split(chunk), strict=True)
        parts = [divergence(self.head(now), self.head(then)) for now, then in pairs]
        return torch.cat(parts).to(self.device)

    def _most_positions(self) -> int:
        """Return the number of positions whose logits may exist at once."""
        on_cpu = self.device.type == "cpu"
        limit = self.max_logits or (MAX_LOGITS_CPU if on_cpu else MAX_LOGITS_ACCELERATOR)
        return max(1, limit // self.vocab_size)

    def head(self, states: Tensor) -> Tensor:
        """Turn states ``[..., D]`` into float32 logits ``[..., V]`` that never propose the mask."""
        logits = self._project(states).float()
        logits[..., self.mask_id] = -torch.inf
        return logits

    def _project(self, states: Tensor) -> Tensor:
        """Turn states ``[..., D]`` into the network's logits ``[..., V]``."""
        logits: Tensor = self.network.get_output_embeddings()(states)
        return logits

    @abstractmethod
    def _body(
        self,
        tokens: Tensor,
        attention: Tensor | None = None,
        positions: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return the states ``[B, S, D]`` that the head reads, of tokens ``[B, S]``.

        Args:
            tokens: ``[B, S]`` int64.
            attention: ``[B, columns]`` bool, which tokens of the sequence are seen; None for all.
            positions: ``[B, S]`` int64 where they do not count from 0.
            cache: Takes and gives keys and values.
        """

    def _cache(self, kept: Kept, places: Tensor | None, columns: int) -> Cache:
        """Return the cache of one call of the network; see :meth:`Kept.cache`."""
        return kept.cache(self.network.config.num_hidden_layers, places, columns)

    def states(self, prompt: Prompt, response: Tensor, kept: Kept | None = None) -> Tensor:
        """Return the final states ``[B, L, D]`` that predict the response, or its span."""
        call = Sequences.padded(prompt, response, self.shift, kept)
        cache = None if kept is None else self._cache(kept, call.places, call.columns)
        return call.read(self._body(call.tokens, call.attention, call.positions, cache))

    def _check(self, prompt: Prompt, response: Tensor) -> None:
        """Check that response and prompt are rows of one batch."""
        if response.ndim != 2 or response.shape[0] != len(prompt) or not response.numel():
            raise ValueError(
                f"response of shape {tuple(response.shape)} must be [B, L] with B={len(prompt)}, "
                "the rows of the prompt, and not empty"
            )
        if self.shift and prompt.tokens.shape[1] == 0:
            raise ValueError(
                f"{type(self).__name__} predicts the first token from the prompt's last; the "
                "prompt must hold at least one token"
            )
