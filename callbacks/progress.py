"""A progress bar that shows rollouts too."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich import get_console
from rich.progress import TaskID

from lit_unmask.rollout import Progress
from lit_unmask.training.module import LitUnmask


class RolloutProgressBar(RichProgressBar):
    """Lightning's Rich progress bar with a line for the rollout that is under way.

    The line counts finished rows and shows rows left, NFE so far and the share of forwards that
    skipping and sharing saved; a round of rollouts is long
    work, and Lightning's own bars only move between rounds. Where the output is no terminal, a
    line every few rounds says round, reward, accuracy, NFE and seconds left.

    Args:
        refresh_rate: Redraws a second; 0 switches the display off.
        leave: Whether finished bars stay.
        every: Rounds between two lines where the output is no terminal.
    """

    def __init__(self, refresh_rate: int = 10, leave: bool = False, every: int = 5) -> None:
        super().__init__(refresh_rate=refresh_rate, leave=leave)
        # One line for each display, hidden between rollouts: Lightning looks its own lines up by
        # their place, which removing a line would shift.
        self._line: tuple[object, TaskID] | None = None
        self._every, self._begun, self._first = every, 0.0, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count seconds."""
        super().on_train_start(trainer, pl_module)
        self._begun, self._first = time.monotonic(), trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line every few rounds where no bar is seen."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        done, whole = trainer.global_step, trainer.estimated_stepping_batches
        # Not where it stands in for a bar that was switched off, nor on ranks but the first.
        hidden = not self.is_enabled or not trainer.is_global_zero or get_console().is_terminal
        if hidden or done % self._every:
            return
        metrics = trainer.progress_bar_metrics
        said = [f"{n} {metrics[n]:.3g}" for n in ("reward", "accuracy", "nfe") if n in metrics]
        each = (time.monotonic() - self._begun) / max(done - self._first, 1)
        left = f"{each * (whole - done):.0f} s left" if whole != float("inf") else "no end set"
        print(", ".join([f"round {done} of {whole}", *said, left]), flush=True)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen to the module's rollouts."""
        super().setup(trainer, pl_module, stage)
        if isinstance(pl_module, LitUnmask) and self.show not in pl_module.listeners:
            pl_module.listeners.append(self.show)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop the display and listen no more."""
        if isinstance(pl_module, LitUnmask) and self.show in pl_module.listeners:
            pl_module.listeners.remove(self.show)
        super().teardown(trainer, pl_module, stage)

    def _get_train_description(self, current_epoch: int) -> str:
        """Return the label of the training bar; Lightning would show no limit as ``/-2``."""
        return super()._get_train_description(current_epoch).replace("/-2", "")

    def show(self, state: Progress) -> None:
        """Show the state of a rollout; a finished one leaves no line behind."""
        progress = self.progress
        if progress is None or self._progress_stopped:
            return
        if self._line is None or self._line[0] is not progress:
            self._line = progress, progress.add_task("rollout", total=state.rows, visible=False)
        line = self._line[1]
        done = state.rows - state.rows_left
        if not progress.tasks[progress.task_ids.index(line)].visible:
            progress.reset(line, total=state.rows)
        progress.update(
            line,
            completed=done,
            description=(
                f"rollout: {state.rows_left} rows left, {state.nfe} NFE, "
                f"{1 - state.computed / max(state.nfe, 1):.0%} of forwards saved"
            ),
            visible=state.rows_left > 0,
        )
