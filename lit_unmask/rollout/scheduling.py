"""How rows share the denoiser's time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scheduling:
    """Which forwards are saved, and how many rows run at a time; no trajectory depends on it.

    Attributes:
        skip: Whether a row whose buffer did not change keeps what the denoiser said about it.
        share: Whether rows of the same prompt and buffer share one forward; at a positive token
            temperature, where each row draws its own proposal, they never do.
        lookahead: Steps of a waiting row that the policy is asked about in one batch, at least 1.
            Only rows whose buffer is unchanged can wait, so 1 is all there is without ``skip``.
        max_rows: Most rows that are decoded at the same time; further rows wait in a queue and
            take the place of finished ones. None means no limit.
        max_tokens: Most tokens, prompts included and padding not, that are decoded at the same
            time; one row always runs. None means no limit.
        call_tokens: Cost of one more denoiser call, in tokens: rows of different prompt lengths
            go through the denoiser apart where that saves more padding. None never splits.
        deterministic: Whether every call of denoiser and policy has one of a few fixed shapes, so
            that a row's numbers are the same to the last bit whatever else is decoded with it.
            Without it rounding may depend on the shape of the batch, and now and then flip a
            decision in float32 or bfloat16. Calls are filled with copies of their first row, and
            every prompt has some padding. Numbers differ in their last bits from those without it.
        static_rows: Rows of every call, if deterministic.
        static_tokens: Prompts are padded to the next multiple of so many tokens, if deterministic.

    Raises:
        ValueError: If a number is out of range.
    """

    skip: bool = True
    share: bool = True
    lookahead: int = 8
    max_rows: int | None = None
    max_tokens: int | None = None
    call_tokens: int | None = 512
    deterministic: bool = False
    static_rows: int = 8
    static_tokens: int = 32

    def __post_init__(self) -> None:
        for name in ("max_rows", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1, or null for no limit")
        for name in ("lookahead", "static_rows", "static_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.call_tokens is not None and self.call_tokens < 0:
            raise ValueError(
                f"call_tokens={self.call_tokens} must be at least 0, or null to never split"
            )

    def admitted(self, lengths: Sequence[int]) -> int:
        """Return how many rows of a queue may run at the same time.

        Args:
            lengths: Tokens of each waiting row, first in line first.

        Returns:
            A number between 1 and ``len(lengths)``.
        """
        count = len(lengths) if self.max_rows is None else min(self.max_rows, len(lengths))
        if self.max_tokens is None:
            return count
        total = 0
        for place, length in enumerate(lengths[:count]):
            total += length
            if total > self.max_tokens:
                return max(place, 1)
        return count

    def calls(self, lengths: Sequence[int]) -> list[list[int]]:
        """Split rows into denoiser calls.

        Args:
            lengths: Tokens of each row's prompt.

        Returns:
            Indices into ``lengths``, one list a call; each row is in exactly one of them.
        """
        if not self.deterministic:
            return [bucket for bucket in self.buckets(lengths) if bucket]
        by_width: dict[int, list[int]] = {}
        for row, length in enumerate(lengths):
            by_width.setdefault(self.width(length), []).append(row)
        size = self.static_rows
        return [
            rows[start : start + size]
            for rows in by_width.values()
            for start in range(0, len(rows), size)
        ]

    def width(self, length: int) -> int:
        """Return how wide a prompt of ``length`` tokens is padded, if deterministic.

        There is always some padding: without any, attention takes another way to its numbers.
        """
        return (length // self.static_tokens + 1) * self.static_tokens

    def filled(self, rows: Tensor) -> Tensor:
        """Return the rows ``[R]`` of a call, and its first as often as its shape asks for."""
        blank = self.static_rows - len(rows) if self.deterministic else 0
        return torch.cat([rows, rows[:1].expand(blank)]) if blank > 0 else rows

    def buckets(self, lengths: Sequence[int]) -> list[list[int]]:
        """Split rows into denoiser calls so that padding plus the cost of calls is smallest.

        Args:
            lengths: Tokens of each row.

        Returns:
            Indices into ``lengths``, one list a call; each row is in exactly one of them.
        """
        order = sorted(range(len(lengths)), key=lambda row: lengths[row])
        if self.call_tokens is None or not order:
            return [order]
        # Rows of one length stay together: the choice is where to cut between lengths.
        ends = [
            place + 1
            for place, row in enumerate(order)
            if place + 1 == len(order) or lengths[order[place + 1]] != lengths[row]
        ]
        sums = [0]
        for row in order:
            sums.append(sums[-1] + lengths[row])
        best = {0: (0, 0)}  # rows covered -> (cost, where the last bucket starts)
        for end in ends:
            longest = lengths[order[end - 1]]
            best[end] = min(
                (
                    cost + self.call_tokens + longest * (end - start) - (sums[end] - sums[start]),
                    start,
                )
                for start, (cost, _) in best.items()
            )
        cuts = [len(order)]
        while cuts[-1]:
            cuts.append(best[cuts[-1]][1])
        cuts.reverse()
        return [order[start:end] for start, end in pairwise(cuts)]
