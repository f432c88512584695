"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


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
