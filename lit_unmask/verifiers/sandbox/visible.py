"""What a sandbox shows of the machine, and what stays hidden within that."""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import cache
from pathlib import Path

from lit_unmask.errors import ConfigurationError

# Shared libraries and the loader; an interpreter outside /usr needs them too.
_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/nix/store")
# Tests in the style of pytest import it; these are what it needs itself.
_PYTEST = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py")


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


@cache
def places_of(packages: tuple[str, ...]) -> dict[str, str]:
    """Return file or folder of packages, and of pytest where it is installed.

    Raises:
        ConfigurationError: If a package is not installed.
    """
    places = {name: place for name in _PYTEST if (place := _place(name)) is not None}
    for name in packages:
        place = _place(name)
        if place is None:
            raise ConfigurationError(
                f"sandbox.packages names {name!r}, which cannot be imported; install it, or take "
                "it out"
            )
        places[name] = place
    return places


def _place(name: str) -> str | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not os.path.exists(spec.origin):
        return None
    return os.path.realpath(
        os.path.dirname(spec.origin) if spec.submodule_search_locations else spec.origin
    )
