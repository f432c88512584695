"""Masks over responses: where, when and how they are drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_LENGTHS = (8, 16, 32)


@dataclass(frozen=True)
class Window:
    """The part of each response that is being written: clean before it, masks alone behind it.

    Attributes:
        start: ``[B]`` int64, first position.
        size: ``[B]`` int64, positions.
    """

    start: Tensor
    size: Tensor


def draw_windows(
    length: int, written: Tensor, block_share: float, generator: torch.Generator | None = None
) -> Window:
    """Draw what each response is noised in: the whole of it, or one block.

    Blocks are what semi-autoregressive decoding sees: the text before them is finished, nothing
    behind them is. They begin anywhere up to the end of the text, in a length of 8 to 32.

    Args:
        length: Response length **L**.
        written: ``[B]`` int64, tokens of each response up to and with its first end token.
        block_share: Share of the responses that get a block, in ``[0, 1]``.
        generator: Source of randomness.
    """
    rows = len(written)
    blocked = torch.rand(rows, generator=generator) < block_share
    sizes = torch.tensor(BLOCK_LENGTHS)
    size = sizes[torch.randint(len(sizes), (rows,), generator=generator)]
    start = (torch.rand(rows, generator=generator) * written.cpu()).long()
    size = torch.minimum(size, length - start)
    return Window(torch.where(blocked, start, 0), torch.where(blocked, size, length))


def stratified_times(rows: int, generator: torch.Generator | None = None) -> Tensor:
    """Return ``[rows]`` float32 times, each uniform on ``[0, 1)``, one in each of ``rows`` strata.

    The estimate stays unbiased and varies less than with independent times (arXiv 2406.07524,
    section 3.5, has the same device).
    """
    offset = torch.rand(1, generator=generator)
    order = torch.randperm(rows, generator=generator)
    return (order + offset) / rows


def mask_window(
    response: Tensor,
    window: Window,
    times: Tensor,
    mask_id: int,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Mask some of each window and everything behind it.

    Of the **n** positions of a window ``k = floor(t n) + 1`` are masked, any k of them: k is
    uniform on 1 to n when ``t`` is uniform on ``[0, 1)``.

    Args:
        response: ``[B, L]`` int64 clean tokens.
        window: What is being written.
        times: ``[B]`` in ``[0, 1)``.
        mask_id: Mask token.
        generator: Source of randomness.

    Returns:
        The noisy tokens ``[B, L]``, and the weight ``[B, L]`` of each position in the objective:
        ``1 / k`` where a position of the window is masked and 0 elsewhere.
    """
    start, size = (part[:, None].to(response.device) for part in (window.start, window.size))
    place = torch.arange(response.shape[1], device=response.device)
    inside = (place >= start) & (place < start + size)
    masked = (times[:, None].to(response.device) * size).long() + 1
    order = torch.rand(response.shape, generator=generator).to(response.device)
    rank = order.masked_fill(~inside, torch.inf).argsort(1).argsort(1)
    chosen = inside & (rank < masked)
    noisy = response.masked_fill(chosen | (place >= start + size), mask_id)
    return noisy, chosen / masked


@dataclass(frozen=True)
class Noised:
    """Rows to learn from, one or several of each response.

    Attributes:
        tokens: ``[M, L]`` int64, with masks.
        weight: ``[M, L]`` float32, of each position in the objective; those of the rows of one
            response together add up to 1.
        row: ``[M]`` int64, the response of each row.
    """

    tokens: Tensor
    weight: Tensor
    row: Tensor


class Masks(ABC):
    """Draws masks; a subclass is one of an objective's ``masks``."""

    @abstractmethod
    def draw(self, clean: Tensor, window: Window, times: Tensor, mask_id: int) -> Noised:
        """Mask responses.

        Args:
            clean: ``[B, L]`` int64.
            window: What is being written.
            times: ``[B]`` share of the window that is masked, in ``[0, 1)``.
            mask_id: Mask token.
        """


@dataclass(frozen=True)
class OneMask(Masks):
    """One mask of each response; see :func:`mask_window`."""

    def draw(self, clean: Tensor, window: Window, times: Tensor, mask_id: int) -> Noised:
        """Mask responses; see :meth:`Masks.draw`."""
        tokens, weight = mask_window(clean, window, times, mask_id)
        return Noised(tokens, weight, torch.arange(len(clean), device=clean.device))


@dataclass(frozen=True)
class ComplementaryMasks(Masks):
    """Disjoint masks of each response that together hide every position of its window once.

    Source: fully explored masked language modelling, arXiv 2010.06040: the gradients of two masks
    agree the less the more they differ, so the mean over disjoint ones varies least. Masks of one
    response have the same time here, ``1 / K`` for ``K = round(1 / t)``, as the weight of a time
    makes masks of different times no exchange for each other; sizes differ by one position at most.
    A response is read in ``K`` rows, and costs as much. The shares of masks are 1, 1/2, 1/3 and so
    on to ``1 / most``, where :class:`OneMask` has every number of masks.

    Attributes:
        most: Largest number of masks of a response.

    Raises:
        ValueError: If that is none.
    """

    most: int = 8

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"most={self.most} must be at least 1 mask of a response")

    def draw(self, clean: Tensor, window: Window, times: Tensor, mask_id: int) -> Noised:
        """Mask responses; see :meth:`Masks.draw`."""
        sets = (1 / times).clamp(max=self.most).round().long()
        sets = torch.minimum(sets, window.size.cpu())
        row = torch.arange(len(clean)).repeat_interleave(sets)
        number = torch.arange(len(row)) - (sets.cumsum(0) - sets)[row]
        start, size, count = (
            part[row, None].to(clean.device) for part in (window.start, window.size.cpu(), sets)
        )
        place = torch.arange(clean.shape[1], device=clean.device)
        inside = (place >= start) & (place < start + size)
        rank = self._order(clean.shape, row).to(clean.device).masked_fill(~inside, torch.inf)
        part = rank.argsort(1).argsort(1) * count // size
        chosen = inside & (part == number[:, None].to(clean.device))
        tokens = clean[row.to(clean.device)].masked_fill(chosen | (place >= start + size), mask_id)
        weight = chosen / (chosen.sum(1, keepdim=True) * count)
        return Noised(tokens, weight, row.to(clean.device))

    def _order(self, shape: torch.Size, row: Tensor) -> Tensor:
        """Return the numbers ``[M, L]`` whose order says which mask of its row hides a position."""
        return torch.rand(shape)[row]


@dataclass(frozen=True)
class IndependentMasks(ComplementaryMasks):
    """As many masks of the same sizes, each drawn by itself: what complementary ones compare to."""

    def _order(self, shape: torch.Size, row: Tensor) -> Tensor:
        return torch.rand(len(row), shape[1])
