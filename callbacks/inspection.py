"""Looks inside the policy at intervals: figures, numbers and their data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from lit_unmask.callbacks.accuracy_nfe import Baseline
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


@dataclass(frozen=True)
class _Set:
    """A problem set, and what it is called in tags and folders."""

    name: str
    problems: ProblemSet


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

    ```yaml
    callbacks:
      - class_path: lit_unmask.callbacks.Inspection
        init_args:
          every_n_validations: 5
          count: 32
          baselines:
            threshold-0.9:
              policy:
                class_path: lit_unmask.policies.ConfidenceThreshold
                init_args: {threshold: 0.9}
              block_length: 64
    ```

    Args:
        every_n_validations: Validations from one look to the next.
        count: Problems of each set to look at.
        baselines: Policies by name whose curves are drawn too; they run once a set.
        threshold: Confidence at which the step function is drawn.

    Raises:
        ConfigurationError: If a count is below 1 or the threshold outside ``[0, 1]``; in ``setup``
            if a block length does not fit or the trainer has no TensorBoard logger.
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

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the baselines and the logger before any work starts."""
        if stage == "predict" or is_fast_dev_run(trainer):
            return
        assert isinstance(pl_module, LitUnmask)
        for label, baseline in self.baselines.items():
            try:
                baseline.decoding(pl_module.eval_decoding)
            except ValueError as error:
                raise ConfigurationError(f"baseline {label} of Inspection: {error}") from error
        if not any(isinstance(logger, TensorBoardLogger) for logger in trainer.loggers):
            raise ConfigurationError(
                "Inspection writes beside the logs of a TensorBoardLogger and trainer.logger has "
                "none; add one or remove the callback"
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the validation sets, if it is time."""
        if trainer.sanity_checking or is_fast_dev_run(trainer):
            return
        if trainer.state.fn == TrainerFn.FITTING:
            self._validations += 1
            if (self._validations - 1) % self.every_n_validations:
                return
            self._last_round = trainer.global_step
        self._look(trainer, pl_module, _validation_sets(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the validation sets with the last weights, unless that has just been done."""
        if self._last_round != trainer.global_step and not is_fast_dev_run(trainer):
            self._look(trainer, pl_module, _validation_sets(trainer))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the test sets."""
        if not is_fast_dev_run(trainer):
            data = attached_data(trainer)
            sets = [_Set(f"{name}-test", problems) for name, problems in data.test.items()]
            self._look(trainer, pl_module, sets)

    def _look(self, trainer: Trainer, module: LightningModule, sets: list[_Set]) -> None:
        """Look at every set on the first rank, while the others wait."""
        assert isinstance(module, LitUnmask)
        if trainer.is_global_zero:
            for one in sets:
                policy = self._find(module, module.policy, module.eval_decoding, one)
                if one.name not in self._references:
                    self._references[one.name] = {
                        label: self._find(module, b.policy, b.decoding(module.eval_decoding), one)
                        for label, b in self.baselines.items()
                    }
                title = one.name
                if trainer.state.fn == TrainerFn.FITTING:
                    title += f", round {trainer.global_step}"
                portrait = Portrait(title, policy, self._references[one.name], self.threshold)
                self._write(trainer, one, portrait)
        trainer.strategy.barrier("inspection")

    def _find(
        self, module: LitUnmask, policy: Policy, decoding: Decoding, problem_set: _Set
    ) -> Findings:
        problems = list(islice(problem_set.problems, self.count))
        with _evaluating(policy):
            return Findings.of(
                record(module.denoiser, policy, problems, decoding, module.rounds.seed)
            )

    def _write(self, trainer: Trainer, problem_set: _Set, portrait: Portrait) -> None:
        """Write files, then figures and scalars to the loggers."""
        step, prefix = trainer.global_step, f"inspection/{problem_set.name}"
        # Not trainer.log_dir, which waits for all ranks while only the first one is here.
        logs = next(one for one in trainer.loggers if isinstance(one, TensorBoardLogger))
        folder = Path(logs.log_dir) / prefix / str(step)
        folder.mkdir(parents=True, exist_ok=True)
        data = {
            "set": problem_set.name,
            "round": step,
            "problems": [one.uid for one in islice(problem_set.problems, self.count)],
            "policy": portrait.policy.as_json(),
            "baselines": {name: one.as_json() for name, one in portrait.baselines.items()},
        }
        replace_file(folder / "data.json", json.dumps(data, allow_nan=False).encode())
        writer = tensorboard(trainer)
        for name, figure in figures(portrait).items():
            # Drawn once for the file and for TensorBoard, where add_figure would draw it again.
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            pixels = np.asarray(canvas.buffer_rgba())[..., :3]
            image = BytesIO()
            imsave(image, pixels, format="png")
            replace_file(folder / f"{name}.png", image.getvalue())
            if writer is not None:
                writer.add_image(f"{prefix}/{name}", pixels, step, dataformats="HWC")
        scalars = {
            f"{prefix}/{name}": value
            for name, value in portrait.policy.scalars.items()
            if value == value  # NaN: there was nothing to measure
        }
        for logger in trainer.loggers:
            logger.log_metrics(scalars, step)


def _validation_sets(trainer: Trainer) -> list[_Set]:
    return [_Set(name, problems) for name, problems in attached_data(trainer).val.items()]


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
