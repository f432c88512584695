"""The frozen denoiser behind one face: tokens in, proposals and signals out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from lit_unmask.denoisers.loading.loading import Loaded
from lit_unmask.denoisers.loading.placement import named_weights
from lit_unmask.denoisers.loading.probes import Probed, run_probes
from lit_unmask.denoisers.running.cache import Kept
from lit_unmask.denoisers.running.compilation import Compile
from lit_unmask.denoisers.running.memory import RowLimit
from lit_unmask.denoisers.running.reduction import Reduced, check_noise, even_chunk, reduce_logits
from lit_unmask.denoisers.running.sequences import Sequences
from lit_unmask.denoisers.running.sharding import Shards
from lit_unmask.denoisers.text import ChatText
from lit_unmask.types import HIDDEN, Prompt, Reading, Signals

# In float32 16 MiB, to stay in a CPU's caches, and 256 MiB, to keep an accelerator busy.
MAX_LOGITS_CPU = 2**22
MAX_LOGITS_ACCELERATOR = 2**26


class Denoiser(ChatText, nn.Module, ABC):
    """A frozen masked diffusion language model: a network that attends in both directions.

    Parameters never get gradients and the module is always in evaluation mode.

    Args:
        loaded: The checkpoint.
        max_logits: Largest number of logits (positions times **V**) that exist at once; bounds
            memory, does not change results. None takes what is fast on the device.

    Attributes:
        shift: Whether the state at position ``i - 1`` predicts token ``i``.
        tokenizer: The checkpoint's tokenizer, with its chat template.
        mask_id: Token id of the mask.
        pad_id: Token id of padding.
        end_ids: Token ids of which the first to appear ends a response.
        max_length: Largest prompt plus response, in tokens.
        network: The network.
        row_limit: Most rows in one call of the network, found out by running out of memory.
        shards: The ranks that share the weights, or None; see ``StockDenoiser.shard``.
        compilation: How the network is compiled, or None.

    Raises:
        ValueError: If ``max_logits`` is not positive.
        RuntimeError: If a start-up probe fails.
    """

    shift: bool
    shards: Shards | None = None
    compilation: Compile | None = None

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
    @abstractmethod
    def device(self) -> torch.device:
        """Where inputs go and outputs come from."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Vocabulary **V**, mask token included."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Hidden width **D**."""

    @property
    def identity(self) -> dict[str, str | None]:
        """What a policy's checkpoint records: ``path``, ``revision``, ``config_hash`` and more."""
        return dict(self._identity)

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights by name; ranks that share them call this together."""
        return named_weights(self.network)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever the module around it does."""
        return super().train(False)

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
            RuntimeError: If the network is causal, sees padding or is not repeatable.
        """
        run_probes(Probed(self._body, self._project, self.vocab_size, self.device))

    def check_length(self, prompt: Prompt, gen_length: int) -> None:
        """Refuse a sequence with more positions than the model has.

        Args:
            prompt: The prompts.
            gen_length: Generation length **L**.

        Raises:
            ValueError: If ``P + L`` exceeds ``max_length``.
        """
        prompt_length = prompt.tokens.shape[1]
        if prompt_length + gen_length > self.max_length:
            raise ValueError(
                f"prompt length {prompt_length} + gen_length={gen_length} exceeds the model's "
                f"max_length={self.max_length}; lower gen_length or max_prompt_length"
            )

    @torch.no_grad()
    def forward(
        self,
        prompt: Prompt,
        response: Tensor,
        signals: Signals,
        uniform: Tensor | None = None,
        temperature: float = 0.0,
        kept: Kept | None = None,
    ) -> Reading:
        """Propose a token for every position of the response, and say how sure the model is.

        Args:
            prompt: **B** prompts.
            response: ``[B, L]`` int64, masks where nothing is committed yet.
            signals: What to return beside the proposal.
            uniform: ``[B, L]`` float32 in ``[0, 1)``, needed at a positive temperature: the
                proposal is where the cumulative distribution first exceeds it.
            temperature: 0 proposes the most probable token, above 0 a draw from
                ``softmax(logits / temperature)``. Confidence and entropy are at temperature 1.
            kept: Keys and values to keep, or to attend to while only a span is computed.

        Returns:
            Proposals and signals, of the span alone (``[B, W]``) if there is one.

        Raises:
            ValueError: If an argument does not fit, or asks for what the network cannot do.
        """
        self._check(prompt, response)
        if not 1 <= signals.top_k < self.vocab_size:
            raise ValueError(f"top_k={signals.top_k} must lie in [1, {self.vocab_size - 1}]")
        noise = check_noise(response, uniform, temperature)
        if kept is not None:
            kept.check(len(response), prompt.tokens.shape[1], response.shape[1])
            if noise is not None and kept.span is not None:
                noise = noise.gather(1, kept.span.positions)

        def part(rows: slice) -> Reading:
            drawn = None if noise is None else noise[rows].flatten()
            one = Prompt(prompt.tokens[rows], prompt.attention[rows])

            def ask() -> Reading:
                states = self._states(one, response[rows], kept and kept.select(rows))
                return self._read(states, signals, drawn, temperature)

            return ask() if self.shards is None else self.shards.run(ask)

        recover = None if self.shards is None else self.shards.finish
        return Reading.cat(self.row_limit.run(part, len(response), recover))

    def _read(
        self, states: Tensor, signals: Signals, noise: Tensor | None, temperature: float
    ) -> Reading:
        """Reduce the logits of states ``[B, W, D]``; ``noise`` is ``[B * W]`` or None."""
        shape = states.shape[:2]
        flat = states.flatten(0, 1)
        chunk = even_chunk(len(flat), self._most_positions())
        parts = []
        for start in range(0, len(flat), chunk):
            # All chunks have one shape, as rounding may depend on it: the last one begins earlier.
            first = min(start, len(flat) - chunk)
            logits = self._head(flat[first : first + chunk])
            # The head may be on another device than the inputs.
            piece = None if noise is None else noise[first : first + chunk].to(logits.device)
            reduced = reduce_logits(logits, signals, self.mask_id, piece, temperature)
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
            return self._head(self._states(prompt, response)).to(self.device)

        return ask() if self.shards is None else self.shards.run(ask)

    def _most_positions(self) -> int:
        """Return the number of positions whose logits may exist at once."""
        on_cpu = self.device.type == "cpu"
        limit = self.max_logits or (MAX_LOGITS_CPU if on_cpu else MAX_LOGITS_ACCELERATOR)
        return max(1, limit // self.vocab_size)

    def _head(self, states: Tensor) -> Tensor:
        """Turn states ``[..., D]`` into float32 logits ``[..., V]`` that never propose the mask."""
        logits = self._project(states).float()
        logits[..., self.mask_id] = -torch.inf
        return logits

    @abstractmethod
    def _project(self, states: Tensor) -> Tensor:
        """Turn states ``[..., D]`` into the network's logits ``[..., V]``."""

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

    def _states(self, prompt: Prompt, response: Tensor, kept: Kept | None = None) -> Tensor:
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
