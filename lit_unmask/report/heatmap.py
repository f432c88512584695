"""A policy under other conditions, beside tuned heuristics: which runs, and their heat map."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.figure import Figure

from lit_unmask.errors import ConfigurationError
from lit_unmask.files import parse_json, replace_file

FILE = "cells.json"


class Shown(NamedTuple):
    """What is shown of a policy or heuristic: its label, accuracy and mean forwards."""

    label: str
    accuracy: float
    nfe: float


@dataclass(frozen=True)
class HeatRow:
    """A policy and two tuned heuristics under one condition.

    Attributes:
        cell: Name of the condition.
        condition: Denoiser, task and lengths, in words.
        gen_length: Generation length in tokens.
        policy: The policy.
        closest: The heuristic that reaches the policy's accuracy in the fewest forwards.
        best: The most accurate heuristic.
    """

    cell: str
    condition: str
    gen_length: int
    policy: Shown
    closest: Shown
    best: Shown

    @property
    def gain(self) -> float:
        """Accuracy of the policy minus that of the closest heuristic."""
        return self.policy.accuracy - self.closest.accuracy

    @property
    def gap(self) -> float:
        """Accuracy of the policy minus that of the most accurate heuristic."""
        return self.policy.accuracy - self.best.accuracy

    @property
    def cost(self) -> float:
        """Forwards of the policy divided by those of the closest heuristic."""
        return self.policy.nfe / self.closest.nfe


def transfer_figure(rows: Sequence[HeatRow], title: str = "") -> Figure:
    """Draw accuracy and NFE of the policy in each cell, and their distance from the heuristics."""
    figure = Figure(figsize=(11, 1.6 + 0.9 * len(rows)), layout="constrained")
    columns = figure.subplots(1, 5, sharey=True)
    accuracy, nfe = ([getattr(row.policy, name) for row in rows] for name in ("accuracy", "nfe"))
    _column(columns[0], "accuracy", accuracy, [f"{value:.3f}" for value in accuracy])
    _column(
        *(columns[1], "forwards (NFE)", nfe, [f"{value:.1f}" for value in nfe]),
        *("cividis_r", Normalize(0, max(row.gen_length for row in rows))),
    )
    # Purple is better than the heuristic and orange worse, in every column.
    gains, costs = [row.gain for row in rows], [math.log2(row.cost) for row in rows]
    gaps = [row.gap for row in rows]
    difference = CenteredNorm(halfrange=max(0.1, *map(abs, gains + gaps)))
    _column(
        *(columns[2], "accuracy minus\nclosest heuristic's", gains),
        *([f"{value:+.3f}" for value in gains], "PuOr", difference),
    )
    _column(
        *(columns[3], "NFE divided by\nclosest heuristic's", costs),
        *([f"{row.cost:.2f}" for row in rows], "PuOr_r"),
        CenteredNorm(halfrange=max(0.5, *map(abs, costs))),
    )
    _column(
        *(columns[4], "accuracy minus\nmost accurate's", gaps),
        *([f"{value:+.3f}" for value in gaps], "PuOr", difference),
    )
    columns[0].set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=8)
    figure.suptitle(title)
    return figure


def _column(
    axes: Axes,
    title: str,
    values: Sequence[float],
    texts: Sequence[str],
    colours: str = "cividis",
    scale: Normalize | None = None,
) -> None:
    """Draw one measure of all cells, with its numbers."""
    scale = scale or Normalize(0, 1)
    axes.imshow([[value] for value in values], cmap=colours, norm=scale, aspect="auto")
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    for place, (value, text) in enumerate(zip(values, texts, strict=True)):
        red, green, blue, _ = colormaps[colours](float(scale(value)))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        axes.text(0, place, text, ha="center", va="center", color="white" if dark else "black")


def _label(row: HeatRow) -> str:
    return (
        f"{row.cell}\n{row.condition}\nclosest: {row.closest.label}\n"
        f"most accurate: {row.best.label}"
    )


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
        return [CellRuns(**row) for row in parse_json(file.read_bytes())]
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{file} does not list the cells of a transfer ({error}); test again with "
            "TransferTest, which computes nothing twice, or remove the file"
        ) from error
