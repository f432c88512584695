"""Files that are there as a whole or not at all, their checksums, and JSON for hashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lit_unmask.errors import ConfigurationError

# As ``sha256sum`` writes and checks it: a line for each file, the digest and the name.
SUMS = "SHA256SUMS"
# What ``zipfile`` raises on the way to an entry, beside wrong checksums.
_UNZIPPED = (zipfile.BadZipFile, RuntimeError, OSError, EOFError, ValueError, zlib.error,
             struct.error)  # fmt: skip


def replace_file(path: Path, data: bytes) -> None:
    """Write a file in one step, so that an interrupted run or a full disk leaves the old one.

    Raises:
        OSError: If it cannot be written; nothing is left of the attempt.
    """
    file = tempfile.NamedTemporaryFile(dir=path.parent, delete=False, suffix=".tmp")
    try:
        with file:
            file.write(data)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError:
        Path(file.name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Fill a folder beside its place and then put it there, so that a kill leaves the old one.

    Files of the old one that are not written anew come along. Between the two renames that take
    its place the old folder lies beside it, whole, as ``.NAME-before``.

    Args:
        folder: The folder, which may exist.

    Yields:
        The folder to write into.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    before = folder.with_name(f".{folder.name}-before")
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as made:
        draft = Path(made) / folder.name
        draft.mkdir()
        yield draft
        if folder.exists():
            new = {file.name for file in draft.iterdir()}
            shutil.copytree(folder, draft, ignore=lambda *_: new, dirs_exist_ok=True)
            shutil.rmtree(before, ignore_errors=True)
            folder.rename(before)
        draft.rename(folder)
        shutil.rmtree(before, ignore_errors=True)


def zip_damage(file: Path) -> str | None:
    """Return what is wrong with a zip file by its own checksums, or None if it is whole.

    PyTorch writes a checksum of every tensor into a checkpoint and compares none of them.

    Args:
        file: A file that begins as a zip file does.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entry = archive.testzip()
    except _UNZIPPED as error:
        return f"its table of contents cannot be read ({error})"
    return None if entry is None else f"its entry {entry} does not have the checksum noted for it"


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write the digests of some files of a folder beside them."""
    lines = [f"{_digest(folder / name)}  {name}\n" for name in names]
    replace_file(folder / SUMS, "".join(lines).encode())


def check_sums(folder: Path) -> None:
    """Compare files with the digests beside them, if there are any.

    Raises:
        ConfigurationError: If a file that has a digest is another one, or is missing.
    """
    sums = folder / SUMS
    if sums.is_dir():
        raise ConfigurationError(f"{sums} is a folder and must be a file; remove it")
    text = sums.read_text(encoding="utf-8", errors="replace") if sums.exists() else ""
    for line in text.splitlines():
        digest, _, name = line.partition(" ")
        file = folder / name.lstrip(" *")
        if not file.is_file() or _digest(file) != digest:
            raise ConfigurationError(
                f"{file} is damaged: it is not the file whose digest is in {SUMS} beside it; "
                f"restore it from a copy, or remove {SUMS} if it was changed on purpose"
            )


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def check_folder(folder: str | Path) -> None:
    """Check that a folder, or the one in which it would be made, can be written.

    Raises:
        ConfigurationError: If it cannot.
    """
    path = Path(folder)
    while not path.exists():
        path = path.parent
    try:
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"the folder {folder} cannot be written ({error.strerror}); choose another one with "
            "--trainer.default_root_dir, or where the logger or callback is configured"
        ) from error


def canonical_json(value: Any) -> str:
    """Return JSON on one line that is the same for the same value.

    Raises:
        ValueError: If a number is not finite.
        TypeError: If there is no JSON for the value.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse_json(text: str | bytes) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: If it is no JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
