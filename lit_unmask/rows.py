"""Row operations of data types whose tensors have the rows first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor


class Rows:
    """Row operations of dataclasses whose tensors, also in mappings, have the rows first."""

    def map(self, function: Callable[[Tensor], Tensor]):
        """Return the same with ``function`` of every tensor."""
        values = {name: _mapped(value, function) for name, value in vars(self).items()}
        return replace(self, **values)  # type: ignore[type-var]

    def select(self, rows: Tensor | slice):
        """Return the rows picked by a slice, an index or a boolean tensor."""
        return self.map(lambda value: value[rows])

    def repeat(self, times: int):
        """Repeat each row ``times`` times, copies side by side."""
        return self.map(lambda value: value.repeat_interleave(times, dim=0))

    def to(self, device: torch.device | str):
        """Move every tensor to ``device``."""
        return self.map(lambda value: value.to(device))

    @classmethod
    def cat(cls, parts: Iterable):
        """Concatenate along the batch axis; all parts have the same fields set."""
        parts = list(parts)
        return parts[0] if len(parts) == 1 else _joined(parts)


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {name: _mapped(one, function) for name, one in value.items()}
    return value.map(function) if isinstance(value, Rows) else value


def _joined(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(values)
    if isinstance(first, Mapping):
        return {name: _joined([value[name] for value in values]) for name in first}
    if isinstance(first, Rows):
        fields = {name: _joined([getattr(one, name) for one in values]) for name in vars(first)}
        return replace(first, **fields)  # type: ignore[type-var]
    return first
