"""Errors that a user can mend; command lines show them as one sentence."""

from __future__ import annotations

import math
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

# Lines of jsonargparse's messages that repeat types and values instead of saying what is wrong.
_NOISE = (
    "Does not validate against",
    "Subtypes:",
    "Errors:",
    "Expected a <class 'NoneType'>",
    "Expected a dot import path string",
    "Given value",
    "Unexpected import path format",
)

# Characters at each end of a sentence that are printed in any case.
_LONGEST = 1000


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

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it come from a process that grades."""
        return type(self), (self.what, self.remedy, self.rows, self.step)

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


def plain(text: str) -> str:
    """Return a text on one line that cannot steer a terminal or break a file.

    Control characters, marks of direction and halves of surrogate pairs are spelled out.
    """
    line = " ".join(part.strip() for part in text.splitlines() if part.strip())
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line
    )


def check_name(what: str, name: str) -> None:
    """Check that a name can be printed as it is, on terminals, in reports and as a tag.

    Args:
        what: What it is the name of, for the message.
        name: The name.

    Raises:
        ConfigurationError: If it is empty, or has control characters.
    """
    if not name or not name.isprintable():
        raise ConfigurationError(
            f"{what} {name!r} must be a name without control characters; choose another one"
        )


def refuse(error: BaseException | str, code: int = 1) -> NoReturn:
    """Say in one sentence what is wrong, and exit; of a very long one the middle is left out."""
    said = plain(str(error)) or type(error).__name__
    if len(said) > 2 * _LONGEST:
        said = f"{said[:_LONGEST]} [...] {said[-_LONGEST:]}"
    print(f"error: {said}", file=sys.stderr)
    sys.exit(code)


class Sentences:
    """A mixin of argparse's parsers whose errors are one sentence, without a page of usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with code 2."""
        parser: Any = super()
        if not getattr(self, "exit_on_error", True):
            parser.error(message, ex)
        refuse(f"{telling(message).rstrip('.')}; --help lists what there is", 2)


def telling(message: str) -> str:
    """Return the lines of a parser's message that tell what is wrong."""
    lines = [line.strip().removeprefix("- ") for line in message.splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(_NOISE)]
    if any(line.startswith(("Problem with given class_path", "Import path")) for line in kept):
        kept = [line for line in kept if not line.startswith("Expected a path")]
    said = "\n".join(dict.fromkeys(kept or lines))
    return re.sub(r"Type \S+\[\[.*?\], \S+\] expects a function or a callable class:\s*", "", said)
