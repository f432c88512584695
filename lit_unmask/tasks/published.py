"""Tasks made of published problems: read from the hub or a file, in disjoint splits."""

from __future__ import annotations

import hashlib
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from lit_unmask.errors import ConfigurationError
from lit_unmask.tasks.base import ProblemSet, Split, percentile_of
from lit_unmask.tasks.rows import HubDataset, Row, read_rows
from lit_unmask.types import Problem

# Split of the task -> split of the source, and the percentiles of its problems that it holds.
Parts = dict[str, tuple[str, range]]

WHOLE = range(100)
# Problems to tune heuristics and to validate on come from the training problems, because the test
# problems are for the final numbers alone.
CARVED: Parts = {
    "train": ("train", range(0, 94)),
    "tuning": ("train", range(94, 97)),
    "validation": ("train", range(97, 100)),
}


class PublishedTask(ProblemSet):
    """Problems that somebody has published, as rows of a table.

    They are read when they are first asked for, or by :meth:`check`. The split of a problem
    follows from its ``uid`` alone, so the splits of one source share nothing, whatever the order
    of the rows. A problem that the source holds twice is taken once, and refused where the two
    differ.

    Args:
        split: Which problems.
        size: Number of problems, chosen by a hash of each and kept in order, so that a smaller
            set is part of a larger one; None takes all.

    Attributes:
        parts: What each split is made of.
        left_out: Number of rows that cannot be used, once they are read.

    Raises:
        ValueError: If there is no such split, or the size is not positive.
    """

    parts: ClassVar[Parts]
    left_out = 0

    def __init__(self, split: Split, size: int | None = None) -> None:
        if split not in self.parts:
            raise ValueError(f"split={split!r} must be one of {', '.join(self.parts)}")
        if size is not None and size < 1:
            raise ValueError(f"size={size} must be at least 1, or null for all problems")
        self.split, self.size = split, size

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """Iterate over the rows that the split is chosen from.

        Raises:
            ConfigurationError: If they cannot be had.
        """

    @abstractmethod
    def read(self, row: Row) -> Problem | None:
        """Turn a row into a problem, or into None if it cannot be used.

        Raises:
            ConfigurationError: If the row has not the fields that it should have.
        """

    def check(self) -> None:
        """Read the problems; see :meth:`~lit_unmask.tasks.base.ProblemSet.check`."""
        _ = self._problems

    def __len__(self) -> int:
        return len(self._problems)

    def __getitem__(self, index: int) -> Problem:  # type: ignore[override]
        self._check(index)
        return self._problems[index]

    @cached_property
    def _problems(self) -> list[Problem]:
        share = self.parts[self.split][1]
        read = [self.read(row) for row in self.rows()]
        self.left_out = read.count(None)
        if self.left_out:
            warnings.warn(
                f"{self._name}: {self.left_out} of {len(read)} rows cannot be used and are left "
                "out",
                stacklevel=2,
            )
        different: dict[str, Problem] = {}
        for problem in filter(None, read):
            first = different.setdefault(problem.uid, problem)
            if (first.answer, first.messages) != (problem.answer, problem.messages):
                raise ConfigurationError(
                    f"{self._name}: {problem.uid} stands twice, with different questions or "
                    f"answers ({first.answer!r:.60} and {problem.answer!r:.60}); leave one of the "
                    "rows out"
                )
        return self._choose([p for p in different.values() if percentile_of(p.uid) in share])

    def _choose(self, found: list[Problem]) -> list[Problem]:
        wanted = self.size or 1
        if len(found) < wanted:
            raise ConfigurationError(
                f"{self._name} has {len(found)} problems, fewer than size={wanted}; lower size, "
                "or give it all rows of the source"
            )
        if self.size is None:
            return found
        order = sorted(range(len(found)), key=lambda index: name_of(found[index].uid))
        return [found[index] for index in sorted(order[: self.size])]

    @property
    def _name(self) -> str:
        return f"{type(self).__name__} with split={self.split}"


class HubTask(PublishedTask):
    """Problems of a dataset on the hub, or of a file with its fields.

    Args:
        split: Which problems.
        size: Number of problems, chosen by a hash of each; None takes all.
        path: File of JSON lines with the fields of the dataset, as ``lit-unmask-data export``
            writes it, with all rows of the source's split; None reads the dataset from the hub.
        revision: Commit of the dataset on the hub; None takes the one of ``source``.

    Attributes:
        source: Where the dataset lies.

    Raises:
        ValueError: If there is no such split, or the size is not positive.
    """

    source: ClassVar[HubDataset]

    def __init__(
        self,
        split: Split,
        size: int | None = None,
        path: str | None = None,
        revision: str | None = None,
    ) -> None:
        super().__init__(split, size)
        self.path, self.revision = path, revision

    @classmethod
    def source_splits(cls, split: str) -> tuple[str, ...]:
        """Return the splits of the source that a split of the task is read from."""
        return (cls.parts[split][0],)

    @classmethod
    def published_rows(cls, split: str, revision: str | None = None) -> Iterator[Row]:
        """Iterate over all rows on the hub that a split of the task is chosen from.

        Raises:
            ConfigurationError: If they cannot be had.
        """
        source = replace(cls.source, revision=revision or cls.source.revision)
        for part in cls.source_splits(split):
            yield from source.rows(part)

    def rows(self) -> Iterator[Row]:
        """Iterate over the rows that the split is chosen from."""
        if self.path is None:
            return self.published_rows(self.split, self.revision)
        task = f"lit_unmask.tasks.{type(self).__name__}"
        remedy = f"write it with lit-unmask-data export --task {task} --split {self.split}"
        return map(self._of_this_split, read_rows(Path(self.path), remedy))

    def _of_this_split(self, row: Row) -> Row:
        """Refuse an exported row of another dataset, or of another split of it."""
        wanted = [f"{self.source.name} {part}" for part in self.source_splits(self.split)]
        if row.origin and row.origin not in wanted:
            raise ConfigurationError(
                f"{row.place}: a row of {row.origin}, but {self._name} reads {wanted[-1]}; give "
                "it the other file"
            )
        return row


def name_of(text: str) -> str:
    """Return a short name that follows from a text alone, 12 hex digits."""
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
