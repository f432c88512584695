"""What a task is: a finite, seeded sequence of problems in disjoint splits."""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Literal

from torch.utils.data import Dataset

from lit_unmask.types import Problem

Split = Literal["train", "tuning", "validation", "test"]

# Shares of the problem space, in percent. A problem's split follows from its text alone, so that
# no seed and no size can put one problem into two splits.
_SHARES: dict[str, range] = {
    "train": range(0, 70),
    "tuning": range(70, 80),
    "validation": range(80, 90),
    "test": range(90, 100),
}

# How puzzles ask for steps and answer.
ANSWER_REQUEST = (
    "Think it through step by step between <reasoning> and </reasoning>. "
    "Then put {what}, and nothing else, between <answer> and </answer>."
)


class ProblemSet(Sequence[Problem], Dataset[Problem], ABC):
    """A finite sequence of problems; item ``i`` is the same in every process and run."""

    def __iter__(self) -> Iterator[Problem]:
        return (self[index] for index in range(len(self)))

    def check(self) -> None:
        """Make sure that the problems can be had; sets that read them from somewhere read now.

        Raises:
            ConfigurationError: If they cannot; the message names the file, line and field, and
                what to do.
        """

    def _check(self, index: int) -> None:
        if not 0 <= index < len(self):
            raise IndexError(f"index={index} must lie in [0, {len(self)})")


class Task(ProblemSet):
    """Problems drawn from a seed, in disjoint splits.

    Args:
        split: Which of the disjoint parts of the problem space to draw from.
        size: Number of problems.
        seed: Seed of the generator.

    Raises:
        ValueError: If the split is unknown or the size is not positive.
    """

    def __init__(self, split: Split, size: int, seed: int = 0) -> None:
        if split not in _SHARES:
            raise ValueError(f"split={split!r} must be one of {', '.join(_SHARES)}")
        if size < 1:
            raise ValueError(f"size={size} must be at least 1")
        self.split, self.size, self.seed = split, size, seed

    @abstractmethod
    def draw(self, rng: random.Random) -> Problem:
        """Draw one problem, with ``uid`` set to its canonical text."""

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Problem:  # type: ignore[override]
        self._check(index)
        rng = random.Random(f"{type(self).__name__}/{self.split}/{self.seed}/{index}")
        while True:
            problem = self.draw(rng)
            if split_of(problem.uid) == self.split:
                return problem


class ClosedTask(Task):
    """A task that uses known words only, so that a tokenizer of whole words can be built for it."""

    @classmethod
    @abstractmethod
    def words(cls) -> list[str]:
        """Return every word that a question or a solution may hold."""

    @classmethod
    def synonyms(cls) -> list[tuple[str, ...]]:
        """Return words of :func:`synonym_shares`, given all others, where one is in a solution."""
        return []


def synonym_shares(count: int) -> list[float]:
    """Return how often each of some synonyms is written, ``[count]``: ``1 / (rank + 2)``, scaled.

    That is the law of Zipf and Mandelbrot. Of words that were equally likely, a denoiser would
    propose now one and now another, by the noise in its weights.
    """
    weights = [1 / (rank + 3) for rank in range(count)]
    return [weight / sum(weights) for weight in weights]


def pick_synonym(words: Sequence[str], rng: random.Random) -> str:
    """Draw one of some synonyms, by how often each is written."""
    return rng.choices(words, synonym_shares(len(words)))[0]


def split_of(text: str) -> str:
    """Return the split that owns a problem, by a hash of its canonical text."""
    percentile = percentile_of(text)
    return next(name for name, share in _SHARES.items() if percentile in share)


def percentile_of(text: str) -> int:
    """Return a number in ``[0, 100)`` that follows from a text alone, and is evenly spread."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") % 100


def worked_answer(steps: str, answer: str) -> str:
    """Return steps and answer in the form that :data:`ANSWER_REQUEST` asks for."""
    return f"<reasoning>\n{steps}\n</reasoning>\n<answer>\n{answer}\n</answer>"
