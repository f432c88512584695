"""What the interpreter needs to see of the machine, and what must stay hidden within that."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

# Shared libraries and the loader; an interpreter outside /usr needs them too.
_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/nix/store")


@cache
def readable() -> tuple[str, ...]:
    """Return folders with the interpreter, its standard library and shared libraries."""
    folders = [
        *_LIBRARIES,
        os.path.realpath(sys.base_prefix),
        os.path.realpath(sys.base_exec_prefix),
    ]
    return tuple(dict.fromkeys(folder for folder in folders if os.path.isdir(folder)))


@cache
def hidden() -> tuple[str, ...]:
    """Return folders of installed packages inside those: some hold answers of benchmarks."""
    folders = []
    for top in readable():
        for pattern in ("python3*", "lib/python3*", "local/lib/python3*"):
            for library in Path(top).glob(pattern):
                folders += [library / name for name in ("site-packages", "dist-packages")]
    real = {os.path.realpath(folder) for folder in folders if folder.is_dir()}
    return tuple(sorted(real))
