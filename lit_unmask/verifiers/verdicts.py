"""Verdicts that a limit came before."""

from __future__ import annotations


class Unfinished(float):
    """A verdict of 0 because a deadline or a memory limit came before the end of grading.

    A program that loops forever gets one, and so does a right answer on a machine that is too
    busy; graders count them, so that the second is seen.
    """

    def __new__(cls, value: float = 0.0) -> Unfinished:
        """Return the verdict."""
        return super().__new__(cls, value)
