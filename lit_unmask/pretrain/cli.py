"""The command line ``lit-unmask-pretrain fit``: trains the bundled denoisers."""

from __future__ import annotations

from lightning.pytorch.cli import LightningCLI

from lit_unmask.pretrain.data import DemonstrationData
from lit_unmask.pretrain.module import LitPretrain


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    LightningCLI(
        LitPretrain,
        DemonstrationData,
        auto_configure_optimizers=False,
        parser_kwargs={"parser_mode": "omegaconf+"},
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
        args=arguments,
    )
