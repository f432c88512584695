"""The command line: ``lit-unmask fit | validate | test | predict``."""

from __future__ import annotations

import sys

from jsonargparse import set_parsing_settings
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from lit_unmask.errors import ConfigurationError
from lit_unmask.module import LitUnmask
from lit_unmask.preflight import check
from lit_unmask.tasks.datamodule import TaskDataModule


class SaveConfig(SaveConfigCallback):
    """Saves the configuration beside the logs, and as TensorBoard hyper-parameters."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log the flattened configuration."""
        settings = {
            key: value if isinstance(value, int | float | str | bool) else str(value)
            for key, value in self.config.as_flat().__dict__.items()
            if key.startswith(("model.", "data.", "seed"))
        }
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                names = [f"val/{name}" for name in trainer.datamodule.val]
                metrics = {f"{n}/{m}": 0.0 for n in names for m in ("accuracy", "nfe", "reward")}
                logger.log_hyperparams(settings, metrics)


class UnmaskCLI(LightningCLI):
    """LightningCLI with checks before any work and the command line above the checkpoint."""

    def _parse_ckpt_path(self) -> None:
        """Keep the command line's settings: a checkpoint stores weights and trainer state only."""

    def instantiate_classes(self) -> None:
        """Build trainer, model and data; a setting that cannot work ends with one sentence."""
        try:
            super().instantiate_classes()
            if self.subcommand is not None:
                check(self.subcommand, self.trainer, self.model, self.datamodule)
        except (ValueError, OSError) as error:
            self.parser.error(_sentence(error))


def _sentence(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines) or type(error).__name__


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    try:
        UnmaskCLI(
            LitUnmask,
            TaskDataModule,
            subclass_mode_data=True,
            save_config_callback=SaveConfig,
            auto_configure_optimizers=False,
            parser_kwargs={"parser_mode": "omegaconf+"},
            seed_everything_default=0,
            args=arguments,
        )
    except ConfigurationError as error:
        sys.exit(f"error: {_sentence(error)}")
