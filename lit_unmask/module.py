"""The Lightning shell around rollouts and the policy-gradient update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from lit_unmask.collection import Collector, Expert
from lit_unmask.denoisers.base import Denoiser
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation import Evaluation, evaluate
from lit_unmask.grading import Grader, InProcess
from lit_unmask.grpo import GRPO, GRPOLoss, mixture_log_prob, step_weights
from lit_unmask.metrics import RolloutMetrics
from lit_unmask.policies.base import Policy
from lit_unmask.rewards import MultiplicativeSpeed, SpeedReward
from lit_unmask.rollout import Decoding, Listener
from lit_unmask.rounds import OptimizerFactory, Rounds, reference_optimizer, replay
from lit_unmask.schedule import Schedule, WarmupCosine
from lit_unmask.sharing.training import checkpoint_entry
from lit_unmask.tasks.datamodule import attached_data
from lit_unmask.types import Experience, Observation, Problem


class LitUnmask(LightningModule):
    """Learns when to unmask: GRPO with a frozen masked diffusion LM as the environment.

    One training batch is one *round*: ``group_size`` rollouts of every prompt, graded, turned into
    advantages, and ``num_iterations`` gradient iterations on the recorded steps (arXiv 2512.09106,
    section 4). ``trainer.global_step`` counts rounds.

    Args:
        denoiser: The frozen dLLM; it is neither trained nor stored in checkpoints.
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
    ) -> None:
        super().__init__()
        # In a tuple, because a submodule would enter checkpoints and DDP's parameter lists.
        self._frozen = (denoiser,)
        self.policy = policy
        self.decoding, self.eval_decoding = decoding, eval_decoding or decoding
        self.reward, self.grpo, self.rounds = reward, grpo, rounds
        self.make_optimizer, self.schedule, self.grader = optimizer, schedule, grader
        self.experts = experts or {}
        self.metrics = torch.nn.ModuleDict()
        self.listeners: list[Listener] = []
        self._iteration = 0

    @property
    def denoiser(self) -> Denoiser:
        """The frozen denoiser."""
        return self._frozen[0]

    def forward(self, observation: Observation) -> Any:
        """Return the policy's distribution over actions for each row of the observation."""
        return self.policy(observation)

    def setup(self, stage: str) -> None:
        """Move the denoiser to this rank's device; see :meth:`check_trainable` for ``fit``."""
        self.denoiser.to(self.device)
        if stage == "fit":
            self.check_trainable(self.trainer.accumulate_grad_batches)

    def teardown(self, stage: str) -> None:
        """Stop grading workers, and follow the policy, which Lightning moves back to the CPU."""
        self.grader.close()
        self.denoiser.to("cpu")

    def check_trainable(self, accumulate_grad_batches: int) -> None:
        """Check that ``fit`` makes sense.

        Raises:
            ConfigurationError: If there is nothing to train, or two settings exclude each other.
        """
        if not self.policy.has_parameters:
            raise ConfigurationError(
                f"policy {type(self.policy).__name__} has no parameters to train; "
                "use `lit-unmask validate`, or give fit a LearnedPolicy"
            )
        if accumulate_grad_batches > 1 and self.rounds.num_iterations > 1:
            raise ConfigurationError(
                f"trainer.accumulate_grad_batches={accumulate_grad_batches} and "
                f"rounds.num_iterations={self.rounds.num_iterations} exclude each other; raise "
                "data.batch_size instead of accumulating"
            )
        if self.experts and self.decoding.block_length < self.decoding.gen_length:
            raise ConfigurationError(
                f"decoding.block_length={self.decoding.block_length} keeps the policy from acting "
                "as model.experts do; steer by experts in full diffusion "
                f"(block_length={self.decoding.gen_length}), or leave them out"
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and its schedule, stepped once a round."""
        optimizer = self.make_optimizer(self.policy.parameters())
        schedule = self.schedule.build(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn training problems into experience; leave other batches as they are."""
        if not self.trainer.training:
            return batch
        return self.collect(batch)

    def collect(self, problems: Sequence[Problem]) -> Experience:
        """Roll out, grade and score one round of problems of this rank."""
        seed = self.rounds.seed * 2**32 + self.global_step
        return self.collector.play(problems, seed, self.notify)

    @property
    def collector(self) -> Collector:
        """What plays this rank's training rounds."""
        return Collector(
            self.denoiser, self.policy, self.decoding, self.reward, self.rounds, self.grader,
            self.experts,
        )  # fmt: skip

    def notify(self, progress: Any) -> None:
        """Pass the progress of a rollout on to everyone who listens."""
        for listener in self.listeners:
            listener(progress)

    def training_step(self, batch: Experience, batch_idx: int) -> Tensor:
        """Return the GRPO loss of the recorded steps under the current policy."""
        total = self._global_count(len(batch.nfe))
        # Steps of zero advantage only have an entropy to add to the loss. A round of nothing else
        # still needs a backward pass, which other ranks wait for, and readings to log.
        signal = batch.advantage[batch.steps.rollout] != 0
        signal |= self.rounds.entropy_weight > 0
        if not signal.any():
            signal[: self.rounds.replay_chunk] = True
        steps = batch.steps.select(signal)
        advantage = batch.advantage[steps.rollout]
        # DDP averages gradients over ranks, where the mean over all rollouts needs their sum.
        weight = step_weights(batch.nfe, steps.rollout, total) * self.trainer.world_size
        log_prob, entropy = replay(self, steps, self.rounds)
        if self.experts:
            group, expert = self.rounds.group_size, batch.expert[steps.rollout]
            mixed = mixture_log_prob(log_prob, group, self.collector.group_size - group)
            log_prob = torch.where(expert, mixed, log_prob)
        result = self.grpo(log_prob, steps.log_prob, advantage, weight)
        self._moved = result.kl
        self._log_update(result, entropy.detach().mean(), batch)
        return result.loss - self.rounds.entropy_weight * (weight * entropy).sum()

    def _global_count(self, count: int) -> int:
        """Return the sum of a count over the ranks."""
        counts = torch.tensor(float(count), device=self.device)
        return int(self.trainer.strategy.reduce(counts, reduce_op="sum"))

    def _balance(self, seconds: float) -> Tensor:
        """Return mean over maximum of a duration of the ranks, in ``(0, 1]``."""
        times = self.all_gather(torch.tensor(seconds, device=self.device))
        assert isinstance(times, Tensor)
        return times.mean() / times.max()

    def _log_update(self, result: GRPOLoss, entropy: Tensor, batch: Experience) -> None:
        sync = self.trainer.world_size > 1
        values: dict[str, Tensor | float] = {
            **batch.diagnostics,
            "loss": result.loss.detach(),
            "entropy": entropy,
            "kl": result.kl,
            "iterations": self._iteration + 1.0,
            "clip_ratio/low": result.clip_low,
            "clip_ratio/high": result.clip_high,
        }
        # The acting policy is the current one until its first update: anything but 1 is a bug.
        values["ratio_first" if self._iteration == 0 else "ratio_mean"] = result.ratio_mean
        if sync:
            values["rank_balance"] = self._balance(batch.diagnostics["rollout_seconds"])
        self.log_dict({f"train/{n}": v for n, v in values.items()}, batch_size=1, sync_dist=sync)
        shown = {"reward": values["reward"], "nfe": values["nfe"], "accuracy": values["accuracy"]}
        self.log_dict(shown, batch_size=1, prog_bar=True, logger=False, sync_dist=sync)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Repeat the update on the experience of the round, up to ``num_iterations`` times."""
        for iteration in range(self.rounds.num_iterations):
            self._iteration = iteration
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
            # The mean over ranks, so that all of them stop together.
            moved = self.trainer.strategy.reduce(self._moved, reduce_op="mean")
            if self.rounds.is_far(float(moved)):
                break

    def evaluate(
        self,
        problems: Sequence[Problem],
        policy: Policy | None = None,
        decoding: Decoding | None = None,
    ) -> Evaluation:
        """Decode and grade problems with the module's policy, or with another one."""
        return evaluate(
            self.denoiser, policy or self.policy, problems, decoding or self.eval_decoding,
            self.rounds.seed, self.notify, self.grader,
        )  # fmt: skip

    # Lightning's hooks take any output, though their annotations say tensors and mappings.
    def validation_step(  # type: ignore[override]
        self, batch: list[Problem], batch_idx: int, dataloader_idx: int = 0
    ) -> Evaluation:
        """Evaluate one batch; logs ``val/<set>/accuracy``, ``nfe`` and the like."""
        return self._evaluation_step("val", self._set_names("val")[dataloader_idx], batch)

    def test_step(  # type: ignore[override]
        self, batch: list[Problem], batch_idx: int, dataloader_idx: int = 0
    ) -> Evaluation:
        """Evaluate one batch; logs ``test/<set>/accuracy``, ``nfe`` and the like."""
        return self._evaluation_step("test", self._set_names("test")[dataloader_idx], batch)

    def predict_step(
        self, batch: list[Problem], batch_idx: int, dataloader_idx: int = 0
    ) -> list[dict[str, Any]]:
        """Return one record a problem: question, completion, verdict and NFE."""
        return self.evaluate(batch).records(batch)

    def _set_names(self, stage: str) -> list[str]:
        return list(getattr(attached_data(self.trainer), stage))

    def _evaluation_step(self, stage: str, name: str, problems: list[Problem]) -> Evaluation:
        result = self.evaluate(problems)
        # ModuleDict keys may not hold dots, which names of sets may.
        key = f"{stage}/{name}".replace(".", "_")
        if key not in self.metrics:
            self.metrics[key] = RolloutMetrics().to(self.device)
        metrics = self.metrics[key]
        assert isinstance(metrics, RolloutMetrics)
        rewards = self.reward(result.correct, result.nfe, self.eval_decoding.gen_length)
        metrics.update(result, rewards)
        for metric, mean in metrics.means.items():
            self.log(
                f"{stage}/{name}/{metric}", mean, on_step=False, on_epoch=True,
                add_dataloader_idx=False, prog_bar=metric in ("accuracy", "nfe"),
                # Lightning would only find metrics that were there at its first search.
                metric_attribute=f"metrics.{key}.means.{metric}",
            )  # fmt: skip
        return result

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the policy's weights alone; metrics have no state between epochs."""
        full = super().state_dict(*args, **kwargs)
        return {name: value for name, value in full.items() if not name.startswith("metrics.")}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note what the policy is, and which denoiser and settings it was trained with."""
        trained_with = self.denoiser.identity, self.decoding, self.reward, self.rounds.seed
        checkpoint["denoiser"] = self.denoiser.identity
        checkpoint["policy"] = checkpoint_entry(self.policy, *trained_with)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the stored policy is one like ours; the denoiser may be another.

        Raises:
            ConfigurationError: If its weights have other names or shapes.
        """
        stored, own = (
            {name: tuple(value.shape) for name, value in state.items()}
            for state in (checkpoint["state_dict"], self.state_dict())
        )
        different = sorted(n for n in stored.keys() | own.keys() if stored.get(n) != own.get(n))
        if different:
            raise ConfigurationError(
                f"the checkpoint's weights do not fit model.policy {type(self.policy).__name__} "
                f"({len(different)} differ, {different[0]} for one); use the policy settings that "
                "it was trained with, or no checkpoint"
            )
