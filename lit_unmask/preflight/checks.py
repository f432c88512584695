"""Checks of a whole run before any work starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from torch.nn import Parameter

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.metrics import RolloutMetrics
from lit_unmask.files import check_folder
from lit_unmask.preflight.spec import NotLoaded
from lit_unmask.rollout.checks import check_policy, check_shapes
from lit_unmask.tasks.base import ProblemSet
from lit_unmask.tasks.datamodule import TaskDataModule
from lit_unmask.training.conditioning import check_conditioned
from lit_unmask.training.demonstrations import ImitationData
from lit_unmask.training.finished_answers import check_data
from lit_unmask.training.module import LitUnmask

# Sets of at most so many problems are tokenised as a whole to find prompts that are too long.
# Larger ones are drawn from a seed, and the first of them are like the others.
_WHOLE = 16384
_FIRST = 256
# What the progress bar shows of a round.
_SHOWN = ("loss", "reward", "nfe", "accuracy")

# Settings that Lightning takes as they come, with the least value that means something.
_LEAST = {"log_every_n_steps": 0, "check_val_every_n_epoch": 1, "num_sanity_val_steps": -1}


@runtime_checkable
class ReadsProblems(Protocol):
    """A callback with problem sets of its own."""

    def problem_sets(self, stage: str) -> dict[str, ProblemSet]:
        """Return the sets that a stage reads, by what to call them in messages."""
        ...


@runtime_checkable
class ChecksItself(Protocol):
    """A callback that knows without the denoiser's weights whether it can do its work."""

    def check_run(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse settings that cannot work; Lightning has it do so again, in its ``setup``.

        It need not look at whether the denoiser is loaded. Where it asks for more than config and
        tokenizer say, it is left off, and finds the rest when it is called again.
        """
        ...


def check(stage: str, trainer: Trainer, model: LitUnmask, data: TaskDataModule) -> None:
    """Check what can be known of a run without the weights of its denoiser.

    Args:
        stage: ``fit``, ``validate``, ``test`` or ``predict``.
        trainer: The trainer, for its folders and its number of ranks; its loggers may be made
            later, and have ``save_dir`` alone.
        model: The module, for its policy.
        data: The problems.

    Raises:
        ConfigurationError: If the policy cannot be trained, a problem set that the stage needs is
            missing, unreadable or too small, a folder cannot be written, or a metric that a
            callback waits for is never logged.
        ValueError: If a batch does not divide.
    """
    # As Lightning has them when the stage begins.
    data.trainer, trainer.datamodule = trainer, data  # type: ignore[attr-defined]
    check_settings(stage, trainer, model, data)
    sets = problems_of(stage, data)
    check_problems(sets)
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    if stage == "fit":
        with suppress(NotLoaded):
            check_data(model, data)
        _check_batches(trainer, data)
        _check_callbacks(trainer, data)
    _check_sizes(sets, trainer.world_size)
    for callback in callbacks:
        if isinstance(callback, ChecksItself):
            with suppress(NotLoaded):
                callback.check_run(trainer, model, stage)
    folders = {trainer.default_root_dir, *(logger.save_dir for logger in trainer.loggers)}
    for callback in trainer.checkpoint_callbacks:
        folders.add(getattr(callback, "dirpath", None))
    for folder in sorted(str(folder) for folder in folders if folder):
        check_folder(folder)


def check_denoiser(stage: str, trainer: Trainer, model: LitUnmask, data: TaskDataModule) -> None:
    """Check what only a loaded denoiser says of a run; see :func:`check`.

    Raises:
        ConfigurationError: If too few prompts are short enough, or demonstrations are of another
            denoiser.
        ValueError: See :func:`check_prompts`.
    """
    check_prompts(stage, model, data)
    if stage == "fit":
        data.train_dataloader()
        if isinstance(data, ImitationData):
            data.check_denoiser(model.denoiser)
    _check_sizes(problems_of(stage, data), trainer.world_size)


def check_prompts(stage: str, model: LitUnmask, data: TaskDataModule) -> None:
    """Check shapes and prompts, for which config and tokenizer of a denoiser are enough.

    Raises:
        ConfigurationError: If no prompt is short enough.
        ValueError: If one is too long for the denoiser, or a compiled one would be called with any
            shapes.
    """
    for decoding in (model.decoding, model.eval_decoding):
        check_shapes(model.denoiser, decoding)
    if stage == "fit":
        data.limit_prompts(model.denoiser)
    longest = max(model.decoding.gen_length, model.eval_decoding.gen_length)
    for problems in problems_of(stage, data).values():
        left = islice(problems, _FIRST if len(problems) > _WHOLE else None)
        while some := list(islice(left, _FIRST)):
            model.denoiser.check_length(model.denoiser.encode(some), longest)


def check_settings(stage: str, trainer: Any, model: LitUnmask, data: TaskDataModule) -> None:
    """Refuse what cannot work on any machine; needs no weights and reads no problem.

    Args:
        stage: See :func:`check`, also for the others.
        trainer: A trainer, or its arguments by the same names.
        model: The module.
        data: The problems.

    Raises:
        ConfigurationError: If a set that the stage needs is not given, the policy cannot be
            trained, or settings exclude each other.
        ValueError: If there is no training set, or the batch does not divide among the ranks.
    """
    check_conditioned(model.policy)
    for decoding in (model.decoding, model.eval_decoding):
        check_policy(model.policy, decoding)
        model.denoiser.check_signals(model.policy.signals | decoding.signals)
    if stage == "fit":
        _check_fit(trainer, model)
        if not isinstance(data, ImitationData):  # which has a store in the place of problems
            data.check_batch(trainer.world_size)
        return
    needed = "val" if stage == "validate" else "test"
    if not getattr(data, needed):
        raise ConfigurationError(f"data.{needed} is not set; {stage} needs at least one named set")


def _check_fit(trainer: Any, model: LitUnmask) -> None:
    model.check_trainable(trainer.accumulate_grad_batches)
    if "16" in str(trainer.precision):
        raise ConfigurationError(
            f"trainer.precision={trainer.precision} must be 32-true, or importance ratios are off; "
            "the frozen denoiser has its own model.denoiser.dtype"
        )
    if trainer.overfit_batches:
        raise ConfigurationError(
            f"trainer.overfit_batches={trainer.overfit_batches} would replace the order of "
            "problems that resuming relies on; make data.train small instead"
        )
    if trainer.reload_dataloaders_every_n_epochs:
        raise ConfigurationError(
            "trainer.reload_dataloaders_every_n_epochs would begin with the first order again; "
            "leave it out, the order is another in each epoch"
        )
    if (trainer.gradient_clip_val or 0) < 0:
        raise ConfigurationError(
            f"trainer.gradient_clip_val={trainer.gradient_clip_val} must be at least 0, or null"
        )
    for name, least in _LEAST.items():
        value = getattr(trainer, name)
        if value is not None and value < least:
            raise ConfigurationError(f"trainer.{name}={value} must be at least {least}")
    if 0 in (trainer.max_steps, trainer.max_epochs, trainer.val_check_interval):
        raise ConfigurationError(
            f"none of trainer.max_steps={trainer.max_steps}, max_epochs={trainer.max_epochs} and "
            f"val_check_interval={trainer.val_check_interval} may be 0; leave it out, or set "
            "trainer.limit_val_batches=0 to validate nothing"
        )
    try:
        model.make_optimizer([Parameter(torch.zeros(1))])
    except ValueError as error:
        raise ConfigurationError(f"model.optimizer: {error}; choose another value") from error
    if trainer.max_steps == -1 and trainer.max_epochs == -1:
        raise ConfigurationError(
            "neither trainer.max_steps nor trainer.max_epochs is set; the learning-rate schedule "
            "needs the number of rounds"
        )


def _check_callbacks(trainer: Trainer, data: TaskDataModule) -> None:
    """Refuse callbacks that Lightning would refuse after its start, or when they first save."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    known = all(
        type(found).__module__.startswith(("lit_unmask.", "lightning.")) for found in callbacks
    )
    for callback in callbacks:
        if isinstance(callback, LearningRateMonitor) and not trainer.loggers:
            raise ConfigurationError(
                "trainer.logger=false and the callback LearningRateMonitor exclude each other; set "
                "a logger, or leave the callback out"
            )
        waits = isinstance(callback, ModelCheckpoint) or (
            isinstance(callback, EarlyStopping) and callback.strict
        )
        # What callbacks of others log, nobody knows.
        if waits and known and not _is_logged(callback.monitor, data):
            raise ConfigurationError(
                f"monitor={callback.monitor} of {type(callback).__name__} is not logged; choose a "
                f"metric that begins with train/, or one of {', '.join(_validated(data))}"
            )


