"""Which runs of a store stand beside each other in a transfer: a small file in the store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lit_unmask.errors import ConfigurationError
from lit_unmask.files import replace_file

FILE = "cells.json"


@dataclass(frozen=True)
class CellRuns:
    """The test runs of one cell of a transfer, by their keys.

    Attributes:
        cell: Name of the condition.
        denoiser: Name of the denoiser.
        task: Class name of the task.
        policy: Key of the policy's run.
        closest: Key of the run of the heuristic that, on the tuning problems, reaches the policy's
            accuracy in the fewest forwards.
        best: Key of the run of the heuristic that was most accurate on the tuning problems.
    """

    cell: str
    denoiser: str
    task: str
    policy: str
    closest: str
    best: str


def write_cells(store: Path, cells: Sequence[CellRuns]) -> None:
    """Note in a store's folder which runs are the cells of its last transfer."""
    text = json.dumps([asdict(cell) for cell in cells], indent=1)
    replace_file(store / FILE, f"{text}\n".encode())


def read_cells(store: Path) -> list[CellRuns]:
    """Return the cells of a store, none if it does not come from a transfer.

    Raises:
        ConfigurationError: If the file is damaged.
    """
    file = store / FILE
    if not file.exists():
        return []
    try:
        return [CellRuns(**row) for row in json.loads(file.read_text())]
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{file} does not list the cells of a transfer ({error}); test again with "
            "TransferTest, which computes nothing twice, or remove the file"
        ) from error
