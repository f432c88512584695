"""Learning-rate schedules over training rounds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class Schedule(ABC):
    """A factor on the learning rate for every round."""

    @abstractmethod
    def factor(self, number: int, rounds: int) -> float:
        """Return the factor for round ``number`` of ``rounds``, from 0."""

    def build(self, optimizer: Optimizer, rounds: int) -> LambdaLR:
        """Return the scheduler of an optimizer over ``rounds`` training rounds."""
        return LambdaLR(optimizer, lambda number: self.factor(number, rounds))


@dataclass(frozen=True)
class WarmupCosine(Schedule):
    """Linear warm-up, then a cosine fall to 0.

    Attributes:
        warmup_rounds: Rounds of linear warm-up from 0.
    """

    warmup_rounds: int = 100

    def __post_init__(self) -> None:
        if self.warmup_rounds < 0:
            raise ValueError(f"warmup_rounds={self.warmup_rounds} must be at least 0")

    def factor(self, number: int, rounds: int) -> float:
        """Return the factor for round ``number`` of ``rounds``, from 0."""
        if number < self.warmup_rounds:
            return (number + 1) / self.warmup_rounds
        progress = (number - self.warmup_rounds) / max(rounds - self.warmup_rounds, 1)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


@dataclass(frozen=True)
class WarmupStableDecay(Schedule):
    """Linear warm-up, a plateau, then a linear fall to zero.

    Attributes:
        warmup_rounds: Rounds of linear warm-up from 0.
        decay_share: Share of all rounds that the fall takes, in ``(0, 1]``.
    """

    warmup_rounds: int = 100
    decay_share: float = 0.4

    def __post_init__(self) -> None:
        if self.warmup_rounds < 0 or not 0 < self.decay_share <= 1:
            raise ValueError(
                f"warmup_rounds={self.warmup_rounds} must be at least 0, and decay_share="
                f"{self.decay_share} lie in (0, 1]"
            )

    def factor(self, number: int, rounds: int) -> float:
        """Return the factor for round ``number`` of ``rounds``, from 0."""
        rise = (number + 1) / max(self.warmup_rounds, 1)
        fall = (rounds - number) / (self.decay_share * rounds)
        return max(0.0, min(1.0, rise, fall))


@dataclass(frozen=True)
class Stages(Schedule):
    """One schedule for the first rounds and another one for those after them.

    Attributes:
        first: Of the first rounds.
        rounds: How many these are.
        then: Of the others.
        rate: Factor on the learning rate of the first rounds.
    """

    first: Schedule
    rounds: int
    then: Schedule
    rate: float = 1.0

    def factor(self, number: int, rounds: int) -> float:
        """Return the factor for round ``number`` of ``rounds``, from 0."""
        if number < self.rounds:
            return self.rate * self.first.factor(number, min(self.rounds, rounds))
        return self.then.factor(number - self.rounds, max(rounds - self.rounds, 1))
