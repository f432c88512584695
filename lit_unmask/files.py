"""Files that are there as a whole or not at all, and JSON for hashes."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from lit_unmask.errors import ConfigurationError


def replace_file(path: Path, data: bytes) -> None:
    """Write a file in one step, so that an interrupted run leaves the old one.

    Args:
        path: The file; its folder exists.
        data: What it shall hold.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False, suffix=".tmp") as file:
        file.write(data)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


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
