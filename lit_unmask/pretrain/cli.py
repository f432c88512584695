"""The command line ``lit-unmask-pretrain fit``: trains the bundled denoisers."""

from __future__ import annotations

import sys

from lit_unmask.errors import ConfigurationError, refuse
from lit_unmask.preflight.extends import with_bases
from lit_unmask.preflight.parsing import SentenceCLI, SentenceParser
from lit_unmask.pretrain.data import DemonstrationData
from lit_unmask.pretrain.module import LitPretrain


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; what goes wrong before the training is one sentence."""
    try:
        SentenceCLI(
            LitPretrain,
            DemonstrationData,
            args=with_bases(sys.argv[1:] if arguments is None else arguments),
            auto_configure_optimizers=False,
            parser_class=SentenceParser,
            parser_kwargs={"parser_mode": "omegaconf+"},
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
        )
    except ConfigurationError as error:
        refuse(error)
