"""Errors that a user can mend; command lines show them as one sentence."""

from __future__ import annotations

import re
import sys
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


class ConfigurationError(ValueError):
    """A setting cannot work; the message names it, its value and the remedy."""


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
    """Say in one sentence what is wrong, and exit."""
    print(f"error: {plain(str(error)) or type(error).__name__}", file=sys.stderr)
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
