"""The configuration of a run, beside its logs."""

from __future__ import annotations

import itertools
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

from lit_unmask.errors import ConfigurationError
from lit_unmask.tasks.datamodule import attached_data, is_fast_dev_run


class SaveConfig(SaveConfigCallback):
    """Saves the configuration beside the logs, and as TensorBoard hyper-parameters."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save into the logger's folder; without a logger a run has no folder of its own.

        A run that goes on from a checkpoint below that folder keeps the earlier configuration and
        saves its own under the next free name (``config-2.yaml``).

        Raises:
            ConfigurationError: If ranks were given different configurations, or the folder holds
                the configuration of another run.
        """
        self._check_ranks(trainer)
        if not trainer.loggers or is_fast_dev_run(trainer):
            return
        folder = trainer.log_dir
        if not self.already_saved and folder is not None:
            self.config_filename = self._free_name(Path(folder))
        try:
            super().setup(trainer, pl_module, stage)
        except RuntimeError as error:
            raise ConfigurationError(
                f"{trainer.log_dir} holds {self.config_filename} of an earlier run; choose another "
                "name or version for the logger"
            ) from error

    def _check_ranks(self, trainer: Trainer) -> None:
        """Check that all ranks run the same: those that do not would disagree without a word."""
        if trainer.world_size == 1:
            return
        own = self.parser.dump(self.config).splitlines()
        first = trainer.strategy.broadcast(own)
        if trainer.strategy.reduce_boolean_decision(own == first, all=True):
            return
        pairs = (
            pair for pair in itertools.zip_longest(own, first, fillvalue="") if len({*pair}) > 1
        )
        mine, other = next(pairs, ("", ""))
        said = f": {mine.strip()!r} here, {other.strip()!r} on rank 0" if mine or other else ""
        raise ConfigurationError(
            f"the ranks have different configurations (rank {trainer.global_rank}{said}); start "
            "all of them with the same"
        )

    def _free_name(self, folder: Path) -> str:
        """Return the name of the file; another one only where a run goes on in its folder."""
        name, checkpoint = Path(self.config_filename), self.config.get("ckpt_path")
        if checkpoint is None or folder.resolve() not in Path(checkpoint).resolve().parents:
            return name.name
        numbered = (name.with_stem(f"{name.stem}-{number}") for number in itertools.count(2))
        free = (file for file in itertools.chain([name], numbered) if not (folder / file).exists())
        return str(next(free))

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log the flattened configuration."""
        settings = {
            key: value if isinstance(value, int | float | str | bool) else str(value)
            for key, value in vars(self.config.as_flat()).items()
            if key.startswith(("model.", "data.", "seed"))
        }
        data = attached_data(trainer)
        sets = [*(f"val/{name}" for name in data.val), *(f"test/{name}" for name in data.test)]
        names = [f"{name}/{metric}" for name in sets for metric in ("accuracy", "nfe", "reward")]
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                # Empty metrics, because the logger would plot their placeholders as measurements.
                logger.log_hyperparams(settings, metrics={})
                for summary in hparams(settings, dict.fromkeys(names, 0.0)):
                    logger.experiment.file_writer.add_summary(summary)
