"""Looks inside the policy at intervals: figures, numbers and their data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from lit_unmask.callbacks.accuracy_nfe import Baseline, decodings
from lit_unmask.callbacks.figures import tensorboard
from lit_unmask.callbacks.inspection_figures import Portrait, figures
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imsave

from lit_unmask.errors import ConfigurationError
from lit_unmask.files import replace_file
from lit_unmask.inspection.inspection import Findings
from lit_unmask.inspection.trace import record
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Decoding
from lit_unmask.tasks.base import ProblemSet
from lit_unmask.tasks.datamodule import attached_data, is_fast_dev_run
from lit_unmask.training.module import LitUnmask
from lit_unmask.types import Problem

# Problem sets by what they are called in tags and folders.
_Sets = dict[str, ProblemSet]


class Inspection(Callback):
    """Draws what the policy does on the first problems of each evaluation set.

    Figures: ``order`` (when each position was committed), ``response`` (probability of opening a
    position against its confidence, beside a threshold's step function), ``pace`` (tokens committed
    a forward), ``probability`` (over time and position) and ``tail`` (end tokens and what is behind
    them). Scalars: those of :func:`lit_unmask.inspection.inspection.summary`. Both go to
    TensorBoard as ``inspection/<set>/<name>``; PNGs and ``data.json`` with all numbers to
    ``inspection/<set>/<round>`` beside the logs. Rollouts are those of an evaluation: same
    problems, same decoding, same noise.

    In ``fit`` it looks at the validation sets after the first of every ``every_n_validations``
    validations and at the end, with the weights of the last round; in ``validate`` once. ``test``
    looks at the test sets, as ``<set>-test``; the round is 0 outside ``fit``.

    Example: ``configs/base/inspection.yaml``.

    Args:
        every_n_validations: Validations from one look to the next.
        count: Problems of each set to look at.
        baselines: Policies by name whose curves are drawn too; they run once a set.
        threshold: Confidence at which the step function is drawn.

    Raises:
        ConfigurationError: If a count is below 1 or the threshold outside ``[0, 1]``; before any
            work if a baseline does not fit or the trainer has no TensorBoard logger.
    """

    def __init__(
        self,
        every_n_validations: int = 5,
        count: int = 32,
        baselines: dict[str, Baseline] | None = None,
        threshold: float = 0.9,
    ) -> None:
        if min(every_n_validations, count) < 1:
            raise ConfigurationError(
                f"every_n_validations={every_n_validations} and count={count} of Inspection must "
                "be at least 1; remove the callback to look at nothing"
            )
        if not 0 <= threshold <= 1:
            raise ConfigurationError(
                f"threshold={threshold} of Inspection must lie in [0, 1]; it is a probability"
            )
        self.every_n_validations, self.count = every_n_validations, count
        self.baselines, self.threshold = baselines or {}, threshold
        self._validations = 0
        self._last_round: int | None = None
        self._references: dict[str, dict[str, Findings]] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the number of validations so far, so that a resumed run keeps the rhythm."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue counting."""
        self._validations = state_dict["validations"]

    def check_run(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the baselines and the logger before any work starts."""
        if stage == "predict" or is_fast_dev_run(trainer):
            return
        assert isinstance(pl_module, LitUnmask)
        decodings(self.baselines, pl_module.eval_decoding, "Inspection")
        # Loggers that are made later say of what kind they will be.
        kinds = [getattr(logger, "kind", type(logger)) for logger in trainer.loggers]
        if not any(issubclass(kind, TensorBoardLogger) for kind in kinds):
            raise ConfigurationError(
                "Inspection writes beside the logs of a TensorBoardLogger and trainer.logger has "
                "none; add one or remove the callback"
            )

    setup = check_run

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the validation sets, if it is time."""
        if trainer.sanity_checking or is_fast_dev_run(trainer):
            return
        if trainer.state.fn == TrainerFn.FITTING:
            self._validations += 1
            if (self._validations - 1) % self.every_n_validations:
                return
            self._last_round = trainer.global_step
        self._look(trainer, pl_module, attached_data(trainer).val)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the validation sets with the last weights, unless that has just been done."""
        if self._last_round != trainer.global_step and not is_fast_dev_run(trainer):
            self._look(trainer, pl_module, attached_data(trainer).val)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the test sets."""
        if not is_fast_dev_run(trainer):
            test = attached_data(trainer).test
            self._look(trainer, pl_module, {f"{name}-test": test[name] for name in test})

    def _look(self, trainer: Trainer, module: LightningModule, sets: _Sets) -> None:
        """Look at every set on the first rank, while the others wait."""
        assert isinstance(module, LitUnmask)
        if trainer.is_global_zero:
            for name, problems in sets.items():
                first = list(islice(problems, self.count))
                policy = self._find(module, module.policy, module.eval_decoding, first)
                if name not in self._references:
                    ways = decodings(self.baselines, module.eval_decoding, "Inspection")
                    self._references[name] = {
                        label: self._find(module, self.baselines[label].policy, way, first)
                        for label, way in ways.items()
                    }
                fitting = trainer.state.fn == TrainerFn.FITTING
                title = f"{name}, round {trainer.global_step}" if fitting else name
                portrait = Portrait(title, policy, self._references[name], self.threshold)
                self._write(trainer, name, [one.uid for one in first], portrait)
        trainer.strategy.barrier("inspection")

    def _find(
        self, module: LitUnmask, policy: Policy, decoding: Decoding, problems: list[Problem]
    ) -> Findings:
        with _evaluating(policy):
            return Findings.of(
                record(module.denoiser, policy, problems, decoding, module.rounds.seed)
            )

    def _write(self, trainer: Trainer, name: str, uids: list[str], portrait: Portrait) -> None:
        """Write files, then figures and scalars to the loggers."""
        step, prefix = trainer.global_step, f"inspection/{name}"
        # Not trainer.log_dir, which waits for all ranks while only the first one is here.
        logs = next(one for one in trainer.loggers if isinstance(one, TensorBoardLogger))
        folder = Path(logs.log_dir) / prefix / str(step)
        folder.mkdir(parents=True, exist_ok=True)
        data = {
            "set": name,
            "round": step,
            "problems": uids,
            "policy": portrait.policy.as_json(),
            "baselines": {label: one.as_json() for label, one in portrait.baselines.items()},
        }
        replace_file(folder / "data.json", json.dumps(data, allow_nan=False).encode())
        writer = tensorboard(trainer)
        for what, figure in figures(portrait).items():
            # Drawn once for the file and for TensorBoard, where add_figure would draw it again.
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            pixels = np.asarray(canvas.buffer_rgba())[..., :3]
            image = BytesIO()
            imsave(image, pixels, format="png")
            replace_file(folder / f"{what}.png", image.getvalue())
            if writer is not None:
                writer.add_image(f"{prefix}/{what}", pixels, step, dataformats="HWC")
        scalars = {
            f"{prefix}/{what}": value
            for what, value in portrait.policy.scalars.items()
            if value == value  # NaN: there was nothing to measure
        }
        for logger in trainer.loggers:
            logger.log_metrics(scalars, step)


@contextmanager
def _evaluating(policy: Policy) -> Iterator[None]:
    """Put a policy into evaluation mode for a while, and each of its parts back as it was."""
    modes = [(part, part.training) for part in policy.modules()]
    policy.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
