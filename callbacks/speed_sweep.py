"""The frontier of one policy that is conditioned on speed, during training."""

from __future__ import annotations

from itertools import pairwise

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lit_unmask.callbacks.accuracy_nfe import logged_means
from lit_unmask.callbacks.figures import accuracy_axes, tensorboard
from matplotlib.figure import Figure

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import Evaluation
from lit_unmask.evaluation.metrics import RolloutMetrics
from lit_unmask.policies import Conditioned
from lit_unmask.tasks.datamodule import attached_data
from lit_unmask.training.module import LitUnmask
from lit_unmask.training.rewards import NearTarget
from lit_unmask.types import Problem

# Mean accuracy, NFE and reward at each speed.
Sweep = dict[float, dict[str, float]]


class SpeedSweep(Callback):
    """Validates a policy that is conditioned on the speed at several speeds, on the same noise.

    The module itself validates at the speed of its policy, a
    :class:`~lit_unmask.policies.Conditioned`. This callback logs
    ``val/<set>/speed-<speed>/accuracy``, ``nfe``, ``reward`` and the like, each rewarded for its
    own speed, and of all speeds together

    - ``val/<set>/speeds/reward``, the mean reward, by which a checkpoint can be chosen;
    - ``val/<set>/speeds/nfe_trend``, the share of neighbouring speeds at which the forwards rise
      minus the share at which they fall: -1 for a policy that obeys weights of speed, 1 for one
      that obeys numbers of forwards;
    - ``val/<set>/speeds/off_target``, the mean of ``|nfe / target - 1|``, if the reward is
      :class:`~lit_unmask.training.rewards.NearTarget`;

    and draws accuracy against forwards as ``val/<set>/speeds``.

    Args:
        speeds: Speeds to validate at, in rising order.
    """

    def __init__(self, speeds: list[float]) -> None:
        self.speeds = [float(speed) for speed in speeds]
        self._metrics: dict[tuple[str, float], RolloutMetrics] = {}

    def check_run(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the speeds before any work starts."""
        if stage not in ("fit", "validate"):
            return
        assert isinstance(pl_module, LitUnmask)
        if not self.speeds or any(a >= b for a, b in pairwise(self.speeds)) or self.speeds[0] < 0:
            raise ConfigurationError(
                f"speeds={self.speeds} of SpeedSweep must be at least one number from 0, in "
                "rising order"
            )
        if not isinstance(pl_module.policy, Conditioned):
            raise ConfigurationError(
                f"SpeedSweep is of no use to model.policy {type(pl_module.policy).__name__}, which "
                "is not conditioned on a speed; leave it out, or use a network with speed=True in "
                "lit_unmask.policies.Conditioned"
            )

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
        """Run the policy at every speed on the batch."""
        assert isinstance(pl_module, LitUnmask) and isinstance(pl_module.policy, Conditioned)
        if trainer.sanity_checking:
            return
        name = list(attached_data(trainer).val)[dataloader_idx]
        length = pl_module.eval_decoding.gen_length
        for speed in self.speeds:
            result = pl_module.evaluate(batch, pl_module.policy.at(speed))
            condition = torch.full_like(result.correct, speed)
            rewards = pl_module.reward(result.correct, result.nfe, length, condition)
            if (name, speed) not in self._metrics:
                self._metrics[name, speed] = RolloutMetrics().to(pl_module.device)
            self._metrics[name, speed].update(result, rewards)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the speeds and draw them."""
        if trainer.sanity_checking:
            return
        assert isinstance(pl_module, LitUnmask)
        for name in attached_data(trainer).val:
            values = {
                speed: logged_means(
                    pl_module, self._metrics.pop((name, speed)), f"val/{name}/speed-{speed:g}"
                )
                for speed in self.speeds
            }
            summary = _summary(values)
            if isinstance(pl_module.reward, NearTarget):
                missed = [abs(point["nfe"] / speed - 1) for speed, point in values.items()]
                summary["off_target"] = sum(missed) / len(missed)
            for metric, value in summary.items():
                pl_module.log(f"val/{name}/speeds/{metric}", value, sync_dist=True)
            writer = tensorboard(trainer)
            if writer is not None and trainer.is_global_zero:
                writer.add_figure(f"val/{name}/speeds", _figure(values, name), trainer.global_step)


def _summary(values: Sweep) -> dict[str, float]:
    """Return the mean reward of all speeds, and whether forwards rise or fall with them."""
    signs = [
        float(after["nfe"] > before["nfe"]) - float(after["nfe"] < before["nfe"])
        for before, after in pairwise(values.values())
    ]
    return {
        "reward": sum(point["reward"] for point in values.values()) / len(values),
        "nfe_trend": sum(signs) / max(len(signs), 1),
    }


def _figure(values: Sweep, title: str) -> Figure:
    """Draw accuracy against forwards, with the speed beside each point."""
    figure, axes = accuracy_axes(title)
    points = {speed: (point["nfe"], point["accuracy"]) for speed, point in values.items()}
    axes.plot(*zip(*points.values(), strict=True), "o-", color="#000000", linewidth=0.8)
    for speed, point in points.items():
        axes.annotate(f"{speed:g}", point, textcoords="offset points", xytext=(6, -10), fontsize=8)
    return figure
