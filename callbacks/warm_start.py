"""A cheap start for full diffusion: imitate a heuristic before the first round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lit_unmask.errors import ConfigurationError
from lit_unmask.policies.base import Policy
from lit_unmask.tasks.datamodule import attached_data, is_fast_dev_run
from lit_unmask.training.demonstrations import Demonstrated, Demonstrator, demonstrate
from lit_unmask.training.experts import check_imitator
from lit_unmask.training.imitation import imitation_loss, in_view
from lit_unmask.training.module import LitUnmask
from lit_unmask.types import Steps


@dataclass(frozen=True)
class Teaching:
    """How the expert is imitated.

    Attributes:
        problems: Training problems that the expert solves; its correct answers are imitated.
        epochs: Passes over its steps.
        batch_size: Steps a gradient update.
        learning_rate: Learning rate of Adam.
    """

    problems: int = 64
    epochs: int = 10
    batch_size: int = 256
    learning_rate: float = 3e-3


class WarmStart(Callback):
    """Teaches the policy to imitate an expert before the first round.

    A policy that has learned nothing rarely solves a problem in full diffusion, and without a
    reward there is no gradient. Teacher forcing on the correct answers of a heuristic, which may
    have blocks of its own, is the cheap way out (the offline warm start of later papers; expert
    steering in arXiv 2512.09106 serves the same end). A run that begins from a checkpoint is not
    taught again. For more problems than one process can show in a minute, record them
    (:class:`~lit_unmask.callbacks.Demonstrate`) and train on the store
    (:class:`~lit_unmask.training.demonstrations.ImitationData`).

    Example: ``configs/dultra.yaml``.

    Args:
        expert: Policy to imitate.
        block_length: Block length of the expert.
        teaching: Amount of imitation.
    """

    def __init__(
        self,
        expert: Policy,
        block_length: int,
        teaching: Teaching = Teaching(),
    ) -> None:
        self.expert, self.block_length, self.teaching = expert, block_length, teaching

    def check_run(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the policy can be taught, before any work starts.

        Raises:
            ConfigurationError: If it cannot, or the block lengths do not fit.
        """
        if stage != "fit":
            return
        assert isinstance(pl_module, LitUnmask)
        block_length = pl_module.decoding.block_length
        if self.block_length < 1 or block_length % self.block_length:
            raise ConfigurationError(
                f"WarmStart: block_length={self.block_length} of the expert must divide the "
                f"policy's block_length={block_length}, or it opens what the policy cannot"
            )
        check_imitator(pl_module.policy, pl_module.denoiser)

    setup = check_run

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Teach on the first rank and hand the weights to the others."""
        assert isinstance(pl_module, LitUnmask)
        if trainer.global_step > 0 or trainer.ckpt_path:
            return
        if trainer.is_global_zero:
            shown = self._demonstrate(trainer, pl_module)
            steps = in_view(
                shown.correct_steps, pl_module.policy.signals, pl_module.decoding.block_length
            )
            if not len(steps):
                rank_zero_warn(
                    f"{type(self.expert).__name__} with block_length={self.block_length} solved "
                    "none of the problems; the policy starts untaught"
                )
            else:
                readings = {
                    "imitation/loss": self._teach(pl_module, steps),
                    "imitation/steps": len(steps),
                    "imitation/row_forwards": shown.ledger.computed,
                }
                for logger in trainer.loggers:
                    logger.log_metrics(readings, 0)
        weights = trainer.strategy.broadcast(pl_module.policy.state_dict())
        pl_module.policy.load_state_dict(weights)

    def _demonstrate(self, trainer: Trainer, module: LitUnmask) -> Demonstrated:
        count = 2 if is_fast_dev_run(trainer) else self.teaching.problems
        task = attached_data(trainer).train
        assert task is not None
        decoding = replace(module.decoding, block_length=self.block_length)
        who = Demonstrator(
            module.denoiser, self.expert.to(module.device), decoding, module.rounds.seed,
            module.grader, module.policy.signals,
            lambda problems: module.collector.prompts(problems, 1, module.rounds.seed),
        )  # fmt: skip
        return demonstrate(who, list(islice(task, count)), module.notify)

    def _teach(self, module: LitUnmask, steps: Steps) -> float:
        """Imitate; returns the mean loss of the last epoch, in nats a step."""
        settings = self.teaching
        optimizer = torch.optim.Adam(module.policy.parameters(), lr=settings.learning_rate)
        generator = torch.Generator().manual_seed(module.rounds.seed)
        losses: list[float] = []
        for _ in range(settings.epochs):
            order = torch.randperm(len(steps), generator=generator)
            losses = []
            for rows in order.split(settings.batch_size):
                part = steps.select(rows.to(module.device))
                loss = imitation_loss(module.policy(part.observation), part.chosen)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(float(loss.detach()))
        return sum(losses) / len(losses)
