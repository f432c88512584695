"""The processes of a trainer, sharing a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lit_unmask.callbacks.interruption import is_interrupted

from lit_unmask.evaluation.sweep import Ranks
from lit_unmask.sharing.saved import stored_in


class TrainerRanks(Ranks):
    """Shares a sweep among the ranks of a trainer, and heeds the signals that it was sent.

    Args:
        trainer: The trainer; its processes have been started.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.rank, self.world = trainer.global_rank, trainer.world_size

    def broadcast(self, value: Any, source: int = 0) -> Any:
        """Return the value that the rank ``source`` has; all of them call it."""
        return self.trainer.strategy.broadcast(value, source)

    def should_stop(self) -> bool:
        """Return whether a scheduler has asked this process to end."""
        return is_interrupted(self.trainer)

    def stop(self) -> None:
        """End the run as Lightning does between two batches.

        Raises:
            SIGTERMException: Always.
        """
        raise SIGTERMException


def load_best(trainer: Trainer, module: LightningModule) -> str:
    """Load the checkpoint that validation preferred on every rank; returns what to call it."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_path:
            best, zero = callback.best_model_path, trainer.is_global_zero
            own = stored_in(Path(best)) if zero else None
            stored: Any = trainer.strategy.broadcast(own)
            module.load_state_dict(stored["state_dict"])
            return f"round {stored['global_step']} (best {callback.monitor})"
    return "the last round"
