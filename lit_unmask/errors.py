"""Errors that a user can mend; the command line shows them as one sentence."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class ConfigurationError(ValueError):
    """A setting cannot work; the message names it, its value and the remedy."""


class NotFinite(ConfigurationError):
    """Numbers are NaN or infinite where they must not be.

    Args:
        what: Which numbers, as the beginning of a sentence in the plural.
        remedy: What to do about it.
        rows: Rows of a batch that they belong to, if they belong to rows.
        step: Step of the first of these rows, from 0.
    """

    def __init__(
        self, what: str, remedy: str, rows: Sequence[int] = (), step: int | None = None
    ) -> None:
        self.what, self.remedy, self.rows, self.step = what, remedy, rows, step
        super().__init__(self._sentence([f"row {row}" for row in rows]))

    def name(self, uids: Sequence[str]) -> None:
        """Say of which problems the rows are, by the uid of each."""
        concerned = dict.fromkeys(f"problem {uids[row]!r}" for row in self.rows)
        self.args = (self._sentence(list(concerned)),)

    def add(self, said: str) -> None:
        """Say something further."""
        self.args = (f"{self}; {said}",)

    def _sentence(self, concerned: Sequence[str]) -> str:
        where = f" of {concerned[0]}" if concerned else ""
        where += f" at step {self.step}" if self.step is not None else ""
        where += f" and of {len(concerned) - 1} more" if len(concerned) > 1 else ""
        return f"{self.what}{where} are NaN or infinite; {self.remedy}"


def check_numbers(settings: Any, unbounded: Callable[[str], bool], name: str = "") -> None:
    """Check that the numbers in nested settings are finite.

    Args:
        settings: Mappings, namespaces and sequences of settings, or one value.
        unbounded: Says of a setting, by its dotted name, whether it may be infinite.
        name: Of ``settings``.

    Raises:
        ConfigurationError: If one is NaN, or infinite and must not be.
    """
    if isinstance(settings, Namespace):
        settings = vars(settings)
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            check_numbers(value, unbounded, f"{name}.{key}" if name else str(key))
    elif isinstance(settings, list | tuple):
        for value in settings:
            check_numbers(value, unbounded, name)
    elif isinstance(settings, float) and not math.isfinite(settings):
        if math.isnan(settings) or not unbounded(name):
            raise ConfigurationError(
                f"{name}={settings} must be a finite number; give one, or leave it out for the "
                "default"
            )
