"""All that a loop may ask of a denoiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Self

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from lit_unmask.denoisers.running.cache import Kept
from lit_unmask.denoisers.running.compilation import Compile
from lit_unmask.denoisers.running.memory import RowLimit
from lit_unmask.denoisers.running.sharding import Shards
from lit_unmask.denoisers.text import ChatText
from lit_unmask.types import Prompt, Reading, Signals

Adjust = Callable[[Tensor, Tensor], Tensor]
"""Changes logits before they are reduced: takes ``[M, V]`` float32, which it may overwrite, and
``[M]`` int64, where they are in the flattened response ``[B * L]``; returns ``[M, V]``, with
``-inf`` at the mask."""


class Denoiser(ChatText, nn.Module, ABC):
    """A frozen masked diffusion language model: tokens in, proposals and signals out.

    Parameters never get gradients and the module is always in evaluation mode.

    Attributes:
        tokenizer: The checkpoint's tokenizer, with its chat template.
        mask_id: Token id of the mask.
        pad_id: Token id of padding.
        end_ids: Token ids of which the first to appear ends a response.
        max_length: Largest prompt plus response, in tokens.
        shift: Whether the state at position ``i - 1`` predicts token ``i``.
        row_limit: Most rows in one call, found out by running out of memory.
        shards: The ranks that share the weights, or None.
        compilation: How the network is compiled, or None.
        same_draws: Whether the noise of a position is the same at every step of a rollout; else it
            is that of the step at which the buffer last changed.
    """

    shift: bool
    row_limit: RowLimit
    shards: Shards | None = None
    compilation: Compile | None = None
    same_draws: bool = False

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
    @abstractmethod
    def identity(self) -> dict[str, str | None]:
        """What a policy's checkpoint records: ``path``, ``revision``, ``config_hash`` and more."""

    @abstractmethod
    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights by name; ranks that share them call this together."""

    def shard(self, mesh: DeviceMesh) -> None:
        """Spread the weights over ranks; denoisers of stock networks can.

        Raises:
            ValueError: If this one cannot.
        """
        raise ValueError(
            f"the weights of {type(self).__name__} are not spread over ranks; use a stock denoiser "
            "without a wrapper, or leave the strategy ShardedDenoiser out"
        )

    @abstractmethod
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
            adjust: Changes the logits before anything is read from them.

        Returns:
            Proposals and signals, of the span alone (``[B, W]``) if there is one. What is said of
            a row follows from its prompt, response and noise alone.

        Raises:
            ValueError: If an argument does not fit, or asks for what the network cannot do.
        """

    @property
    def compares(self) -> bool:
        """Whether :meth:`divergence` says how far proposal distributions moved."""
        return False

    def divergence(self, states: Tensor, before: Tensor) -> Tensor:
        """Return how far the proposal distributions of a row's states are from those of others.

        Args:
            states: ``[L, D]``, the signal ``hidden`` of a reading.
            before: ``[L, D]``, that of another one.

        Returns:
            ``[L]`` float32, the Kullback-Leibler divergence of the distribution of each state
            from that of the one before, at temperature 1, in nats.
        """
        raise NotImplementedError

    def check_signals(self, signals: Signals) -> None:
        """Refuse signals that the denoiser cannot give.

        Raises:
            ValueError: If there is one among ``signals``.
        """

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever the module around it does."""
        return super().train(False)
