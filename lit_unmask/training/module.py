"""The Lightning shell around training: rollouts and the policy-gradient update, or imitation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.denoisers.tuning import Tuning
from lit_unmask.evaluation.grading import Grader, InProcess
from lit_unmask.policies.base import Policy
from lit_unmask.policies.learned import behind_threshold
from lit_unmask.policies.networks.reference import check_finite
from lit_unmask.rollout import Decoding
from lit_unmask.training import checkpoints
from lit_unmask.training.broken import BrokenRounds
from lit_unmask.training.collection import Collector
from lit_unmask.training.conditioning import Condition
from lit_unmask.training.demonstrations import ImitationData
from lit_unmask.training.evaluating import LitEvaluate, Unregistered
from lit_unmask.training.experts import Expert
from lit_unmask.training.finished_answers import (
    FinishedAnswers,
    Lessons,
    Teacher,
    check_data,
    hired,
)
from lit_unmask.training.grpo import GRPO
from lit_unmask.training.imitation import behaviour_cloning_loss, in_view
from lit_unmask.training.joint import ENTRY, Joint, check_joint
from lit_unmask.training.objective import Counts, Update, update
from lit_unmask.training.rewards import MultiplicativeSpeed, SpeedReward
from lit_unmask.training.schedule import Schedule, WarmupCosine
from lit_unmask.training.settings import OptimizerFactory, Rounds, reference_optimizer
from lit_unmask.types import Experience, Problem, Steps


class LitUnmask(LitEvaluate):
    """Learns when to unmask: GRPO with a frozen masked diffusion LM as the environment.

    One training batch is one *round*: ``group_size`` rollouts of every prompt, graded, turned into
    advantages, and ``num_iterations`` gradient iterations on the recorded steps (arXiv 2512.09106,
    section 4). ``trainer.global_step`` counts rounds. The first of them may teach from finished
    answers instead, without rewards. With
    :class:`~lit_unmask.training.demonstrations.ImitationData` a batch is recorded steps, and the
    policy is to do the same.

    Args:
        denoiser: The dLLM; frozen and not stored in checkpoints, unless ``train_denoiser`` says so.
        policy: The policy to train; a heuristic can be validated but not trained.
        decoding: Decoding of training rollouts and of validation.
        eval_decoding: Decoding of validation and test where it differs.
        reward: Trade between correctness and speed.
        grpo: Clipped policy-gradient objective.
        rounds: Group size, iterations and seed.
        optimizer: Makes the optimizer of the policy's parameters.
        schedule: Learning rate over the rounds.
        grader: Where verifiers run, while other rows decode.
        experts: By name, policies whose rollouts join each group in full diffusion.
        condition: Draws the speed of each group, for a policy that is conditioned on one.
        teaching: What the first rounds teach from finished answers, if they do.
        train_denoiser: Weights of the denoiser that are trained too; None leaves it frozen.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        policy: Policy,
        decoding: Decoding,
        eval_decoding: Decoding | None = None,
        reward: SpeedReward = MultiplicativeSpeed(alpha=1.0),  # noqa: B008  (stateless)
        grpo: GRPO = GRPO(),  # noqa: B008  (frozen)
        rounds: Rounds = Rounds(),  # noqa: B008  (frozen)
        optimizer: OptimizerFactory = reference_optimizer,
        schedule: Schedule = WarmupCosine(),  # noqa: B008  (frozen)
        grader: Grader = InProcess(),  # noqa: B008  (stateless)
        experts: dict[str, Expert] | None = None,
        condition: Condition | None = None,
        teaching: FinishedAnswers | None = None,
        train_denoiser: Tuning | None = None,
    ) -> None:
        super().__init__(denoiser, policy, eval_decoding or decoding, reward, grader, rounds.seed)
        self.decoding, self.grpo, self.rounds = decoding, grpo, rounds
        self.make_optimizer, self.schedule = optimizer, schedule
        self.experts, self.condition, self.teaching = experts or {}, condition, teaching
        self._teacher = Unregistered[Teacher | None](None)
        self.train_denoiser, self.joint = train_denoiser, cast(Joint | None, None)
        self._broken, self._iteration = Unregistered(BrokenRounds()), 0
        self._told = torch.zeros(()), torch.zeros(())  # how far the policy has moved, and the loss

    @property
    def trained(self) -> list[nn.Parameter]:
        """All weights that are trained."""
        return [*self.policy.parameters(), *(self.joint.weights.values() if self.joint else [])]

    def setup(self, stage: str) -> None:
        """Move what is not trained to this rank's device, and check what ``fit`` needs."""
        self._move(self.device)
        self.joint = self.joint or Joint.of(self)
        if stage == "fit":
            self.check_trainable(self.trainer.accumulate_grad_batches)
            check_data(self, self._data)
            if isinstance(self._data, ImitationData):
                self._data.check_denoiser(self.denoiser)
            if self.teaching is not None:
                self._teacher = Unregistered(hired(self.teaching, self))

    def teardown(self, stage: str) -> None:
        """Stop grading workers, and follow the policy, which Lightning moves back to the CPU."""
        self.grader.close()
        self._move("cpu")

    def _move(self, device: torch.device | str) -> None:
        """Move what is used and not trained."""
        experts = [*self.experts.values(), *([self.teaching.expert] if self.teaching else [])]
        for held in (self.denoiser, *(expert.policy for expert in experts)):
            if held is not None:
                held.to(device).eval()

    def check_trainable(self, accumulate_grad_batches: int) -> None:
        """Check that ``fit`` makes sense.

        Raises:
            ConfigurationError: If there is nothing to train, or settings exclude each other.
        """
        self.rounds.check(self.policy, accumulate_grad_batches)
        self.collector.check()
        check_joint(self)
        if self.teaching is not None:
            self.teaching.check(self.policy, self.decoding, self.denoiser)

    @property
    def _teaches(self) -> bool:
        """Whether this round teaches from finished answers."""
        return self.teaching is not None and self.global_step < self.teaching.rounds

    @property
    def _data(self) -> Any:
        """Where batches come from; Lightning sets the attribute without declaring it."""
        return getattr(self._trainer, "datamodule", None)

    @property
    def _objective(self) -> str:
        imitates = isinstance(self._data, ImitationData)
        return checkpoints.IMITATION if imitates else checkpoints.REWARDS

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and its schedule, stepped once a round."""
        optimizer = self.make_optimizer(self.trained)
        stages = self.teaching.stages(self.schedule) if self.teaching else self.schedule
        schedule = stages.build(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Leave the optimizer's moments behind with the teaching; rewards have other gradients."""
        if self.teaching is not None and self.global_step == self.teaching.rounds:
            for optimizer in self.trainer.optimizers:
                optimizer.state.clear()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn training problems into experience, or lessons; leave other batches as they are."""
        if not self.trainer.training:
            return batch
        return self._broken.value.play(self, batch, self._play)

    def _play(self, batch: Any) -> Any:
        if isinstance(batch, Steps):
            return batch
        if self._teaches:
            assert self._teacher.value is not None
            return self._teacher.value.lesson(batch, self.global_step, self.notify)
        return self.collect(batch)

    def collect(self, problems: Sequence[Problem]) -> Experience:
        """Roll out, grade and score one round of problems of this rank."""
        return self.collector.play(problems, self.rounds.of_round(self.global_step), self.notify)

    @property
    def collector(self) -> Collector:
        """What plays this rank's training rounds."""
        return Collector(
            self.denoiser, behind_threshold(self.policy), self.decoding, self.reward, self.rounds,
            self.grader, self.experts, self.condition, self.joint,
        )  # fmt: skip

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of recorded steps under the current policy."""
        return self._broken.value.loss(self, batch, self._loss_of)

    def _loss_of(self, batch: Experience | Lessons | Steps) -> Tensor:
        if isinstance(batch, Steps):
            return self._imitate(batch)
        if isinstance(batch, Lessons):
            return self._imitate(batch.draw(self._iteration).to(self.device), batch)
        counts = Counts(self.total(len(batch.decisions)), self.trainer.world_size)
        policy = behind_threshold(self.policy)
        acting = self.joint.acting(policy) if self.joint else policy
        result = update(acting, batch, self.grpo, self.rounds, counts)
        self._told = result.surrogate.kl, result.loss.detach()
        self._log_update(result, batch)
        return result.loss

    def _imitate(self, steps: Steps, lessons: Lessons | None = None) -> Tensor:
        """Return the loss of doing what was demonstrated."""
        world, total = self.trainer.world_size, self.total(len(steps))
        policy, caution = behind_threshold(self.policy), 1.0
        if lessons is not None:
            policy, caution = lessons.taught(policy), lessons.caution
        seen = in_view(steps, policy.signals, self.decoding.block_length)
        loss, readings = behaviour_cloning_loss(policy, seen, total, world, caution)
        readings["loss"], self._told = loss.detach(), (loss.new_zeros(()), loss.detach())
        self.log("loss", readings["loss"], prog_bar=True, logger=False, batch_size=1)
        if lessons is None:
            named = {f"train/{name}": value for name, value in readings.items()}
            self.log_dict(named, batch_size=1, sync_dist=world > 1)
        elif self._iteration == 0:
            self.log_once(readings | lessons.readings)
        return loss

    def _log_update(self, result: Update, batch: Experience) -> None:
        sync = self.trainer.world_size > 1
        values = batch.diagnostics | result.scalars(self._iteration)
        if sync:
            seconds = torch.tensor(batch.diagnostics["rollout_seconds"], device=self.device)
            times: Any = self.all_gather(seconds)
            values["rank_balance"] = times.mean() / times.max()
        self.log_dict({f"train/{n}": v for n, v in values.items()}, batch_size=1, sync_dist=sync)
        shown = {"reward": values["reward"], "nfe": values["nfe"], "accuracy": values["accuracy"]}
        self.log_dict(shown, batch_size=1, prog_bar=True, logger=False, sync_dist=sync)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Repeat the update on the experience of the round, up to ``num_iterations`` times."""
        imitates = self._teaches or self._objective == checkpoints.IMITATION
        lessons = self.teaching.updates if self.teaching and self._teaches else 1
        for iteration in range(lessons if imitates else self.rounds.num_iterations):
            self._iteration = iteration
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
            moved = self._broken.value.update(self, optimizer, self._told, iteration + 1)
            if self._broken.value.left_out or (not imitates and self.rounds.is_far(moved)):
                break

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note what the policy is, and which denoiser and settings it was trained with."""
        check_finite(self, checkpoint["state_dict"], "what is to be saved")
        trained_with = self.denoiser.identity, self.decoding, self.reward, self.rounds.seed
        checkpoint["denoiser"] = self.denoiser.identity
        checkpoint["condition"] = self.condition.state_dict() if self.condition else {}
        checkpoint["policy"] = checkpoints.checkpoint_entry(self.policy, *trained_with)
        checkpoint["teaching"] = self._teacher.value and str(self._teacher.value.folder)
        checkpoint |= {ENTRY: self.joint.state_dict()} if self.joint else {}
        checkpoints.note_objective(checkpoint, self._objective)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the stored policy is one like ours; the denoiser may be another.

        A run that learns from rewards takes the weights alone of one that imitated.

        Raises:
            ConfigurationError: If its weights, condition, optimizer or trained denoiser differ.
        """
        fits = self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING
        if checkpoints.check_fitting(checkpoint, self, self._objective if fits else None):
            rank_zero_info("the checkpoint is of a run with another objective: weights alone used")
        if fits and self._teacher.value is not None:
            self._teacher.value.go_on(checkpoint)
        if self.condition is not None:
            self.condition.load_state_dict(checkpoint.get("condition", {}))
