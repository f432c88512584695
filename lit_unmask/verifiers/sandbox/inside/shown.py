"""Imports packages that are shown one by one, where the folder around them is hidden."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing takes longer to import than all of this package
if TYPE_CHECKING:
    from typing import Any


class Shown:
    """Finds top-level packages by name.

    Args:
        places: File or folder of each package.
    """

    def __init__(self, places: dict[str, str]) -> None:
        self._places = places

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Return where a package is, None for others; see :mod:`importlib.abc`."""
        place = self._places.get(name)
        if place is None:
            return None
        import importlib.util  # rarely needed, and slow

        if not os.path.isdir(place):
            return importlib.util.spec_from_file_location(name, place)
        start = os.path.join(place, "__init__.py")
        return importlib.util.spec_from_file_location(
            name, start, submodule_search_locations=[place]
        )
