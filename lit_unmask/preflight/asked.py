"""What the command line hands over to a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lit_unmask.errors import ConfigurationError
from lit_unmask.preflight.assumptions import Assumptions
from lit_unmask.preflight.blueprint import Blueprint
from lit_unmask.preflight.checks import problems_of
from lit_unmask.preflight.missing import Missing
from lit_unmask.tasks.base import ProblemSet
from lit_unmask.tasks.datamodule import TaskDataModule
from lit_unmask.training.module import LitUnmask


@dataclass(frozen=True)
class Asked:
    """A configuration, with nothing in it that is expensive to make.

    Attributes:
        trainer: Arguments of ``Trainer``, callbacks and loggers made.
        model: The module, with a blueprint for its denoiser.
        data: The problems.
        assumptions: What is taken for granted.
        denoisers: All blueprints of the configuration; callbacks may have some too.
        lacks: What is known to be missing already.
        stage: ``fit``, ``validate``, ``test`` or ``predict``.
        ckpt_path: Checkpoint that the run starts from.
    """

    trainer: Mapping[str, Any]
    model: LitUnmask
    data: TaskDataModule
    assumptions: Assumptions
    denoisers: list[Blueprint]
    lacks: list[Missing]
    stage: str = "fit"
    ckpt_path: str | None = None

    @property
    def sets(self) -> dict[str, ProblemSet]:
        """The problem sets that the stage reads, by what to call them."""
        return problems_of(self.stage, self.data, self.callbacks)

    @property
    def denoiser(self) -> Blueprint:
        """The blueprint of the module's denoiser."""
        found: Any = self.model.denoiser
        return found

    @property
    def callbacks(self) -> list[Any]:
        """The callbacks of the trainer's settings."""
        callbacks = self.trainer["callbacks"]
        if callbacks is None:
            return []
        return callbacks if isinstance(callbacks, list) else [callbacks]

    def check(self, ranks: int) -> None:
        """Refuse what cannot be trained, as ``fit`` does.

        Args:
            ranks: Processes.

        Raises:
            ConfigurationError: If the policy cannot be trained, settings exclude each other, there
                are no training problems, or the batch does not divide among the ranks.
        """
        trainer, batch = self.trainer, self.data.batch_size
        self.model.check_trainable(trainer["accumulate_grad_batches"])
        if "16" in str(trainer["precision"]):
            raise ConfigurationError(
                f"trainer.precision={trainer['precision']} must be 32-true, or importance ratios "
                "are off; the frozen denoiser has its own model.denoiser.dtype"
            )
        if trainer["max_steps"] == -1 and trainer["max_epochs"] == -1:
            raise ConfigurationError(
                "neither trainer.max_steps nor trainer.max_epochs is set; the learning-rate "
                "schedule needs the number of rounds"
            )
        if self.data.train is None:
            raise ConfigurationError("data.train is not set; fit needs a training task")
        if batch % ranks:
            raise ConfigurationError(
                f"data.batch_size={batch} must be a multiple of the {ranks} ranks"
            )
