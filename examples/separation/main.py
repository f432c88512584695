"""``python examples/separation/main.py fit --config examples/separation/separation.yaml``."""

from lightning.pytorch.cli import LightningCLI
from separation import LitSeparation, MixtureData


def main(args: list[str] | None = None) -> LightningCLI:
    """Run the command line."""
    return LightningCLI(
        LitSeparation, MixtureData, args=args, auto_configure_optimizers=False,
        seed_everything_default=1, save_config_kwargs={"overwrite": True},
    )  # fmt: skip


if __name__ == "__main__":
    main()
