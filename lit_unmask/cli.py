"""The command line: ``lit-unmask fit | validate | test | predict | plan``."""

from __future__ import annotations

import errno
import json
import logging
import signal
import sys
import warnings
from typing import Any, Literal

from jsonargparse import set_parsing_settings
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from rich import get_console

from lit_unmask.callbacks import Interruption, Trajectories
from lit_unmask.callbacks.interruption import end_with_first_rank
from lit_unmask.callbacks.save_config import SaveConfig
from lit_unmask.errors import ConfigurationError, check_numbers, plain, refuse, telling
from lit_unmask.preflight.checks import (
    check,
    check_denoiser,
    check_problems,
    check_prompts,
    check_settings,
    may_be_infinite,
)
from lit_unmask.preflight.dry_run import DryRun, Request
from lit_unmask.preflight.extends import with_bases
from lit_unmask.preflight.parsing import SentenceCLI, SentenceParser
from lit_unmask.preflight.resuming import check_seed, checkpoint_of
from lit_unmask.tasks.datamodule import TaskDataModule
from lit_unmask.training.checkpoints import check_checkpoint
from lit_unmask.training.module import LitUnmask
from lit_unmask.training.strategy import WholeCheckpoints

_TERMINATED = 128 + signal.SIGTERM
_ABOUT = "lit-unmask plan, with the arguments of fit, says what fit or --stage would need."
_PLAN = "Say what a run would be, what it would take and what is missing."


