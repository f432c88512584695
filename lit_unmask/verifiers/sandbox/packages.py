"""Packages that sandboxes show beside the standard library."""

from __future__ import annotations

import importlib.util
import os
from functools import cache

from lit_unmask.errors import ConfigurationError

# Tests in the style of pytest import it; these are what it needs itself.
_PYTEST = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py")


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
