"""Speeds that groups of training rollouts are conditioned on: what all ways of drawing share."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import Conditioned, Policy
from lit_unmask.randomness import SPEED, uniform
from lit_unmask.training.rewards import SpeedReward
from lit_unmask.types import SPEED as SPEED_SIGNAL


@dataclass(frozen=True)
class ConditionedRollouts:
    """Finished rollouts and the speed that each was conditioned on.

    Attributes:
        correct: ``[B]`` float32 verdicts in ``[0, 1]``.
        nfe: ``[B]`` int64 steps that each rollout was charged for.
        speed: ``[B]`` float32.
    """

    correct: Tensor
    nfe: Tensor
    speed: Tensor


class Condition(ABC):
    """Draws the speed that each group is conditioned on, rewards for it, and keeps count.

    Attributes:
        labels: Names of the ranges of speeds that are logged apart, in rising order.
    """

    labels: list[str]

    def draw(self, problems: Tensor, seed: int) -> Tensor:
        """Return the speed that each group is conditioned on, ``[P]`` float32.

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

    def rewards(self, reward: SpeedReward, rollouts: ConditionedRollouts, length: int) -> Tensor:
        """Return the rewards of training rollouts, ``[B]`` float32."""
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

    def close_round(self, rollouts: ConditionedRollouts) -> dict[str, float]:
        """Take note of the policy's own rollouts of a round; every rank calls it.

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
                f"the checkpoint has {', '.join(state)} of another model.condition than "
                f"{type(self).__name__}; use the one that it was trained with, or no checkpoint"
            )


class Listed(Condition):
    """Speeds from a list, all with the same probability.

    Args:
        name: What to call the values in a message.
        values: In rising order.

    Raises:
        ValueError: If there are none, or they do not rise.
    """

    def __init__(self, name: str, values: Sequence[float]) -> None:
        if not values or any(a >= b for a, b in itertools.pairwise(values)):
            raise ValueError(f"{name}={list(values)} must be at least one number, in rising order")
        self._values = [float(value) for value in values]
        self.labels = [f"{value:g}" for value in self._values]

    @property
    def limits(self) -> tuple[float, float]:
        """Least and largest speed."""
        return self._values[0], self._values[-1]

    def speeds(self, uniforms: Tensor) -> Tensor:
        """Return the speeds at uniform numbers; see :meth:`Condition.speeds`."""
        places = (uniforms * len(self._values)).long().clamp(max=len(self._values) - 1)
        return torch.tensor(self._values, device=uniforms.device)[places]

    def places(self, speed: Tensor) -> Tensor:
        """Return the value that each speed is nearest to; see :meth:`Condition.places`."""
        values = torch.tensor(self._values, device=speed.device)
        return (speed[:, None] - values).abs().argmin(1)


def check_conditioned(policy: Policy) -> None:
    """Check that a policy which is conditioned on a speed has one wherever it is run.

    Raises:
        ConfigurationError: If it would only have one in training.
    """
    if SPEED_SIGNAL in policy.signals:
        raise ConfigurationError(
            f"model.policy {type(policy).__name__} is conditioned on a speed and has none outside "
            "of training; put it into lit_unmask.policies.Conditioned(speed=..., policy=...)"
        )


def check_condition(
    condition: Condition | None, policy: Policy, reward: SpeedReward, length: int
) -> None:
    """Check that what trains a policy at many speeds fits together.

    Args:
        condition: Draws the speeds.
        policy: The policy to train.
        reward: The module's reward, which validation is scored with.
        length: Generation length **L**.

    Raises:
        ConfigurationError: If the policy is conditioned on a speed and nobody draws one, or the
            other way round, or the speeds of condition, policy and reward do not fit.
    """
    check_conditioned(policy)
    if condition is None:
        if isinstance(policy, Conditioned):
            raise ConfigurationError(
                f"model.policy is conditioned on speed={policy.speed:g} and model.condition is "
                "not set; set it, for instance to lit_unmask.training.conditioning.AlphaRange, or "
                "train a network with speed=False"
            )
        return
    if not isinstance(policy, Conditioned):
        raise ConfigurationError(
            f"model.condition {type(condition).__name__} draws speeds and model.policy "
            f"{type(policy).__name__} is not conditioned on any; make its network with speed=True "
            "and put it into lit_unmask.policies.Conditioned, or leave model.condition out"
        )
    condition.check(reward, length)
    low, high = condition.limits
    if not low <= policy.speed <= high:
        raise ConfigurationError(
            f"speed={policy.speed:g} of model.policy, at which it is validated, lies outside of "
            f"what model.condition draws; it must be from {low:g} to {high:g}"
        )
    if reward.condition != policy.speed:
        raise ConfigurationError(
            f"model.reward scores validation at speed {reward.condition:g}, and model.policy is "
            f"validated at speed={policy.speed:g}; set both to one value"
        )
