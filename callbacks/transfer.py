"""The policy under other denoisers, tasks and lengths, beside the tuned heuristic of each."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lit_unmask.callbacks.figures import tensorboard
from lit_unmask.callbacks.ranks import TrainerRanks
from lit_unmask.callbacks.transfer_cell import Cell, in_place_of
from rich import get_console

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.evaluation_set import EvaluationSet
from lit_unmask.evaluation.grid import HeuristicGrid, Setting, best, most_accurate, settings
from lit_unmask.evaluation.points import Point
from lit_unmask.evaluation.store import Store
from lit_unmask.evaluation.sweep import Sweep, summarise
from lit_unmask.files import check_folder, replace_file
from lit_unmask.report.heatmap import CellRuns, HeatRow, Shown, transfer_figure, write_cells
from lit_unmask.rollout.checks import check_policy
from lit_unmask.tasks.base import ProblemSet
from lit_unmask.tasks.datamodule import is_fast_dev_run
from lit_unmask.training.module import LitUnmask

# The runs of a cell, how they are drawn, and the points of policy, closest and most accurate.
_Row = tuple[CellRuns, HeatRow, list[Point]]


@dataclass(frozen=True)
class TransferOptions:
    """When and how cells are tested.

    Attributes:
        every_n_validations: Validations of ``fit`` between two tests; 0 tests when ``test`` ends
            alone.
        policy_name: What to call the policy in the store.
        seed: Seed of the noise.
        chunk: Problems that a rank computes before they are stored.
    """

    every_n_validations: int = 0
    policy_name: str = "policy"
    seed: int = 0
    chunk: int = 64


class TransferTest(Callback):
    """Tests the policy on other denoisers, tasks, lengths and block lengths: one *cell* each.

    In each cell the policy runs beside heuristics that were tuned there. Of all settings, on the
    cell's tuning problems, the *closest* is the one of fewest forwards whose accuracy reaches the
    policy's interval, else the most accurate one. As that says little where the policy fails, the
    most accurate setting is there too. All are run on the cell's test problems with the same
    noise. Outcomes go to ``store`` in the folder, so that heuristics are run once and not at every
    test of a training run. While a cell with another denoiser runs, the module's waits in the
    memory of the CPU, so that one of them at a time has to fit the device.

    Logs ``transfer/<cell>/accuracy`` and ``nfe``, the same of ``transfer/<cell>/heuristic/`` (the
    closest) and ``transfer/<cell>/best/`` (the most accurate), draws the heat map
    ``transfer/cells`` into TensorBoard, and writes it with its numbers to ``transfer.png`` and
    ``transfer.json`` in the folder. ``lit-unmask-report`` on the store shows the heat map of its
    last test too.

    Example: ``configs/transfer.yaml``.

    Args:
        cells: Conditions by name.
        grids: Heuristics by name, for cells without their own.
        folder: Where results go.
        options: When and how cells are tested.
    """

    def __init__(
        self,
        cells: dict[str, Cell],
        grids: dict[str, HeuristicGrid],
        folder: str = "runs/transfer",
        options: TransferOptions = TransferOptions(),
    ) -> None:
        self.cells, self.grids = cells, grids
        self.folder, self.options = Path(folder), options
        self.validations = 0
        self._sets: dict[str, tuple[EvaluationSet, EvaluationSet]] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return how many validations there were, so that a resumed run keeps the interval."""
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue to count."""
        self.validations = state_dict["validations"]

    def problem_sets(self, stage: str) -> dict[str, ProblemSet]:
        """Return the sets of all cells, if the stage tests them."""
        if not self._tests_in(stage):
            return {}
        return {
            f"{kind} of cell {name!r} of TransferTest": problems
            for name, cell in self.cells.items()
            for kind, problems in (("tuning", cell.tuning), ("test", cell.test))
        }

    def check_run(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check every cell and the folder before any work starts."""
        if not self._tests_in(stage):
            return
        assert isinstance(pl_module, LitUnmask)
        if not self.cells or self.options.every_n_validations < 0:
            raise ConfigurationError(
                f"TransferTest needs at least one cell, and options.every_n_validations="
                f"{self.options.every_n_validations} must not be negative"
            )
        for name, cell in self.cells.items():
            try:
                self._sets[name] = self._check(name, cell, pl_module)
            except ValueError as error:
                raise ConfigurationError(f"cell {name!r} of TransferTest: {error}") from error
        check_folder(self.folder)
        Store(self.folder / "store")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check again, and name what is evaluated."""
        self.check_run(trainer, pl_module, stage)
        for problems in itertools.chain(*self._sets.values()):
            problems.identify()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test the cells at every n-th validation of a training run."""
        every = self.options.every_n_validations
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not every:
            return
        self.validations += 1
        if self.validations % every == 0:
            self._measure(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test the cells with the policy that was tested."""
        self._measure(trainer, pl_module)

    def _tests_in(self, stage: str) -> bool:
        return stage == "test" or (stage == "fit" and self.options.every_n_validations != 0)

    def _check(
        self, name: str, cell: Cell, module: LitUnmask
    ) -> tuple[EvaluationSet, EvaluationSet]:
        """Return the cell's tuning and test sets.

        Raises:
            ValueError: If something in the cell does not fit together.
        """
        tried = list(settings(self._grids(cell), cell.decoding(module.eval_decoding)))
        if not tried:
            raise ConfigurationError("there is no heuristic to compare with; give grids")
        for one in tried:
            check_policy(one.policy, one.decoding)
        return cell.sets(name, module)

    def _grids(self, cell: Cell) -> dict[str, HeuristicGrid]:
        return self.grids if cell.grids is None else cell.grids

    def _measure(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, LitUnmask)
        if is_fast_dev_run(trainer):
            return
        sweep = Sweep(
            self.folder / "store",
            TrainerRanks(trainer),
            module.grader,
            module.notify,
            self.options.chunk,
        )
        rows = [self._run(sweep, module, name, cell) for name, cell in self.cells.items()]
        if trainer.is_global_zero:
            write_cells(sweep.folder, [runs for runs, _, _ in rows])
            self._log(trainer, rows)
            get_console().print(
                f"transfer: {self.folder}/transfer.png, {self.folder}/transfer.json\n"
                f"store:    {sweep.folder} ({sweep.counts})"
            )

    def _run(self, sweep: Sweep, module: LitUnmask, name: str, cell: Cell) -> _Row:
        """Test one cell, with its denoiser in the place of the module's."""
        tuning, test = self._sets[name]
        own = cell.decoding(module.eval_decoding)
        policy = Setting.of(self._policy_name(module), module.policy, own)

        def point(problems: EvaluationSet, setting: Setting) -> Point:
            outcomes = sweep.outcomes(problems, setting, self.options.seed)
            return summarise(setting, {self.options.seed: outcomes})

        with in_place_of(module.denoiser, tuning.denoiser, module.device):
            target = point(tuning, policy)
            tried = list(settings(self._grids(cell), own))
            points = [point(tuning, setting) for setting in tried]
            shown = [policy, tried[best(points, target)], tried[most_accurate(points)]]
            tested = [point(test, setting) for setting in shown]
        runs = CellRuns(
            name,
            Path(str(tuning.denoiser.identity["path"])).name,
            type(cell.test).__name__,
            *(test.run(setting, self.options.seed).key for setting in shown),
        )
        condition = f"{runs.denoiser}, {runs.task}, L {own.gen_length}, BL {own.block_length}"
        if sweep.ranks.rank == 0:
            said = [f"{one.label} {one.accuracy:.3f} @ {one.nfe:.1f}" for one in tested]
            get_console().print(
                f"[bold]transfer, {name}[/]: {said[0]}; closest {said[1]}; most accurate {said[2]}"
            )
        shown_as = [Shown(one.label, one.accuracy, one.nfe) for one in tested]
        return runs, HeatRow(name, condition, own.gen_length, *shown_as), tested

    def _policy_name(self, module: LitUnmask) -> str:
        """Return the name of the policy; in training with its round, as its weights change."""
        name = self.options.policy_name
        if module.trainer.state.fn != TrainerFn.FITTING:
            return name
        return f"{name}, round {module.global_step}"

    def _log(self, trainer: Trainer, rows: Sequence[_Row]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # A test of a checkpoint does not know the round that it is of.
        fitting = trainer.state.fn == TrainerFn.FITTING
        number = trainer.global_step if fitting else None
        title = f"transfer, round {number}" if fitting else "transfer"
        figure = transfer_figure([row for _, row, _ in rows], title)
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=120)
        replace_file(self.folder / "transfer.png", image.getvalue())
        table = [{"round": number, **_as_json(row)} for row in rows]
        replace_file(self.folder / "transfer.json", json.dumps(table, indent=1).encode())
        values = {
            f"transfer/{runs.cell}/{prefix}{measure}": getattr(point, measure)
            for runs, _, points in rows
            for prefix, point in zip(("", "heuristic/", "best/"), points, strict=True)
            for measure in ("accuracy", "nfe")
        }
        for logger in trainer.loggers:
            logger.log_metrics(values, trainer.global_step)
        writer = tensorboard(trainer)
        if writer is not None:
            writer.add_figure("transfer/cells", figure, trainer.global_step)


def _as_json(row: _Row) -> dict[str, Any]:
    runs, shown, points = row
    return {
        "cell": runs.cell,
        "denoiser": runs.denoiser,
        "task": runs.task,
        "gen_length": shown.gen_length,
        **dict(zip(("policy", "heuristic", "best"), (p.as_row() for p in points), strict=True)),
        "accuracy_difference": shown.gain,
        "accuracy_difference_to_best": shown.gap,
        "nfe_ratio": shown.cost,
    }
