"""Every policy and heuristic on every problem set, into a results store."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from lit_unmask.callbacks.figures import points_table, save_points
from lit_unmask.callbacks.ranks import TrainerRanks, load_best
from rich import get_console

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import Evaluation
from lit_unmask.evaluation.evaluation_set import EvaluationSet
from lit_unmask.evaluation.grid import (
    HeuristicGrid,
    Setting,
    at_thresholds,
    closest,
    on_fronts,
    settings,
)
from lit_unmask.evaluation.points import Point
from lit_unmask.evaluation.store import Outcome, Store
from lit_unmask.evaluation.sweep import FreshForwards, Sweep, outcomes_of, summarise
from lit_unmask.files import check_folder
from lit_unmask.policies.base import Policy
from lit_unmask.rollout.checks import check_policy
from lit_unmask.tasks.datamodule import attached_data, is_fast_dev_run
from lit_unmask.training.checkpoints import saved_policy
from lit_unmask.training.module import LitUnmask
from lit_unmask.types import Problem


@dataclass(frozen=True)
class FrontierOptions:
    """What a frontier covers.

    Attributes:
        policy_name: What to call the module's own policy; None leaves it out.
        thresholds: Thresholds of the module's own policy, each a setting of it; None takes the
            policy as it is.
        block_lengths: Block lengths of the learned policies; None means that of the module's
            ``eval_decoding``.
        seeds: Seeds of the noise; None is the module's. What depends on none is computed once.
        tested: Settings of heuristics to run on the test problems: those on their fronts of the
            tuning problems, the closest ones there to the first policy (in full diffusion and of
            all settings), see :func:`~lit_unmask.evaluation.grid.closest`, or all.
        validate: Whether ``lit-unmask validate`` reports on ``data.val``, as ``test`` does on
            ``data.test``.
        chunk: Problems that a rank computes before they are stored.
        fit: Whether it runs when ``fit`` ends too, with the checkpoint that validation preferred if
            a ``ModelCheckpoint`` monitors something, else with the last weights.
        results: Folder of ``results.json``, ``tuning.json`` and ``frontier.png``.
        next_step: A line to print at the end.
    """

    policy_name: str | None = "policy"
    thresholds: list[float] | None = None
    block_lengths: list[int] | None = None
    seeds: list[int] | None = field(default_factory=lambda: [0])
    tested: Literal["fronts", "closest", "all"] = "fronts"
    validate: bool = False
    chunk: int = 64
    fit: bool = False
    results: str | None = None
    next_step: str = ""


class Frontier(Callback):
    """Evaluates policies and heuristics over their settings when ``test`` ends, into a store.

    On the tuning set of each test set's name, every setting of every heuristic is run, over its
    parameter and the block length, and the learned policies. Settings on the Pareto front of
    their heuristic (of all its settings, or of those in full diffusion) and the learned policies
    are then run on the test set. All of them see the same problems and the same noise.

    Every outcome goes to the store (:class:`lit_unmask.evaluation.store.Store`) as soon as its
    chunk is computed, and none that is there is computed again: an interrupted sweep continues
    where it was, and a sweep with further settings computes those alone. A problem that a set holds
    twice counts once. With several ranks each takes its share of the problems. An example is
    ``configs/frontier.yaml``.

    Args:
        grids: Heuristics by name.
        folder: The store.
        checkpoints: Further policies by name: checkpoints of policies like the module's, or
            folders of saved policies of any kind (``lit-unmask-export``).
        options: What the frontier covers.
    """

    def __init__(
        self,
        grids: dict[str, HeuristicGrid],
        folder: str = "runs/frontier/store",
        checkpoints: dict[str, str] | None = None,
        options: FrontierOptions = FrontierOptions(),
    ) -> None:
        self.grids, self.folder, self.options = grids, Path(folder), options
        self.checkpoints = checkpoints or {}
        self._stored: dict[str, Policy] = {}
        self._seeds: list[int] = []
        self._pairs: list[tuple[EvaluationSet, EvaluationSet]] = []
        self._fresh: FreshForwards | None = None
        # By set, what the test loop computed of the module's policy.
        self._tested: dict[str, list[Outcome]] = {}

    def check_run(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check settings, checkpoints, problem sets and the folder before any work starts."""
        if stage not in self._stages():
            return
        assert isinstance(pl_module, LitUnmask)
        if self.options.seeds == [] or self.options.chunk < 1:
            raise ConfigurationError(
                f"options of Frontier: seeds={self.options.seeds} must not be empty and "
                f"chunk={self.options.chunk} must be at least 1"
            )
        self._stored = {
            name: saved_policy(name, path, pl_module) for name, path in self.checkpoints.items()
        }
        names = [*self.grids, *(name for name, _ in self._learned_policies(pl_module))]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ConfigurationError(
                f"Frontier has several policies named {repeated}; rename a grid, a checkpoint or "
                "options.policy_name"
            )
        if self.options.tested == "closest" and not self._learned_policies(pl_module):
            raise ConfigurationError("Frontier: options.tested='closest' needs a policy_name")
        try:
            for one in [*self._heuristics(pl_module), *self._learned(pl_module)]:
                check_policy(one.policy, one.decoding)
        except ValueError as error:
            raise ConfigurationError(f"the settings of Frontier: {error}") from error
        self._pairs = list(self._sets(trainer, pl_module, stage))
        for problems in itertools.chain(*self._pairs):
            problems.check(pl_module.eval_decoding.gen_length)
        check_folder(self.folder)
        check_folder(Path(self.options.results or self.folder))
        Store(self.folder)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check again, and name what is evaluated."""
        self.check_run(trainer, pl_module, stage)
        for problems in itertools.chain(*self._pairs):
            problems.identify()

    def on_test_batch_start(  # type: ignore[override]
        self, trainer: Trainer, pl_module: LitUnmask, batch: list[Problem], *place: int
    ) -> None:
        """Listen to what the test loop decodes, which need not be decoded again."""
        self._fresh = FreshForwards(len(batch), pl_module.denoiser.mask_id)
        pl_module.listeners.append(self._fresh)

    def on_test_batch_end(  # type: ignore[override]
        self,
        trainer: Trainer,
        pl_module: LitUnmask,
        outputs: Evaluation,
        batch: list[Problem],
        *place: int,
    ) -> None:
        """Keep what came out of it."""
        assert self._fresh is not None
        pl_module.listeners.remove(self._fresh)
        name = list(attached_data(trainer).test)[place[1] if len(place) > 1 else 0]
        self._tested.setdefault(name, []).extend(outcomes_of(batch, outputs, self._fresh))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do the same with the best checkpoint, if asked to."""
        if self.options.fit and not trainer.interrupted and not is_fast_dev_run(trainer):
            source = load_best(trainer, pl_module)
            if trainer.is_global_zero:
                get_console().print(f"testing {source} beside tuned heuristics")
            self._measure(trainer, pl_module)
            pl_module.to(pl_module.device)  # the policy too

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run what the store lacks and print the test results."""
        self._measure(trainer, pl_module)
        self._tested.clear()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do the same after ``validate``, if asked to."""
        if self.options.validate and trainer.state.fn == TrainerFn.VALIDATING:
            self._measure(trainer, pl_module)

    def _stages(self) -> tuple[str, ...]:
        options = self.options
        return ("test", *["validate"] * options.validate, *["fit"] * options.fit)

    def _measure(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, LitUnmask)
        if is_fast_dev_run(trainer):
            return
        ranks = TrainerRanks(trainer)
        sweep = Sweep(self.folder, ranks, module.grader, module.notify, self.options.chunk)
        self._seeds = self.options.seeds or [module.eval_seed]
        tuned: dict[str, list[Point]] = {}
        tested: dict[str, list[Point]] = {}
        for pair in self._pairs:
            name = pair[1].dataset
            tuned[name], tested[name] = self._run_set(sweep, module, *pair)
            if trainer.is_global_zero:
                get_console().print(points_table(name, tested[name]))
        if not trainer.is_global_zero:
            return
        said = [f"store:  {self.folder} ({sweep.counts})\nreport: lit-unmask-report {self.folder}"]
        if self.options.results is not None:
            files = save_points(trainer, Path(self.options.results), tested, tuned)
            said.append(f"files:  {', '.join(files)}")
        # Not trainer.log_dir, which waits for all ranks while only the first one is here.
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                said.append(f"watch:  tensorboard --logdir {logger.root_dir}")
        if self.options.next_step:
            said.append(f"next:   {self.options.next_step}")
        get_console().print("\n".join(said))

    def _run_set(
        self, sweep: Sweep, module: LitUnmask, tuning: EvaluationSet, test: EvaluationSet
    ) -> tuple[list[Point], list[Point]]:
        """Tune on one set; return the heuristics' points there and all points of the other."""
        learned, heuristics = self._learned(module), self._heuristics(module)
        targets = self._run_all(sweep, module, tuning, learned)
        points = self._run_all(sweep, module, tuning, heuristics)
        tuned = list(zip(heuristics, points, strict=True))
        if self.options.tested != "all":
            fronts = self.options.tested == "fronts"
            heuristics = on_fronts(tuned) if fronts else closest(tuned, targets[0])
        tested = self._run_all(sweep, module, test, [*learned, *heuristics])
        own, alpha = (self.options.policy_name, "learned"), {"alpha": module.reward.alpha}
        # The module's own policy is shown with what it was trained for.
        return points, [
            replace(p, params=p.params or alpha) if (p.name, p.kind) == own else p for p in tested
        ]

    def _run_all(
        self, sweep: Sweep, module: LitUnmask, problems: EvaluationSet, chosen: list[Setting]
    ) -> list[Point]:
        """Run settings on a set, with a line to the console for each name."""
        points = []
        own = "test", module.policy, module.eval_decoding
        for name in dict.fromkeys(setting.name for setting in chosen):
            mine = [setting for setting in chosen if setting.name == name]
            before = sweep.computed
            for setting in mine:
                if (problems.stage, setting.policy, setting.decoding) == own:
                    known = self._tested.get(problems.dataset, [])
                    sweep.record(problems, setting, module.eval_seed, known)
                seeds = {seed: sweep.outcomes(problems, setting, seed) for seed in self._seeds}
                points.append(summarise(setting, seeds))
            if sweep.ranks.rank == 0:
                get_console().print(
                    f"[bold]{problems.dataset}[/], {problems.stage}: {name}, "
                    f"settings: {len(mine)}, problems: {len(problems.problems)}, "
                    f"outcomes computed: {sweep.computed - before}"
                )
        return points

    def _sets(
        self, trainer: Trainer, module: LitUnmask, stage: str
    ) -> Iterator[tuple[EvaluationSet, EvaluationSet]]:
        """Iterate over what is tuned on and what is reported on.

        Raises:
            ConfigurationError: If there is no tuning set for one of them.
        """
        data = attached_data(trainer)
        reported = data.val if stage == "validate" else data.test
        missing = sorted(set(reported) - set(data.tuning))
        if missing:
            raise ConfigurationError(
                f"data.tuning has no set named {missing}, on which Frontier would tune heuristics"
            )
        for name, problems in reported.items():
            label = f"{name} (validation)" if stage == "validate" else name
            tuning = EvaluationSet.of(label, "tuning", module.denoiser, data.tuning[name])
            yield tuning, EvaluationSet.of(label, "test", module.denoiser, problems)

    def _heuristics(self, module: LitUnmask) -> list[Setting]:
        return list(settings(self.grids, module.eval_decoding))

    def _learned_policies(self, module: LitUnmask) -> list[tuple[str, Policy]]:
        own = self.options.policy_name
        return [*([] if own is None else [(own, module.policy)]), *self._stored.items()]

    def _learned(self, module: LitUnmask) -> list[Setting]:
        decoding = module.eval_decoding
        place = module.denoiser.device  # when fit ends, Lightning has moved the policy to the CPU
        return [
            Setting.of(name, at.to(place), replace(decoding, block_length=block), params)
            for name, policy in self._learned_policies(module)
            for at, params in at_thresholds(
                policy, self.options.thresholds if policy is module.policy else None
            )
            for block in self.options.block_lengths or [decoding.block_length]
        ]
