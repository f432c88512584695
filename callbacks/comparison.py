"""The learned policy against tuned heuristics on held-out problems."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info
from lit_unmask.callbacks.figures import frontier_figure, tensorboard
from matplotlib.figure import Figure
from rich import get_console
from rich.box import SIMPLE_HEAD
from rich.table import Table

from lit_unmask.errors import ConfigurationError
from lit_unmask.files import replace_file
from lit_unmask.frontier import Contender, Point
from lit_unmask.module import LitUnmask
from lit_unmask.preflight import check_folder
from lit_unmask.tasks.datamodule import attached_data, is_fast_dev_run
from lit_unmask.tuning import Candidate, HeuristicGrid, candidates, choose
from lit_unmask.types import Problem


class Comparison(Callback):
    """Compares the policy with tuned heuristics when ``fit`` or ``test`` ends.

    Every heuristic is tuned over its parameter and the block length on the tuning sets of the
    DataModule. For each heuristic the setting that reaches the policy's accuracy in the fewest
    forwards, in full diffusion and over all block lengths, is then run on the test set of the same
    name, with the same noise as the policy. After ``fit`` the policy is the checkpoint that
    validation preferred, where a ``ModelCheckpoint`` monitors something, else the last one.

    Writes ``results.json`` (a list of rows), ``tuning.json`` (every setting that was tried) and
    ``frontier.png`` (``frontier-<set>.png`` if there are several test sets) into the folder once
    everything has run, puts the figure into TensorBoard, and prints a table.

    ```yaml
    callbacks:
      - class_path: lit_unmask.callbacks.Comparison
        init_args:
          folder: runs/demo
          grids:
            threshold:
              policy: lit_unmask.policies.ConfidenceThreshold
              values: [0.3, 0.5, 0.7, 0.9]
              block_lengths: [16, 64]
    ```

    Args:
        grids: Heuristics by name.
        folder: Where the results go.
        policy_name: What the policy is called in the table.
        next_step: A line to print at the end.
    """

    def __init__(
        self,
        grids: dict[str, HeuristicGrid],
        folder: str = "runs/comparison",
        policy_name: str = "policy",
        next_step: str = "",
    ) -> None:
        self.grids, self.folder = grids, Path(folder)
        self.policy_name, self.next_step = policy_name, next_step

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the folder and every setting before any work starts."""
        if stage not in ("fit", "test"):
            return
        assert isinstance(pl_module, LitUnmask)
        try:
            list(candidates(self.grids, pl_module.eval_decoding))
        except ValueError as error:
            raise ConfigurationError(f"the grids of Comparison: {error}") from error
        data = attached_data(trainer)
        missing = set(data.test) - set(data.tuning)
        if missing:
            raise ConfigurationError(
                f"data.tuning has no set named {sorted(missing)}, which data.test has"
            )
        check_folder(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the best checkpoint."""
        if not trainer.interrupted and trainer.is_global_zero and not is_fast_dev_run(trainer):
            best = _load_best(trainer, pl_module)
            self._compare(trainer, pl_module, best)
        trainer.strategy.barrier("comparison")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the policy that was tested."""
        if trainer.is_global_zero and not is_fast_dev_run(trainer):
            self._compare(trainer, pl_module, "the tested weights")
        trainer.strategy.barrier("comparison")

    def _compare(self, trainer: Trainer, module: LightningModule, source: str) -> None:
        assert isinstance(module, LitUnmask)
        # The console of the progress bar, which then keeps its lines below what is printed.
        console = get_console()
        learned = Contender(
            self.policy_name,
            "learned" if module.policy.has_parameters else "heuristic",
            {"alpha": module.reward.alpha},
            module.eval_decoding.block_length,
        )
        policy = Candidate(learned, module.policy, module.eval_decoding)
        settings = list(candidates(self.grids, module.eval_decoding))
        rows: list[dict] = []
        trials: list[dict] = []
        figures: dict[str, Figure] = {}
        for name, problems in attached_data(trainer).test.items():
            tuning = list(attached_data(trainer).tuning[name])
            console.print(
                f"[bold]{name}[/]: tuning {len(settings)} settings of {len(self.grids)} heuristics "
                f"on {len(tuning)} problems"
            )
            target = self._run(module, policy, tuning)
            tuned = [(candidate, self._run(module, candidate, tuning)) for candidate in settings]
            console.print(f"testing {source} and the tuned settings on {len(problems)} problems")
            chosen = [policy, *choose(tuned, target)]
            tested = [self._run(module, candidate, list(problems)) for candidate in chosen]
            rows += [{"dataset": name, **point.as_row()} for point in tested]
            trials += [{"dataset": name, **point.as_row()} for _, point in tuned]
            title = f"{name}: accuracy against forwards"
            figures[name] = frontier_figure(tested, [point for _, point in tuned], title)
            console.print(_table(name, tested))
        replace_file(self.folder / "results.json", json.dumps(rows, indent=1).encode())
        replace_file(self.folder / "tuning.json", json.dumps(trials, indent=1).encode())
        images = self._save(trainer, figures)
        console.print(f"results: {self.folder / 'results.json'}, {', '.join(images)}")
        # Not trainer.log_dir, which waits for all ranks while only the first one is here.
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                console.print(f"watch:   tensorboard --logdir {logger.root_dir}")
        if self.next_step:
            console.print(f"next:    {self.next_step}")

    def _run(self, module: LitUnmask, candidate: Candidate, problems: Sequence[Problem]) -> Point:
        result = module.evaluate(problems, candidate.policy, candidate.decoding)
        return candidate.contender.point(result, module.rounds.seed)

    def _save(self, trainer: Trainer, figures: dict[str, Figure]) -> list[str]:
        """Write the figures to files and to TensorBoard; returns the files."""
        writer, files = tensorboard(trainer), []
        for name, figure in figures.items():
            files.append(f"{self.folder}/frontier{f'-{name}' if len(figures) > 1 else ''}.png")
            figure.savefig(files[-1], dpi=120)
            if writer is not None:
                writer.add_figure(f"test/{name}/frontier", figure, trainer.global_step)
        return files


def _table(name: str, points: list[Point]) -> Table:
    title = f"{name}: {points[0].num_problems} held-out problems (BL: block length)"
    table = Table(title=title, box=SIMPLE_HEAD, padding=0)
    table.add_column("policy", no_wrap=True)
    for column in ("BL", "accuracy", "95 % interval", "NFE", "tok/fwd", "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    for point in points:
        table.add_row(
            f"{point.name} ({', '.join(f'{k} {v:g}' for k, v in point.params.items())})",
            str(point.block_length),
            f"{point.accuracy:.3f}",
            f"{point.ci_low:.3f}-{point.ci_high:.3f}",
            f"{point.nfe:.1f}",
            f"{point.tokens_per_forward:.2f}",
            f"{point.seconds:.1f}",
            style="bold" if point.kind == "learned" else None,
        )
    return table


def _load_best(trainer: Trainer, module: LightningModule) -> str:
    """Load the checkpoint that validation preferred; returns what to call it."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_path:
            stored = torch.load(callback.best_model_path, map_location="cpu", weights_only=True)
            module.load_state_dict(stored["state_dict"])
            rank_zero_info(f"comparing the best checkpoint by {callback.monitor}")
            return f"round {stored['global_step']} (best {callback.monitor})"
    return "the last round"
