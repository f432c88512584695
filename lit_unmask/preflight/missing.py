"""What a run lacks, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Missing:
    """Something that has to be there before a run can start.

    Attributes:
        what: What is missing.
        remedy: What to do, usually a command.
    """

    what: str
    remedy: str

    @classmethod
    def of(cls, error: Exception) -> Missing:
        """Return an error of ours, whose message ends with the remedy, as something missing."""
        what, _, remedy = str(error).rpartition("; ")
        return cls(what or remedy, remedy if what else "see the message")
