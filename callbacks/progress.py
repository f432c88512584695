"""A progress bar that shows rollouts too."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from lit_unmask.module import LitUnmask
from lit_unmask.rollout import Progress


class RolloutProgressBar(RichProgressBar):
    """Lightning's Rich progress bar with a line for the rollout that is under way.

    The line counts finished rows and shows rows left and NFE so far; a round of rollouts is long
    work, and Lightning's own bars only move between rounds.

    ```yaml
    callbacks:
      - class_path: lit_unmask.callbacks.RolloutProgressBar
    ```
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen to the module's rollouts."""
        super().setup(trainer, pl_module, stage)
        self._rollout_task = None
        if isinstance(pl_module, LitUnmask) and self.show not in pl_module.listeners:
            pl_module.listeners.append(self.show)

    def show(self, state: Progress) -> None:
        """Show the state of a rollout; a finished one leaves no line behind."""
        if self.progress is None or self._progress_stopped:
            return
        if self._rollout_task is not None and self._rollout_task not in self.progress.task_ids:
            self._rollout_task = None
        if state.rows_left == 0:
            if self._rollout_task is not None:
                self.progress.remove_task(self._rollout_task)
                self._rollout_task = None
            return
        text = f"rollout: {state.rows_left} rows left, {state.nfe} NFE"
        if self._rollout_task is None:
            self._rollout_task = self.progress.add_task(text, total=state.rows, visible=True)
        self.progress.update(
            self._rollout_task, completed=state.rows - state.rows_left, description=text
        )
