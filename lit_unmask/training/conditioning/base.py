"""What every way of drawing wanted speeds has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from lit_unmask.errors import ConfigurationError
from lit_unmask.randomness import SPEED, uniform
from lit_unmask.training.rewards import SpeedReward


@dataclass(frozen=True)
class Asked:
    """Finished rollouts and the speed that was wanted of each.

    Attributes:
        correct: ``[B]`` float32 verdicts in ``[0, 1]``.
        nfe: ``[B]`` int64 steps that each rollout was charged for.
        speed: ``[B]`` float32.
    """

    correct: Tensor
    nfe: Tensor
    speed: Tensor


class Pace(ABC):
    """Draws the wanted speed of each group, rewards rollouts for it, and keeps count of them.

    Attributes:
        labels: Names of the ranges of speeds that are logged apart, in rising order.
    """

    labels: list[str]

    def draw(self, problems: Tensor, seed: int) -> Tensor:
        """Return the wanted speed of each group, ``[P]`` float32.

        A speed follows from the problem and the seed alone, so that neither batches, ranks nor
        resumed runs change it.

        Args:
            problems: ``[P]`` int64, a number for each problem.
            seed: Of the round.
        """
        numbers = uniform(seed, problems, torch.zeros_like(problems), 1, SPEED)
        return self.speeds(numbers[:, 0])

    @property
    @abstractmethod
    def limits(self) -> tuple[float, float]:
        """Least and largest speed that is drawn."""

    @abstractmethod
    def speeds(self, uniforms: Tensor) -> Tensor:
        """Return the speeds at uniform numbers ``[P]`` in ``[0, 1)``, rising with them."""

    @abstractmethod
    def places(self, speed: Tensor) -> Tensor:
        """Return the place within ``labels`` of each speed, ``[B]`` int64."""

    def rewards(self, reward: SpeedReward, rollouts: Asked, length: int) -> Tensor:
        """Return the rewards of training rollouts, ``[B]`` float32.

        Args:
            reward: The formula.
            rollouts: What is rewarded.
            length: Generation length **L**.
        """
        return reward(rollouts.correct, rollouts.nfe, length, rollouts.speed)

    @abstractmethod
    def check(self, reward: SpeedReward, length: int) -> None:
        """Check that the speeds can be had, and that the reward is about such speeds.

        Args:
            reward: The module's reward, which validation is scored with.
            length: Generation length **L**.

        Raises:
            ConfigurationError: If not.
        """

    def close_round(self, rollouts: Asked) -> dict[str, float]:
        """Take note of the policy's own rollouts of a round; every rank calls it.

        Args:
            rollouts: Those of this rank.

        Returns:
            Scalars to log by name, the same on all ranks: mean accuracy and NFE of each range of
            speeds that the round had.
        """
        rows = torch.stack(
            [torch.ones_like(rollouts.correct), rollouts.correct, rollouts.nfe.float()], dim=1
        )
        totals = rows.new_zeros(len(self.labels), 3).index_add_(
            0, self.places(rollouts.speed), rows
        )
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(totals)
        means = {
            place: (correct / count, nfe / count)
            for place, (count, correct, nfe) in enumerate(totals.tolist())
            if count
        }
        scalars = self._adapt({place: nfe for place, (_, nfe) in means.items()})
        for place, (accuracy, nfe) in means.items():
            label = self.labels[place]
            scalars |= {f"speed/{label}/accuracy": accuracy, f"speed/{label}/nfe": nfe}
        return scalars

    def _adapt(self, nfe: dict[int, float]) -> dict[str, float]:
        """Adapt to the mean NFE of each place over all ranks; returns more scalars to log."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned.

        Raises:
            ConfigurationError: If it is of other speeds.
        """
        if state:
            raise ConfigurationError(
                f"the checkpoint has {', '.join(state)} of another model.pace than "
                f"{type(self).__name__}; use the one that it was trained with, or no checkpoint"
            )
