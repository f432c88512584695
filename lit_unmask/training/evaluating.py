"""The Lightning shell around evaluation: problems in, accuracy and forwards out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

import torch
from lightning.pytorch import LightningModule

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.evaluation.decode import Evaluation, evaluate
from lit_unmask.evaluation.grading import Grader
from lit_unmask.evaluation.metrics import RolloutMetrics
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Decoding, Listener
from lit_unmask.tasks.datamodule import attached_data
from lit_unmask.training.broken import elsewhere
from lit_unmask.training.rewards import SpeedReward
from lit_unmask.types import Observation, Problem

T = TypeVar("T")


class Unregistered(Generic[T]):
    """Something that a module uses without owning it; copies of the module share it.

    A network behind it is no submodule: it enters neither checkpoints nor DDP's parameter lists,
    and a deep copy of the module, such as an average of its weights is kept in, does not copy it.
    """

    def __init__(self, value: T) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself."""
        return self


class LitEvaluate(LightningModule):
    """Decodes and grades problems with a policy: validation, test and prediction.

    Args:
        denoiser: The frozen dLLM; it is neither trained nor stored in checkpoints.
        policy: Learned policy or heuristic.
        eval_decoding: How problems are decoded.
        reward: Trade between correctness and speed, which is logged beside them.
        grader: Where verifiers run, while other rows decode.
        eval_seed: Seed of the noise.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        policy: Policy,
        eval_decoding: Decoding,
        reward: SpeedReward,
        grader: Grader,
        eval_seed: int,
    ) -> None:
        super().__init__()
        self._denoiser = Unregistered(denoiser)
        self.policy, self.eval_decoding, self.reward = policy, eval_decoding, reward
        self.grader, self.eval_seed = grader, eval_seed
        self.metrics = torch.nn.ModuleDict()
        self._listeners: Unregistered[list[Listener]] = Unregistered([])
        # What predict does with a batch; a callback may put something else in its place.
        self.predict_batch: Callable[[list[Problem]], list[dict[str, Any]]] | None = None

    @property
    def denoiser(self) -> Denoiser:
        """The frozen denoiser."""
        return self._denoiser.value

    @property
    def listeners(self) -> list[Listener]:
        """Those who are told about the progress of rollouts."""
        return self._listeners.value

    def forward(self, observation: Observation) -> Any:
        """Return the policy's distribution over actions for each row of the observation."""
        return self.policy(observation)

    def notify(self, progress: Any) -> None:
        """Pass the progress of a rollout on to everyone who listens."""
        for listener in self.listeners:
            listener(progress)

    def total(self, count: float) -> int:
        """Return the sum of a count over the ranks.

        Raises:
            NotFinite: If one of them says NaN, which it does in the place of a count when its round
                is broken; all ranks then stop at the same place.
        """
        counts = torch.tensor(float(count), device=self.device)
        found = float(self.trainer.strategy.reduce(counts, reduce_op="sum"))
        if math.isnan(found):
            raise elsewhere()
        return int(found)

    def log_once(self, values: Mapping[str, Any]) -> None:
        """Log ``train/<name>``, means over the ranks, for this round alone.

        What is logged by ``log`` is repeated until the epoch ends.
        """
        means = {
            f"train/{name}": float(
                self.trainer.strategy.reduce(torch.as_tensor(value, device=self.device).float())
            )
            for name, value in values.items()
        }
        for logger in self.loggers:
            logger.log_metrics(means, self.global_step)

    def evaluate(
        self,
        problems: Sequence[Problem],
        policy: Policy | None = None,
        decoding: Decoding | None = None,
    ) -> Evaluation:
        """Decode and grade problems with the module's policy, or with another one."""
        return evaluate(
            self.denoiser, policy or self.policy, problems, decoding or self.eval_decoding,
            self.eval_seed, self.notify, self.grader,
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
        if self.predict_batch is not None:
            return self.predict_batch(batch)
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
        metrics.update(result, rewards, self.eval_decoding.by_kind(result.price))
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
