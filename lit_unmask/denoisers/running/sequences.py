"""How prompts and responses are laid out for one call of the network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.denoisers.running.cache import Kept
from lit_unmask.types import Prompt


@dataclass(frozen=True)
class Sequences:
    """The input of one call of the network, and where the states are that predict the response.

    Attributes:
        tokens: ``[B, S]`` int64.
        answers: The columns whose states predict the response, or its span.
        attention: ``[B, columns]`` bool, which tokens of a sequence are seen; None for all.
        positions: ``[B, S]`` int64 where they do not count from 0.
        places: ``[B, S]`` int64, where in the sequence the tokens are, if they are a part of it.
        columns: Tokens of a sequence, padding included.
    """

    tokens: Tensor
    answers: slice
    attention: Tensor | None = None
    positions: Tensor | None = None
    places: Tensor | None = None
    columns: int = 0

    def read(self, states: Tensor) -> Tensor:
        """Return the states ``[B, W, D]`` that predict, of all states of the call."""
        return states[:, self.answers]

    @classmethod
    def padded(
        cls, prompt: Prompt, response: Tensor, shift: bool, kept: Kept | None = None
    ) -> Sequences:
        """Lay out rows one below the other, with the padding of the prompts.

        Args:
            prompt: **B** prompts.
            response: ``[B, L]`` int64.
            shift: Whether the state at position ``i - 1`` predicts token ``i``.
            kept: Has the span that is computed, if it is not all.
        """
        tokens = torch.cat([prompt.tokens, response], 1)
        columns = tokens.shape[1]
        attention = positions = places = None
        if not bool(prompt.attention.all()):
            real = torch.ones_like(response, dtype=torch.bool)
            attention = torch.cat([prompt.attention, real], 1)
            # As without padding, so that rotations round alike.
            positions = (attention.cumsum(1) - 1).clamp_(min=0)
        start, length = prompt.tokens.shape[1] - int(shift), response.shape[1]
        if kept is not None and kept.span is not None:
            # The span's own tokens, as their keys and values are what is new, and before them the
            # one whose state predicts the first, if shifted.
            length = kept.span.length
            places = start + kept.span.start[:, None]
            places = places + torch.arange(length + int(shift), device=places.device)
            tokens = tokens.gather(1, places)
            positions = places if positions is None else positions.gather(1, places)
            start = 0
        answers = slice(start, start + length)
        return cls(tokens, answers, attention, positions, places, columns)
