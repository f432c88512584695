"""Rows of different lengths as one sequence, each of which attends to itself alone.

The stock networks look up their attention by name and hand it what they do not know themselves. So
one function, registered under a name of its own, is all that packing takes; the layers are the
stock ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

varlen_attn: Any = None
with suppress(ImportError):  # torch before 2.10
    from torch.nn.attention.varlen import varlen_attn

NAME = "lit_unmask_packed"


@dataclass(frozen=True)
class Packing:
    """Which of **T** packed tokens belong together.

    Rows stand in the order of their lengths, so that those of one length are side by side.

    Attributes:
        lengths: Tokens of each row, shortest first; their sum is **T**.
        row: ``[T]`` int64, the row of each token, as it was numbered before.
        column: ``[T]`` int64, place of each token counted from the end of its row, -1 the last.
        position: ``[T]`` int64, place of each token counted from the beginning of its row.
        end: ``[B]`` int64, where each row ends, by the number that it had before.
        starts: ``[B + 1]`` int32, where each row begins, in order, and **T**.
    """

    lengths: tuple[int, ...]
    row: Tensor
    column: Tensor
    position: Tensor
    end: Tensor
    starts: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Packing:
        """Lay out rows of ``lengths`` tokens, each at least one; no size comes from the device."""
        order = sorted(range(len(lengths)), key=lambda row: lengths[row])
        ordered = [lengths[row] for row in order]
        row = torch.tensor(order).repeat_interleave(torch.tensor(ordered))
        size = torch.tensor(lengths)
        ends = torch.tensor(ordered).cumsum(0)
        end = torch.empty_like(ends)
        end[order] = ends
        place = torch.arange(len(row))
        column = place - end[row]
        starts = torch.cat([ends.new_zeros(1), ends]).int()
        parts = row, column, column + size[row], end, starts
        return cls(tuple(ordered), *(part.to(device, non_blocking=True) for part in parts))

    @property
    def runs(self) -> list[tuple[int, int]]:
        """How many rows of how many tokens follow each other."""
        return [(len(list(rows)), length) for length, rows in groupby(self.lengths)]


@contextmanager
def packed_attention(network: PreTrainedModel) -> Iterator[None]:
    """Let a stock network attend within packed rows while the context lasts."""
    usual = network.config._attn_implementation
    # What set_attn_implementation does in the end, which is slower than a small denoiser's layer.
    network.config._attn_implementation = NAME
    try:
        yield
    finally:
        network.config._attn_implementation = usual


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packing: Packing,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each row, in both directions; called by the layers of a stock network.

    Args:
        module: The layer.
        query: ``[1, heads, T, channels]``.
        key: ``[1, key heads, T, channels]``.
        value: As ``key``.
        attention_mask: Not used.
        packing: Which tokens belong together.
        scaling: Factor of the scores.

    Returns:
        ``[1, T, heads, channels]``, and None in place of the probabilities.
    """
    if _has_kernel(query):
        return _by_kernel(query, key, value, packing, scaling), None
    parts, first = [], 0
    for rows, length in packing.runs:
        last = first + rows * length
        q, k, v = (_unpack(part[0, :, first:last], rows) for part in (query, key, value))
        # As the network does without padding.
        found = sdpa_attention_forward(module, q, k, v, None, scaling=scaling, is_causal=False)
        parts.append(found[0].flatten(0, 1))
        first = last
    return torch.cat(parts)[None], None


def _unpack(part: Tensor, rows: int) -> Tensor:
    """Return ``[heads, rows * length, channels]`` as ``[rows, heads, length, channels]``."""
    return part.unflatten(1, (rows, -1)).transpose(0, 1)


def _has_kernel(query: Tensor) -> bool:
    """Return whether torch attends to rows of any lengths in one kernel, for such inputs."""
    return query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and _VARLEN


def _by_kernel(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None
) -> Tensor:
    """Return ``[1, T, heads, channels]`` by torch's kernel for rows of any lengths."""
    starts, longest = packing.starts.to(query.device), packing.lengths[-1]
    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
    grouped = key.shape[1] != query.shape[1]
    limits = starts, starts, longest, longest
    return varlen_attn(q, k, v, *limits, scale=scaling, enable_gqa=grouped)[None]


# Earlier releases have neither of its two arguments.
_VARLEN = varlen_attn is not None and {"scale", "enable_gqa"} <= set(
    inspect.signature(varlen_attn).parameters
)
AttentionInterface.register(NAME, attend)
