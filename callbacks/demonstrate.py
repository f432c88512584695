"""Recording demonstrations for others to imitate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich import get_console

from lit_unmask.errors import ConfigurationError
from lit_unmask.files import check_folder
from lit_unmask.tasks.datamodule import is_fast_dev_run
from lit_unmask.training.demonstrations import (
    DemonstrationWriter,
    Demonstrator,
    Recipe,
    demonstrate,
)
from lit_unmask.training.module import LitUnmask
from lit_unmask.types import SPEED, Problem, Signals


class Demonstrate(Callback):
    """Records how the policy decodes the problems of ``lit-unmask predict``, for others to imitate.

    The expert is ``model.policy``, decoding as ``model.decoding`` says; the problems are those of
    ``data.test``, which for this purpose are training problems. What is recorded goes to a folder
    that :class:`~lit_unmask.training.demonstrations.ImitationData` reads. Each batch is one file,
    written when it is done, and problems that were tried are not decoded again: start the command
    again after an interruption, or with more problems, and it goes on. Ranks share the problems.

    Example: ``configs/demonstrations.yaml``.

    Args:
        folder: Where to; a folder of the same recipe is added to.
        signals: What is kept of each step, whatever the expert looks at.
        keep_wrong: Whether trajectories to wrong answers are kept too.
    """

    def __init__(
        self,
        folder: str,
        signals: Signals = Signals(),  # noqa: B008  (frozen)
        keep_wrong: bool = False,
    ) -> None:
        self.folder, self.signals, self.keep_wrong = Path(folder), signals, keep_wrong
        self._cost = 0

    def check_run(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check what is known without weights, before any work starts.

        Raises:
            ConfigurationError: If the folder holds demonstrations of another recipe, or cannot be
                written.
        """
        if stage != "predict":
            return
        assert isinstance(pl_module, LitUnmask)
        if SPEED in self.signals:
            raise ConfigurationError(
                "Demonstrate: signals.names has speed, and an expert is given none; leave it out"
            )
        check_folder(self.folder)
        Recipe.of(self._expert(pl_module), self.keep_wrong, loaded=False).check(self.folder)

    setup = check_run

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the store, now that all weights are there, and take over what predict does.

        Raises:
            ConfigurationError: If the folder holds demonstrations of other weights.
        """
        assert isinstance(pl_module, LitUnmask)
        who = self._expert(pl_module)
        if is_fast_dev_run(trainer):
            pl_module.predict_batch = lambda batch: demonstrate(who, batch).records()
            return
        self._writer = DemonstrationWriter(self.folder, Recipe.of(who, self.keep_wrong))

        def record(batch: list[Problem]) -> list[dict[str, Any]]:
            problems = self._writer.missing(batch)
            if not problems:
                return []
            shown = demonstrate(who, problems, pl_module.notify)
            self._writer.add(shown)
            self._cost += shown.ledger.computed
            return shown.records()

        pl_module.predict_batch = record

    def _expert(self, module: LitUnmask) -> Demonstrator:
        return Demonstrator(
            module.denoiser, module.policy, module.decoding, module.rounds.seed,
            module.grader, self.signals,
        )  # fmt: skip

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what there is now."""
        trainer.strategy.barrier("demonstrations")
        if is_fast_dev_run(trainer) or not trainer.is_global_zero:
            return
        writer = DemonstrationWriter(self.folder, self._writer.recipe)
        get_console().print(
            f"{self.folder}: {writer.trajectories} trajectories of {len(writer.tried)} problems "
            f"({self._cost} row-forwards of the denoiser this time, on this rank)"
        )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give predict back."""
        if stage == "predict":
            assert isinstance(pl_module, LitUnmask)
            pl_module.predict_batch = None
