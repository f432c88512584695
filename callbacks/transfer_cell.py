"""One condition of a transfer: denoiser, problems and lengths, and what came out under it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.evaluation_set import EvaluationSet
from lit_unmask.evaluation.grid import HeuristicGrid
from lit_unmask.evaluation.points import Point
from lit_unmask.report.heatmap import CellRuns, HeatRow, Side
from lit_unmask.rollout import Decoding
from lit_unmask.tasks.base import ProblemSet
from lit_unmask.training.module import LitUnmask
from lit_unmask.types import HIDDEN


@dataclass(frozen=True)
class Cell:
    """One condition under which the policy is tested.

    Attributes:
        test: Problems to report on.
        tuning: Other problems, on which the cell's heuristic is chosen.
        denoiser: The frozen dLLM; None means the module's.
        gen_length: Generation length in tokens; None means the module's.
        block_length: Block length of the policy; None means the module's, where full diffusion
            stays full diffusion at another length.
        grids: Heuristics of the cell by name; None means those of the callback.
    """

    test: ProblemSet
    tuning: ProblemSet
    denoiser: Denoiser | None = None
    gen_length: int | None = None
    block_length: int | None = None
    grids: dict[str, HeuristicGrid] | None = None

    def decoding(self, own: Decoding) -> Decoding:
        """Return how the policy is decoded, given how the module decodes."""
        length = self.gen_length or own.gen_length
        kept = length if own.block_length == own.gen_length else own.block_length
        return replace(own, gen_length=length, block_length=self.block_length or kept)

    def sets(self, name: str, module: LitUnmask) -> tuple[EvaluationSet, EvaluationSet]:
        """Return the tuning and test sets of the cell, under its name.

        Raises:
            ValueError: If denoiser, policy, problems and lengths do not fit together.
        """
        denoiser = self.denoiser or module.denoiser
        if HIDDEN in module.policy.signals and denoiser.width != module.denoiser.width:
            raise ConfigurationError(
                f"the policy reads hidden states of width {module.denoiser.width}, and those of "
                f"{denoiser.identity['path']!r} have {denoiser.width}; only a policy that sees "
                "confidences carries over"
            )
        sets = (
            EvaluationSet.of(name, "tuning", denoiser, self.tuning),
            EvaluationSet.of(name, "test", denoiser, self.test),
        )
        for problems in sets:
            problems.check(self.decoding(module.eval_decoding).gen_length)
        return sets


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
