"""Accuracy against forwards during training, beside named baselines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lit_unmask.callbacks.figures import path_figure, tensorboard

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import Evaluation
from lit_unmask.evaluation.metrics import RolloutMetrics
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Decoding
from lit_unmask.rollout.checks import check_policy
from lit_unmask.tasks.datamodule import attached_data
from lit_unmask.training.module import LitUnmask
from lit_unmask.types import Problem


@dataclass(frozen=True)
class Baseline:
    """A policy to compare with.

    Attributes:
        policy: Usually a heuristic.
        block_length: Block length to decode it with; None takes the one of validation.
    """

    policy: Policy
    block_length: int | None = None

    def decoding(self, validation: Decoding) -> Decoding:
        """Return how to decode it, given how validation decodes."""
        return replace(validation, block_length=self.block_length or validation.block_length)


def decodings(
    baselines: dict[str, Baseline], validation: Decoding, callback: str
) -> dict[str, Decoding]:
    """Return how each baseline of a callback is decoded, given how validation decodes.

    Raises:
        ConfigurationError: If a block length or a policy does not fit.
    """
    found = {}
    for name, baseline in baselines.items():
        try:
            found[name] = baseline.decoding(validation)
            check_policy(baseline.policy, found[name])
        except ValueError as error:
            raise ConfigurationError(f"baseline {name} of {callback}: {error}") from error
    return found


def logged_means(module: LightningModule, metrics: RolloutMetrics, prefix: str) -> dict[str, float]:
    """Return the means of accuracy, NFE and the like, and log them under a prefix."""
    values = {name: float(mean.compute()) for name, mean in metrics.means.items()}
    for name, value in values.items():
        module.log(f"{prefix}/{name}", value, sync_dist=True)
    return values


class AccuracyNFE(Callback):
    """Evaluates named baselines on the validation sets and draws the policy's path.

    The module itself logs ``val/<set>/accuracy``, ``val/<set>/nfe`` and
    ``val/<set>/tokens_per_forward`` of its policy. This callback runs every baseline once on the
    same problems with the same noise, logs ``val/<set>/<baseline>/accuracy`` and the like, and
    draws ``val/<set>/frontier`` in TensorBoard after each validation: the policy's path over
    training among the baselines. The same data goes to ``trainer.logged_metrics``.

    Example: ``configs/demo.yaml``.

    Args:
        baselines: Baselines by name.
    """

    def __init__(self, baselines: dict[str, Baseline] | None = None) -> None:
        self.baselines = baselines or {}
        self.path: dict[str, list[tuple[int, float, float]]] = {}
        self.reference: dict[str, dict[str, tuple[float, float]]] = {}
        self._metrics: dict[tuple[str, str], RolloutMetrics] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the path so far, so that a resumed run draws all of it."""
        return {"path": self.path}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue a stored path."""
        self.path = state_dict["path"]

    def check_run(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the baselines before any work starts."""
        assert isinstance(pl_module, LitUnmask)
        decodings(self.baselines, pl_module.eval_decoding, "AccuracyNFE")

    setup = check_run

    def on_validation_batch_end(  # type: ignore[override]
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Evaluation,
        batch: list[Problem],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Run the baselines on the batch, unless they have been run on the set before."""
        assert isinstance(pl_module, LitUnmask)
        name = list(attached_data(trainer).val)[dataloader_idx]
        if trainer.sanity_checking or name in self.reference:
            return
        for label, decoding in decodings(
            self.baselines, pl_module.eval_decoding, "AccuracyNFE"
        ).items():
            result = pl_module.evaluate(batch, self.baselines[label].policy, decoding)
            rewards = pl_module.reward(result.correct, result.nfe, decoding.gen_length)
            if (name, label) not in self._metrics:
                self._metrics[name, label] = RolloutMetrics().to(pl_module.device)
            self._metrics[name, label].update(result, rewards)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the baselines and draw the path."""
        if trainer.sanity_checking:
            return
        for name in attached_data(trainer).val:
            if name not in self.reference:
                self.reference[name] = {}
                for label in self.baselines:
                    metrics = self._metrics.pop((name, label))
                    means = logged_means(pl_module, metrics, f"val/{name}/{label}")
                    self.reference[name][label] = means["accuracy"], means["nfe"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add this validation to the path and draw it."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        for name in attached_data(trainer).val:
            logged = trainer.callback_metrics
            accuracy, nfe = (float(logged[f"val/{name}/{key}"]) for key in ("accuracy", "nfe"))
            self.path.setdefault(name, []).append((trainer.global_step, accuracy, nfe))
            writer = tensorboard(trainer)
            if writer is not None:
                figure = path_figure(self.path[name], self.reference.get(name, {}), name)
                writer.add_figure(f"val/{name}/frontier", figure, trainer.global_step)
