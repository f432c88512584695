"""A file of JSON lines that is only ever added to, and survives a crash in the middle of a line."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lit_unmask.errors import ConfigurationError


def canonical_json(value: Any) -> str:
    """Return JSON on one line that is the same for the same value.

    Raises:
        ValueError: If a number is not finite.
        TypeError: If there is no JSON for the value.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class JSONLines:
    """Reads what is new since the last time, and appends whole lines.

    A last line without its newline was cut off by a crash, or is being written right now: readers
    ignore it, and :meth:`append` removes it.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end = self._count = 0

    def rewind(self) -> None:
        """Read from the start the next time."""
        self._end = self._count = 0

    def new(self) -> list[tuple[int, bytes]]:
        """Return the whole lines that have been added since the last call, with their numbers."""
        if not self.path.exists() or self.path.stat().st_size <= self._end:
            return []
        with open(self.path, "rb") as file:
            file.seek(self._end)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.split(b"\n")[:-1]
        first = self._count + 1
        self._end, self._count = self._end + len(whole), self._count + len(lines)
        return list(enumerate(lines, start=first))

    def parse(self, number: int, line: bytes, take: Callable[[dict[str, Any]], None]) -> None:
        """Hand the object of a line to a function.

        Args:
            number: Number of the line, from 1.
            line: The line.
            take: Gets the object; what it raises of ValueError, TypeError and KeyError says what
                is wrong with it.

        Raises:
            ConfigurationError: If the line holds no such object; names the file and the line.
        """
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise TypeError("no JSON object")
            take(row)
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(
                f"{self.path}, line {number}: {error}; restore the file from a copy, or remove "
                "the line to have its part computed again"
            ) from error

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add one line a row and flush them to the disk.

        The caller is the only writer, and has read the file to its end with :meth:`new`.
        """
        if not rows:
            return
        data = "".join(canonical_json(row) + "\n" for row in rows).encode()
        with open(self.path, "ab") as file:
            if file.tell() > self._end:
                warnings.warn(f"{self.path}: removed a last line that was cut off", stacklevel=2)
                file.truncate(self._end)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
