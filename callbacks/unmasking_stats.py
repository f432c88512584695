"""What the policy does on its training rollouts: the watch for a collapse."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lit_unmask.callbacks.figures import tensorboard

from lit_unmask.training.module import LitUnmask
from lit_unmask.types import Experience


class UnmaskingStats(Callback):
    """Logs unmasking probabilities, empty actions, masks left and entropy of training rollouts.

    Scalars, each over a sample of the round's steps: ``unmasking/probability_mean`` and
    ``unmasking/probability_max`` (mean over steps of the mean and the largest probability among
    eligible positions), ``unmasking/empty_actions`` (share of steps at which nothing was chosen),
    ``unmasking/still_masked`` (share of positions still masked when a step begins),
    ``unmasking/entropy`` (nats a step). A collapse to fast-and-wrong shows as a mean probability
    that runs to 1 with falling entropy; a policy that has stopped choosing, as empty actions near
    1. The histogram ``unmasking/probability`` has all positions.

    Args:
        every_n_rounds: Rounds between two readings.
        max_steps: Most steps that are looked at.
    """

    def __init__(self, every_n_rounds: int = 10, max_steps: int = 512) -> None:
        self.every_n_rounds, self.max_steps = every_n_rounds, max_steps

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Experience,
        batch_idx: int,
    ) -> None:
        """Look at the policy's own steps of the round that has just been trained on."""
        if (trainer.global_step - 1) % self.every_n_rounds or not isinstance(batch, Experience):
            return
        assert isinstance(pl_module, LitUnmask)
        own = (~batch.expert[batch.steps.rollout]).nonzero().squeeze(1)
        steps = batch.steps.select(own[:: max(len(own) // self.max_steps, 1)])
        distribution = pl_module.policy(steps.observation)
        probability, eligible = distribution.probability(), steps.observation.eligible
        count = eligible.sum(1).clamp(min=1)
        values = {
            "probability_mean": (probability.sum(1) / count).mean(),
            "probability_max": probability.max(1).values.mean(),
            "empty_actions": (~steps.chosen.any(1)).float().mean(),
            "still_masked": steps.observation.masked.float().mean(),
            "entropy": distribution.entropy().mean(),
        }
        named = {f"unmasking/{name}": float(value) for name, value in values.items()}
        for logger in trainer.loggers:
            logger.log_metrics(named, trainer.global_step)
        writer = tensorboard(trainer)
        if writer is not None:
            writer.add_histogram(
                "unmasking/probability", probability[eligible], trainer.global_step
            )
