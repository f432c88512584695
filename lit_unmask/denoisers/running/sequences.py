"""How prompts and responses are laid out for one call of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.denoisers.running.cache import Kept
from lit_unmask.denoisers.running.packing import Packing
from lit_unmask.types import Prompt


@dataclass(frozen=True)
class Sequences:
    """The input of one call of the network, and where the states are that predict the response.

    Attributes:
        tokens: ``[B, S]`` int64, or ``[1, T]`` if packed.
        answers: Where the states of ``[B, W]`` positions are: a slice of the columns, or ``[B, W]``
            int64 places among the **T** if packed.
        attention: ``[B, columns]`` bool, which tokens of a sequence are seen; None for all.
        positions: ``[B, S]`` int64 where they do not count from 0.
        places: ``[B, S]`` int64, where in the sequence the tokens are, if they are a part of it.
        columns: Tokens of a sequence, padding included.
        packing: Which of the tokens belong together, if packed.
    """

    tokens: Tensor
    answers: slice | Tensor
    attention: Tensor | None = None
    positions: Tensor | None = None
    places: Tensor | None = None
    columns: int = 0
    packing: Packing | None = None

    def read(self, states: Tensor) -> Tensor:
        """Return the states ``[B, W, D]`` that predict, of all states of the call."""
        if isinstance(self.answers, slice):
            return states[:, self.answers]
        return states[0][self.answers.to(states.device)]

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

    @classmethod
    def packed(
        cls, prompt: Prompt, response: Tensor, shift: bool, lengths: Sequence[int]
    ) -> Sequences:
        """Lay out rows one after the other, without padding.

        Args:
            prompt: **B** prompts.
            response: ``[B, L]`` int64.
            shift: Whether the state at position ``i - 1`` predicts token ``i``.
            lengths: Tokens of each prompt.
        """
        packing = Packing.of([length + response.shape[1] for length in lengths], response.device)
        tokens = torch.cat([prompt.tokens, response], 1)
        columns = torch.arange(-response.shape[1], 0, device=response.device) - int(shift)
        return cls(
            tokens[packing.row, packing.column + tokens.shape[1]][None],
            packing.end[:, None] + columns,
            positions=packing.position[None],
            packing=packing,
        )


def check_lengths(rows: int, kept: Kept | None, lengths: Sequence[int] | None) -> None:
    """Refuse packed rows that are not as many as there are, or whose keys would be kept.

    Args:
        rows: Number of rows **B**.
        kept: Keys and values to keep, or None.
        lengths: Tokens of each prompt, or None if nothing is packed.

    Raises:
        ValueError: If they do not fit.
    """
    if lengths is None:
        return
    if kept is not None:
        raise ValueError("packed rows keep no keys and values; leave out kept or lengths")
    if len(lengths) != rows:
        raise ValueError(
            f"lengths has {len(lengths)} numbers; there must be one for each of the {rows} rows"
        )
