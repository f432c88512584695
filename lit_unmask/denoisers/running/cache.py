"""Keys and values that are kept between forwards, so that later ones compute a part of the tokens.

The stock networks hand the keys and values of each layer to a ``Cache`` of transformers before they
attend. The layers below keep them there, or put new ones in their places among those that were
kept; the attention itself is the stock one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


@dataclass(frozen=True)
class Span:
    """Consecutive positions of the response, equally many in each row.

    Attributes:
        start: ``[B]`` int64, the first position of each row, counted from 0.
        length: Number of positions **W**, at least 1.
    """

    start: Tensor
    length: int

    @property
    def positions(self) -> Tensor:
        """The positions, ``[B, W]`` int64."""
        return self.start[:, None] + torch.arange(self.length, device=self.start.device)


class KeyValues:
    """Keys and values of all layers, one slot a sequence.

    Sequences end at the last column of their slots, whatever their prompts' lengths, so that a
    batch of any prompt length **P** finds them in its last ``P + L`` columns. What lies left of a
    sequence is finite and has to be masked.

    Args:
        width: Columns of a slot: the longest prompt plus the response, in tokens.

    Attributes:
        slots: Number of slots. Memory is taken when a forward writes, a slot costing
            ``2 * layers * heads * width * channels`` numbers of the network's dtype.
    """

    def __init__(self, width: int) -> None:
        self.width, self.slots = width, 0
        self._layers: list[tuple[Tensor, Tensor]] = []

    def write(self, layer: int, slots: Tensor, new: tuple[Tensor, Tensor]) -> None:
        """Keep keys and values of a layer, each ``[B, heads, S, channels]``, in slots ``[B]``."""
        if layer == len(self._layers):
            self._layers.append((self._room(new[0]), self._room(new[1])))
        kept = self._layers[layer]
        if len(kept[0]) < self.slots:
            kept = (self._room(new[0], kept[0]), self._room(new[1], kept[1]))
            self._layers[layer] = kept
        for old, part in zip(kept, new, strict=True):
            old[slots, :, self.width - part.shape[2] :] = part

    def read(self, layer: int, slots: Tensor, columns: int) -> tuple[Tensor, Tensor]:
        """Return copies of the last columns of slots, each ``[B, heads, columns, channels]``."""
        keys, values = self._layers[layer]
        return keys[:, :, -columns:][slots], values[:, :, -columns:][slots]

    def _room(self, like: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return zeros for all slots, with what was kept; garbage could be NaN under the mask."""
        room = like.new_zeros(self.slots, like.shape[1], self.width, like.shape[3])
        if kept is not None:
            room[: len(kept)] = kept
        return room


@dataclass(frozen=True)
class Kept:
    """What a forward has to do with kept keys and values.

    Without a span it is a full forward, whose keys and values are kept. With a span only those
    positions are computed; they attend to one another and, everywhere else, to what was kept. That
    is left as it is.

    Attributes:
        store: Where keys and values are kept.
        slots: ``[B]`` int64, the slot of each row. Rows of a full forward have different ones.
        span: The computed part of the response, or None for all.
    """

    store: KeyValues
    slots: Tensor
    span: Span | None = None

    def select(self, rows: slice) -> Kept:
        """Return what concerns some rows."""
        span = self.span and Span(self.span.start[rows], self.span.length)
        return replace(self, slots=self.slots[rows], span=span)

    def check(self, rows: int, prompt_length: int, gen_length: int) -> None:
        """Refuse what does not fit a batch of **B** rows, prompts of **P** and responses of **L**.

        Raises:
            ValueError: If there is not one slot a row, a sequence is wider than a slot, or the
                span does not lie within the response.
        """
        if self.slots.shape != (rows,):
            raise ValueError(
                f"kept.slots has shape {tuple(self.slots.shape)}; there must be one slot for each "
                f"of the {rows} rows"
            )
        if prompt_length + gen_length > self.store.width:
            raise ValueError(
                f"{prompt_length} + {gen_length} tokens do not fit into slots of "
                f"{self.store.width}; make KeyValues for the longest prompt plus the response"
            )
        if self.span is not None and not 1 <= self.span.length <= gen_length:
            raise ValueError(
                f"span.length={self.span.length} must lie in [1, {gen_length}], the length of the "
                "response"
            )

    def cache(self, layers: int, places: Tensor | None, columns: int) -> Cache:
        """Return the cache of one call of the network.

        Args:
            layers: Layers of the network.
            places: ``[B, W]`` int64, where in the sequence the computed tokens are, or None if all
                tokens are computed.
            columns: Tokens of a sequence, padding included.
        """
        return Cache(layers=[_Layer(self, index, places, columns) for index in range(layers)])


class _Layer(DynamicLayer):
    """One layer's part in one call of the network."""

    def __init__(self, kept: Kept, index: int, places: Tensor | None, columns: int) -> None:
        super().__init__()
        self._kept, self._index, self._places, self._columns = kept, index, places, columns

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Take the new keys and values, return all that is attended to."""
        device = key_states.device  # a device map may put layers on several
        store, slots = self._kept.store, self._kept.slots.to(device)
        if self._places is None:
            store.write(self._index, slots, (key_states, value_states))
            return key_states, value_states
        keys, values = store.read(self._index, slots, self._columns)
        places = self._places.to(device)[:, None, :, None].expand_as(key_states)
        return keys.scatter_(2, places, key_states), values.scatter_(2, places, value_states)

    def get_mask_sizes(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Return how many keys there are, and the place of the first."""
        return self._columns, 0
