"""Arguments and configurations of LightningCLI, refused in one sentence where they are read."""

from __future__ import annotations

from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from omegaconf.errors import OmegaConfBaseException

from lit_unmask.errors import Sentences, refuse

# What numpy takes as a seed.
_SEEDS = 2**32


class SentenceParser(Sentences, LightningArgumentParser):
    """A parser whose errors are one sentence."""


class SentenceCLI(LightningCLI):
    """LightningCLI whose parser refuses interpolations and seeds as it refuses other values."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Let configurations name others; see :func:`lit_unmask.preflight.extends.with_bases`."""
        parser.add_argument(
            "--extends",
            type=str | list[str] | None,
            help="In a configuration: those that it changes, relative to itself.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse arguments; what cannot be read ends with one sentence and status 2."""
        try:
            super().parse_arguments(parser, args)
        except OmegaConfBaseException as error:
            said = str(error).partition("\n")[0].rstrip(".")
            refuse(f"{error.full_key}: {said}; correct what stands in ${{}}, or give the value", 2)
        except RecursionError:
            refuse("a value on the command line is nested too deeply; give it in a file", 2)
        command = self.config.get("subcommand")
        settings = self.config if command is None else self.config[command]
        asked = parser if command is None else self._subcommand_parsers[command]
        for name in asked.groups or {}:
            if name in settings and not isinstance(settings[name], Namespace):
                said = f"{name}={settings[name]!r} must be a mapping of settings"
                refuse(f"{said}; give one, or leave it out for the defaults", 2)
        seed = settings.get("seed_everything")
        if not isinstance(seed, bool | None) and not 0 <= seed < _SEEDS:
            refuse(f"seed_everything={seed} must lie in [0, {_SEEDS}); choose a smaller one", 2)
