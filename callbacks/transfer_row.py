"""One row of a transfer: the policy and the tuned heuristics under one condition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lit_unmask.frontier import Point
from lit_unmask.report.cells import CellRuns
from lit_unmask.report.heatmap import HeatRow, Side


@dataclass(frozen=True)
class TransferRow:
    """A policy and the tuned heuristics under one condition.

    Attributes:
        runs: Name of the condition, and the test runs that the points are of.
        gen_length: Generation length in tokens.
        policy: The policy's point.
        heuristic: Point on the same problems of the heuristic that is closest: on the tuning
            problems it reaches the policy's accuracy in the fewest forwards.
        best: The same of the heuristic that was most accurate on the tuning problems.
    """

    runs: CellRuns
    gen_length: int
    policy: Point
    heuristic: Point
    best: Point

    @property
    def heat_row(self) -> HeatRow:
        """What the heat map shows."""
        condition = (
            f"{self.runs.denoiser}, {self.runs.task}, L {self.gen_length}, "
            f"BL {self.policy.block_length}"
        )
        sides = [
            Side(_said(point), point.accuracy, point.nfe)
            for point in (self.policy, self.heuristic, self.best)
        ]
        return HeatRow(self.runs.cell, condition, self.gen_length, *sides)

    def as_row(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dictionary."""
        shown = self.heat_row
        return {
            "cell": self.runs.cell,
            "denoiser": self.runs.denoiser,
            "task": self.runs.task,
            "gen_length": self.gen_length,
            "policy": self.policy.as_row(),
            "heuristic": self.heuristic.as_row(),
            "best": self.best.as_row(),
            "accuracy_difference": shown.gain,
            "accuracy_difference_to_best": shown.gap,
            "nfe_ratio": shown.cost,
        }


def _said(point: Point) -> str:
    settings = ", ".join(f"{value:g}" for value in point.params.values())
    return f"{point.name}{f' {settings}' * bool(settings)}, BL {point.block_length}"
