"""Stores of made-up sweeps, each written once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from toy_sweeps import Sweep, make_store


@pytest.fixture(scope="session")
def sweep_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sweep], Path]:
    """Return the store of a sweep."""
    known: dict[Sweep, Path] = {}

    def get(sweep: Sweep) -> Path:
        if sweep not in known:
            known[sweep] = make_store(tmp_path_factory.mktemp("sweep") / "store", sweep)
        return known[sweep]

    return get
