"""What the policy does on its training rollouts: the watch for a collapse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lit_unmask.callbacks.figures import tensorboard

from lit_unmask.policies.learned import behind_threshold
from lit_unmask.training.module import LitUnmask
from lit_unmask.types import Experience

# Share of the newest round in running means: about the last ten rounds count.
_SHARE = 0.1
# Least fall of the mean reward that is told.
_FALL = 0.1


class UnmaskingStats(Callback):
    """Logs unmasking probabilities, empty actions, masks left and entropy of training rollouts.

    Scalars, each over a sample of the round's steps: ``unmasking/probability_mean`` and
    ``unmasking/probability_max`` (mean over steps of the mean and the largest probability among
    eligible positions), ``unmasking/empty_actions`` (share of steps at which nothing was chosen),
    ``unmasking/still_masked`` (share of positions still masked when a step begins),
    ``unmasking/entropy`` (nats a step). A collapse to fast-and-wrong shows as a mean probability
    that runs to 1 with falling entropy; a policy that has stopped choosing, as empty actions near
    1. The histogram ``unmasking/probability`` has all positions.

    It warns, once for each sign, when actions are nearly all empty, nearly certain, or open all at
    once, and when the reward has fallen for long below what it was; the warning names the best
    checkpoint so far.

    Args:
        every_n_rounds: Rounds between two readings.
        max_steps: Most steps that are looked at.
        stop: Whether the first of these signs, on any rank, ends the training, as
            ``EarlyStopping`` would.
    """

    def __init__(self, every_n_rounds: int = 10, max_steps: int = 512, stop: bool = False) -> None:
        self.every_n_rounds, self.max_steps, self.stop = every_n_rounds, max_steps, stop
        self._watch = _Watch()

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
        if not isinstance(batch, Experience):
            return
        assert isinstance(pl_module, LitUnmask)
        self._watch.follow(batch.diagnostics)
        if (trainer.global_step - 1) % self.every_n_rounds:
            return
        own = (~batch.expert[batch.steps.rollout]).nonzero().squeeze(1)
        steps = batch.steps.select(own[:: max(len(own) // self.max_steps, 1)])
        distribution = behind_threshold(pl_module.policy)(steps.observation)
        probability, eligible = distribution.probability(), steps.observation.eligible
        count = eligible.sum(1).clamp(min=1)
        values = {
            "probability_mean": (probability.sum(1) / count).mean(),
            "probability_max": probability.max(1).values.mean(),
            "empty_actions": (~steps.chosen.any(1)).float().mean(),
            "still_masked": steps.observation.masked.float().mean(),
            "entropy": distribution.entropy().mean(),
        }
        signs = self._watch.signs({name: float(value) for name, value in values.items()})
        for sign in signs:
            rank_zero_warn(f"round {trainer.global_step}: {sign}; {_kept(trainer)}")
        if self.stop and trainer.strategy.reduce_boolean_decision(bool(signs), all=False):
            trainer.should_stop = True
            rank_zero_info("UnmaskingStats.stop ends the training")
        named = {f"unmasking/{name}": float(value) for name, value in values.items()}
        for logger in trainer.loggers:
            logger.log_metrics(named, trainer.global_step)
        writer = tensorboard(trainer)
        if writer is not None:
            writer.add_histogram(
                "unmasking/probability", probability[eligible], trainer.global_step
            )


class _Watch:
    """Notices when a policy collapses, and says so once.

    Attributes:
        means: Running means of reward and forwards of the rounds.
        best: The same where the reward was highest.
    """

    def __init__(self) -> None:
        self.rounds = 0
        self.means = self.best = (0.0, 0.0)
        self._said: set[str] = set()

    def follow(self, diagnostics: Mapping[str, float]) -> None:
        """Take a round into account."""
        self.rounds += 1
        share = max(1 / self.rounds, _SHARE)
        now = diagnostics["reward"], diagnostics["nfe"]
        self.means = tuple(m + share * (n - m) for m, n in zip(self.means, now, strict=True))  # type: ignore[assignment]
        if self.rounds >= 1 / _SHARE and self.means[0] > self.best[0]:
            self.best = self.means

    def signs(self, values: Mapping[str, float]) -> list[str]:
        """Return what is to be said about readings, apart from what has been said already."""
        (reward, nfe), (best, then) = self.means, self.best
        found = {
            "empty": (
                values["empty_actions"] > 0.98,
                f"the policy chooses nothing at {values['empty_actions']:.0%} of its steps; raise "
                "its output_bias or confidence_gain, or teach it first (model.teaching)",
            ),
            "certain": (
                # Densities may have any entropy below 0.
                0 <= values["entropy"] < 0.02,
                f"the policy is nearly certain of all it does (entropy {values['entropy']:.3f} "
                "nats a step), so that the rollouts of a group are alike and teach nothing; lower "
                "the learning rate or rounds.num_iterations, or stop here",
            ),
            "all at once": (
                nfe < 1.5,
                f"the policy opens all at once ({nfe:.1f} forwards); lower reward.alpha",
            ),
            "fallen": (
                reward < best - max(_FALL, 0.2 * best),
                f"the reward has fallen from {best:.2f} @ {then:.1f} forwards to {reward:.2f} @ "
                f"{nfe:.1f}; lower the learning rate or rounds.num_iterations",
            ),
        }
        new = [name for name, (holds, _) in found.items() if holds and name not in self._said]
        self._said.update(new)
        return [found[name][1] for name in new]


def _kept(trainer: Trainer) -> str:
    """Say where the best policy is."""
    for callback in trainer.checkpoint_callbacks:
        path = getattr(callback, "best_model_path", "")
        if getattr(callback, "monitor", None) and path:
            return f"the best checkpoint so far is {path}"
    return "no checkpoint is kept by a validation's reward (ModelCheckpoint.monitor)"