def _is_logged(monitor: str | None, data: TaskDataModule) -> bool:
    if monitor is None or monitor in _SHOWN or monitor.startswith("train/"):
        return True
    # Baselines and speeds have names of their own behind that of the set.
    rest = [monitor.removeprefix(f"val/{name}/") for name in data.val]
    return monitor in _validated(data) or any("/" in one for one in rest if one != monitor)


def _validated(data: TaskDataModule) -> list[str]:
    return [f"val/{name}/{metric}" for name in data.val for metric in RolloutMetrics().means]


def may_be_infinite(name: str) -> bool:
    """Return whether a setting, by its dotted name, may be infinite, which is no limit."""
    # What ``trainer`` holds is other people's.
    limits = ("clip_high", "gamma", "target_kl", "values")
    return name.startswith("trainer.") or name.rpartition(".")[2] in limits


def check_problems(sets: Mapping[str, ProblemSet]) -> None:
    """Check that problems can be had, and answers graded; needs no model.

    Args:
        sets: What a stage reads, by the name of the setting.

    Raises:
        ConfigurationError: If a set cannot be read or graded; the message names its setting.
    """
    for name, problems in sets.items():
        try:
            problems.check()
        except ConfigurationError as error:
            raise ConfigurationError(f"{name}: {error}") from error


def problems_of(
    stage: str, data: TaskDataModule, callbacks: Sequence[object] = ()
) -> dict[str, ProblemSet]:
    """Return the sets that a stage reads, those of callbacks too, by the name of their setting."""
    sets = {"data.train": data.train} if stage == "fit" and data.train is not None else {}
    kinds = {"fit": ("val", "test", "tuning"), "validate": ("val",), "test": ("test", "tuning")}
    for kind in kinds.get(stage, ("test",)):
        sets |= {f"data.{kind}.{name}": task for name, task in getattr(data, kind).items()}
    for callback in callbacks:
        if isinstance(callback, ReadsProblems):
            sets |= callback.problem_sets(stage)
    return sets


def _check_batches(trainer: Trainer, data: TaskDataModule) -> None:
    rounds = len(data.train_dataloader())
    every = trainer.val_check_interval
    if type(every) is int and every > rounds and trainer.check_val_every_n_epoch is not None:
        raise ConfigurationError(
            f"trainer.val_check_interval={every} must be at most the {rounds} rounds of an epoch; "
            "set trainer.check_val_every_n_epoch=null to count over epochs"
        )


def _check_sizes(sets: Mapping[str, ProblemSet], ranks: int) -> None:
    for name, problems in sets.items():
        if len(problems) < ranks:
            raise ConfigurationError(
                f"{name} has {len(problems)} problems, fewer than the {ranks} ranks"
            )