class UnmaskCLI(SentenceCLI):
    """LightningCLI with checks before any work and the command line above the checkpoint."""

    def __init__(self, arguments: list[str] | None, first: str | None) -> None:
        """Parse arguments and run what they ask for.

        Args:
            arguments: None for those of the process.
            first: The first of them, if there are any.
        """
        self._asked = first if first in self.subcommands() else None
        super().__init__(
            LitUnmask,
            TaskDataModule,
            args=arguments,
            subclass_mode_data=True,
            save_config_callback=SaveConfig,
            auto_configure_optimizers=False,
            parser_class=SentenceParser,
            parser_kwargs={"parser_mode": "omegaconf+", "description": _ABOUT},
            seed_everything_default=0,
            load_from_checkpoint_support=False,
        )

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        """Build the parser of what is asked for; ``predict`` has an option ``--trajectories``."""
        if self._asked not in (None, subcommand):
            # A parser that nobody uses takes as long to build as the one that is used.
            return self.init_parser(**kwargs)
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            parser.add_argument(
                "--trajectories",
                type=str | None,
                help="HTML page to write, on which to watch the policy and the confidence "
                "threshold decode the first problems side by side; its data goes to a .json file "
                "beside it",
            )
        return parser

    def _parse_ckpt_path(self) -> None:
        """Keep the command line's settings: a checkpoint stores weights and trainer state only."""

    def instantiate_classes(self) -> None:
        """Build trainer, model and data; a setting that cannot work ends with one sentence.

        What can be found without the denoiser is found before its weights are read.
        """
        self.dry_run = DryRun()
        for kind in self.dry_run.kinds:
            self.parser.add_instantiator(self.dry_run, kind)
        try:
            settings = self.config if self.subcommand is None else self.config[self.subcommand]
            check_numbers(settings, may_be_infinite)
            if self.subcommand is not None:
                self._given = settings["ckpt_path"]
                settings["ckpt_path"] = checkpoint_of(self._given, settings["trainer"])
            self._make()
        except MisconfigurationException as error:
            said = str(error).rstrip(".!")
            refuse(f"{said}; choose another setting of the trainer, or leave it out", 2)
        except (ValueError, OSError, RuntimeError, ImportError) as error:
            refuse(telling(str(error)) or type(error).__name__, 2)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return the trainer; a number of devices that is none is refused like its other settings.

        Raises:
            MisconfigurationException: If a setting of the trainer cannot work.
        """
        try:
            return super().instantiate_trainer(**kwargs)
        except TypeError as error:
            if "`devices`" not in str(error):
                raise
            raise MisconfigurationException(str(error)) from error

    def _make(self) -> None:
        made = self.dry_run.run(self._checked) if self.subcommand is not None else None
        if made is None:  # somebody needs a loaded denoiser when he is made
            super().instantiate_classes()
        else:
            self.config_init = made
            self.datamodule, self.model = self._get(made, "data"), self._get(made, "model")
            self.trainer = self.instantiate_trainer()
        self._add_trajectories()
        if self.subcommand is None:
            return
        if self.subcommand == "fit":
            self.trainer.callbacks.append(Interruption())  # type: ignore[attr-defined]
            if type(self.trainer.strategy.checkpoint_io) is TorchCheckpointIO:
                self.trainer.strategy.checkpoint_io = WholeCheckpoints()
        check(self.subcommand, self.trainer, self.model, self.datamodule)
        if made is not None:
            self.dry_run.load(self.trainer)
        check_denoiser(self.subcommand, self.trainer, self.model, self.datamodule)

    def _checked(self) -> Any:
        """Return what the configuration describes, with its settings, problems, sandbox checked."""
        assert self.subcommand is not None
        made = self.parser.instantiate_classes(self.config)
        request = self._request(self.subcommand, made[self.subcommand])
        for lack in request.lacks:
            raise ConfigurationError(f"{lack.what}; {lack.remedy}")
        check_settings(request.stage, request.settings(), request.model, request.data)
        check_problems(request.sets)
        if request.knows_prompts:
            check_prompts(request.stage, request.model, request.data)
        return made

    def _request(self, stage: str, made: Any) -> Request:
        """Return what a configuration asks for, its checkpoint checked."""
        request = self.dry_run.request(stage, made)
        check_checkpoint(request.ckpt_path, request.model)
        if stage == "fit":
            check_seed(self._given, request.ckpt_path, request.model.rounds.seed)
        return request

    def _add_trajectories(self) -> None:
        """Add the callback that ``--trajectories`` asks for."""
        path = self._get(self.config_init, "trajectories")
        if path is None:
            return
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        added = Trajectories(path)
        callbacks.append(added)
        if not any(isinstance(callback, BasePredictionWriter) for callback in callbacks):
            # Nobody keeps the predictions, which may be many.
            self.trainer.limit_predict_batches = 1
            self.datamodule.eval_batch_size = min(self.datamodule.eval_batch_size, added.count)


class PlanCLI(UnmaskCLI):
    """``lit-unmask plan``: takes what ``fit`` takes, and says what that or ``--stage`` would do.

    A command line of its own, so that the others need not build its parser. Its dry run is all
    that it makes.
    """

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        """Add the parser of ``fit`` with options of its own."""
        from lit_unmask.preflight.assumptions import Assumptions

        fit = self._prepare_subcommand_parser(Trainer, "fit", description=_PLAN)
        fit.add_argument(
            "--stage",
            type=Literal["fit", "validate", "test", "predict"],
            default="fit",
            help="What is planned.",
        )
        fit.add_class_arguments(Assumptions, "plan")
        fit.add_argument("--json", action="store_true", help="Print JSON alone.")
        self._subcommand_parsers = {"plan": fit}
        parser.add_subcommands().add_subcommand("plan", fit, help=_PLAN)

    def _make(self) -> None:
        from lit_unmask.preflight.plan import Plan, make_plan

        def act() -> Plan:
            made = self.parser.instantiate_classes(self.config)["plan"]
            return make_plan(self._request(made["stage"], made))

        plan = self.dry_run.run(act)
        if plan is None:
            raise ValueError(
                f"{self.dry_run.missed} is known once it is loaded, and plan loads nothing; start "
                "the run itself, or choose a StockDenoiser"
            )
        self.plan = plan

    def _run_subcommand(self, subcommand: str) -> None:
        """Print the plan; exits with 1 if something is missing."""
        from lit_unmask.preflight.printing import as_json, rendered

        if self.config["plan"]["json"]:
            print(json.dumps(as_json(self.plan), indent=2))
        else:
            get_console().print(rendered(self.plan))
        sys.exit(int(bool(self.plan.missing)))


def _warn_of_early_flags(arguments: list[str]) -> None:
    """Warn of settings in front of a configuration, which overwrites those that it has too."""
    flags = [argument.split("=")[0] for argument in arguments if argument.startswith("--")]
    last = max((place for place, flag in enumerate(flags) if flag == "--config"), default=0)
    early = [flag for flag in flags[:last] if "." in flag or flag == "--seed_everything"]
    if early:
        said = "a --config overwrites what stands in front of it; put it before"
        print(f"warning: {said} {plain(', '.join(early))}", file=sys.stderr)


class _NoTips(logging.Filter):
    """A filter that leaves out what Lightning advertises."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is of interest."""
        return "Tip: For seamless cloud" not in record.getMessage()


# Warnings about Lightning's own code, or about what is meant to be so.
_EXPECTED_WARNINGS = (
    r".*isinstance\(treespec, LeafSpec\)",
    r"You have overridden `on_after_batch_transfer`",
    r".*does not have many workers",
    r"LightningCLI's args parameter is intended",
)


_NO_TIPS = _NoTips()
# What a disk says that is full, or lets nobody read or write.
_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    for pattern in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", pattern)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_NO_TIPS)
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    try:
        given = sys.argv[1:] if arguments is None else arguments
        first = given[0] if given else None
        _warn_of_early_flags(given)
        end_with_first_rank()
        kind = PlanCLI if first == "plan" else UnmaskCLI
        kind(with_bases(given), first)
    except ConfigurationError as error:
        refuse(error)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        where = f"{error.filename}: " if error.filename else ""
        refuse(
            f"{where}{error.strerror}; what was there before is whole: make room, or mend who may "
            "read and write there, and start again, fit with --ckpt_path=last"
        )
    except SIGTERMException as end:
        sys.exit(_TERMINATED if end.code is None else end.code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
