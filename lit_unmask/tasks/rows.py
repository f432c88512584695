"""Rows of public datasets: JSON objects that know where they stand, from the hub or from a file."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from keyword import iskeyword
from pathlib import Path
from typing import Any

from lit_unmask.errors import ConfigurationError
from lit_unmask.files import parse_json

# What `lit-unmask-data export` adds to a row, to tell files of different splits apart.
_ORIGIN, _REVISION = "_origin", "_revision"


@dataclass(frozen=True)
class Row:
    """One row of a dataset.

    Attributes:
        fields: Its values by field name.
        place: Where it stands, for messages, such as ``gsm8k.jsonl, line 3``.
        remedy: What to do about a row that does not fit, for messages.
        origin: Dataset and split that it comes from, or empty if nobody knows.
    """

    fields: dict[str, Any]
    place: str
    remedy: str
    origin: str = ""

    def text(self, name: str) -> str:
        """Return a field that is text, with plain line ends.

        Raises:
            ConfigurationError: If it is missing or something else.
        """
        return _plain(self._typed(name, str, "text"))

    def filled(self, name: str) -> str:
        """Return a field that is text and not empty; see :meth:`text`."""
        value = self.text(name)
        if not value.strip():
            raise self.error(f"the field {name!r} is empty, and must be text")
        return value

    def name(self, name: str) -> str:
        """Return a field that is the name of a Python function; see :meth:`text`."""
        value = self.text(name)
        if not value.isidentifier() or iskeyword(value):
            raise self.error(f"the field {name!r} must be the name of a function, not {value!r}")
        return value

    def whole(self, name: str) -> int:
        """Return a field that is a whole number; see :meth:`text`."""
        return self._typed(name, int, "a whole number")

    def texts(self, name: str) -> list[str]:
        """Return a field that is a list of texts; see :meth:`text`."""
        values = self._typed(name, list, "a list of texts")
        if not all(isinstance(value, str) for value in values):
            raise self.error(f"the field {name!r} must be a list of texts")
        return [_plain(value) for value in values]

    def error(self, what: str) -> ConfigurationError:
        """Return an error that says where the row stands and what to do."""
        return ConfigurationError(f"{self.place}: {what}; {self.remedy}")

    def _typed(self, name: str, kind: type, said: str) -> Any:
        if name not in self.fields:
            there = ", ".join(self.fields) or "none"
            raise self.error(f"the field {name!r} is missing (the row has {there})")
        value = self.fields[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(f"the field {name!r} must be {said}, not {type(value).__name__}")
        return value


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")


@dataclass(frozen=True)
class HubDataset:
    """A dataset on the Hugging Face hub, at one commit.

    Attributes:
        name: Its id, such as ``openai/gsm8k``.
        revision: Commit.
        configs: Configurations whose rows follow each other; empty if there is only one.
        sizes: Number of rows of its splits, as far as known; for plans alone.
    """

    name: str
    revision: str
    configs: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)

    def rows(self, split: str) -> Iterator[Row]:
        """Iterate over the rows of a split of the source, from the cache or the network.

        Raises:
            ConfigurationError: If the package ``datasets`` or the data cannot be had.
        """
        try:
            import datasets
        except ImportError as error:
            raise ConfigurationError(
                f"{self.name} needs the package datasets (pip install 'lit-unmask[data]'), or a "
                f"file: {_OFFLINE}"
            ) from error
        for config in self.configs or (None,):
            try:
                table = datasets.load_dataset(
                    self.name, config, split=split, revision=self.revision
                )
            except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise ConfigurationError(
                    f"{self.name} at {self.revision} cannot be loaded ({reason}); go online, or "
                    f"use a file: {_OFFLINE}"
                ) from error
            name = " ".join(part for part in (self.name, config, split) if part)
            for number, fields in enumerate(table, start=1):
                place = f"{name}, row {number}"
                yield Row(dict(fields), place, "choose another revision", f"{self.name} {split}")


_OFFLINE = "run `lit-unmask-data export` where there is a network, and set path to what it wrote"


def read_rows(path: Path, remedy: str) -> Iterator[Row]:
    """Iterate over the rows of a file of JSON lines, which may be compressed (``.gz``).

    Args:
        path: The file.
        remedy: What to do about a row that does not fit, for messages.

    Raises:
        ConfigurationError: If the file cannot be read, or a line holds no JSON object.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        lines = data.decode("utf-8-sig").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"path={path} cannot be read ({reason}); {remedy}") from error
    if not any(line.strip() for line in lines):
        raise ConfigurationError(f"path={path} has no rows; {remedy}")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            fields = parse_json(line)
            json.dumps(fields, ensure_ascii=False).encode()  # no halves of surrogate pairs
        except ValueError as error:
            raise ConfigurationError(f"{place}: not JSON ({error}); {remedy}") from error
        if not isinstance(fields, dict):
            raise ConfigurationError(f"{place}: no JSON object; {remedy}")
        origin = str(fields.pop(_ORIGIN, ""))
        fields.pop(_REVISION, None)
        yield Row(fields, place, remedy, origin)


def export_line(row: Row, revision: str) -> str:
    """Return a row of the hub as the line of a file that :func:`read_rows` reads.

    Raises:
        ConfigurationError: If a value cannot be written as JSON.
    """
    fields = row.fields | {_ORIGIN: row.origin, _REVISION: revision}
    try:
        return json.dumps(fields) + "\n"
    except TypeError as error:
        raise row.error(f"cannot be written as JSON ({error})") from error
