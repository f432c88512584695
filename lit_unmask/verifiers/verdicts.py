"""Verdicts, and how a worker comes to one."""

from __future__ import annotations

from collections.abc import Callable


class Unfinished(float):
    """A verdict of 0 because a deadline or a memory limit came before the end of grading.

    A program that loops forever gets one, and so does a right answer on a machine that is too
    busy; graders count them, so that the second is seen.
    """

    def __new__(cls, value: float = 0.0) -> Unfinished:
        """Return the verdict."""
        return super().__new__(cls, value)


def verdict(verifier: Callable[[str, str], float], completion: str, answer: str) -> float:
    """Return the verdict of a verifier as a float, an :class:`Unfinished` one as it is."""
    result = verifier(completion, answer)
    return result if isinstance(result, Unfinished) else float(result)
