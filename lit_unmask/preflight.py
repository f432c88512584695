"""Checks of a whole run before any work starts."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path

from lightning.pytorch import Trainer

from lit_unmask.errors import ConfigurationError
from lit_unmask.module import LitUnmask
from lit_unmask.tasks.datamodule import TaskDataModule

# Prompts that are tokenised to find too long ones; later ones are checked when they are met.
_PROMPTS_CHECKED = 256


def check(stage: str, trainer: Trainer, model: LitUnmask, data: TaskDataModule) -> None:
    """Check that a run can work.

    Args:
        stage: ``fit``, ``validate``, ``test`` or ``predict``.
        trainer: The trainer, for its folders.
        model: The module, for its policy and denoiser.
        data: The problems.

    Raises:
        ConfigurationError: If the policy cannot be trained, a problem set that the stage needs is
            missing, a prompt is too long for the denoiser, or a folder cannot be written.
    """
    if stage == "fit":
        model.check_trainable(trainer.accumulate_grad_batches)
        if data.train is None:
            raise ConfigurationError("data.train is not set; fit needs a training task")
    needed = {"validate": "val", "test": "test", "predict": "test"}.get(stage)
    if needed and not getattr(data, needed):
        raise ConfigurationError(f"data.{needed} is not set; {stage} needs at least one named set")
    _check_prompts(model, data)
    folders = {trainer.default_root_dir, *(logger.save_dir for logger in trainer.loggers)}
    for folder in sorted(str(f) for f in folders if f):
        _check_folder(folder)


def _check_prompts(model: LitUnmask, data: TaskDataModule) -> None:
    sets = [*data.val.values(), *data.test.values(), *data.tuning.values()]
    if data.train is not None:
        sets.append(data.train)
    lengths = [model.decoding.gen_length, model.eval_decoding.gen_length]
    for task in sets:
        problems = list(islice(task, _PROMPTS_CHECKED))
        prompt = model.denoiser.encode(problems)
        model.denoiser.check_length(prompt, max(lengths))


def _check_folder(folder: str) -> None:
    path = Path(folder)
    while not path.exists():
        path = path.parent
    try:
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"the folder {folder} cannot be written ({error.strerror}); choose another one with "
            "--trainer.default_root_dir or the logger's save_dir"
        ) from error
