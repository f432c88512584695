"""Terminal rewards that trade correctness against speed, and which advantages teach."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor


class SpeedReward(ABC):
    """A reward for finished rollouts that grows with correctness and falls with NFE.

    Args:
        alpha: Weight of speed, at least 0; 0 rewards correctness alone.

    Raises:
        ValueError: If ``alpha`` is negative.
    """

    def __init__(self, alpha: float) -> None:
        if not alpha >= 0:
            raise ValueError(f"alpha={alpha} must be at least 0; it is a weight of speed")
        self.alpha = alpha

    @property
    def condition(self) -> float:
        """The speed that the reward is about, as a policy is conditioned on it."""
        return self.alpha

    @abstractmethod
    def __call__(
        self, correct: Tensor, nfe: Tensor, length: int, condition: Tensor | None = None
    ) -> Tensor:
        """Score rollouts.

        Args:
            correct: ``[B]`` float verdicts in ``[0, 1]``.
            nfe: ``[B]`` steps that each rollout was charged for.
            length: Generation length **L**.
            condition: ``[B]`` float, the speed that each rollout was conditioned on, in place of
                the reward's own; None where all share that.

        Returns:
            ``[B]`` float rewards.
        """

    def __repr__(self) -> str:
        """Return the class and its weight, for logs."""
        return f"{type(self).__name__}(alpha={self.alpha})"


class MultiplicativeSpeed(SpeedReward):
    """``correct * ((L - min(nfe, L) + 1) / L) ** alpha``: a wrong answer earns nothing.

    From arXiv 2512.09106, section 4. A correct rollout of one step earns 1, one of ``L`` steps
    ``L ** -alpha``.
    """

    def __call__(
        self, correct: Tensor, nfe: Tensor, length: int, condition: Tensor | None = None
    ) -> Tensor:
        """Score rollouts; see :meth:`SpeedReward.__call__`."""
        saved = (length + 1 - nfe.clamp(max=length)) / length
        return correct * saved ** (self.alpha if condition is None else condition)


class AdditiveSpeed(SpeedReward):
    """``correct - alpha * nfe / L``: the ablation, in which it can pay to be fast and wrong.

    From arXiv 2512.09106, section 4 and its reward ablation.
    """

    def __call__(
        self, correct: Tensor, nfe: Tensor, length: int, condition: Tensor | None = None
    ) -> Tensor:
        """Score rollouts; see :meth:`SpeedReward.__call__`."""
        return correct - (self.alpha if condition is None else condition) * nfe / length


class NearTarget(SpeedReward):
    """``correct - alpha * |nfe / target - 1|``: what answers in about so many forwards are worth.

    It compares policies that are asked for a number of forwards;
    :class:`lit_unmask.training.conditioning.Budget` trains them with a reward of its own. Too few
    forwards cost as much as too many, as those that were left over might have made the answer
    right.

    Args:
        target: Forwards a problem that are asked for, at least 1.
        alpha: Price of missing the target by all of it, at least 0, in correct answers.

    Raises:
        ValueError: If one of them is too small.
    """

    def __init__(self, target: float, alpha: float = 1.0) -> None:
        super().__init__(alpha)
        if not target >= 1:
            raise ValueError(f"target={target} must be at least 1 forward")
        self.target = target

    @property
    def condition(self) -> float:
        """Forwards a problem."""
        return self.target

    def __call__(
        self, correct: Tensor, nfe: Tensor, length: int, condition: Tensor | None = None
    ) -> Tensor:
        """Score rollouts; see :meth:`SpeedReward.__call__`."""
        target = self.target if condition is None else condition
        return correct - self.alpha * (nfe / target - 1).abs()

    def __repr__(self) -> str:
        """Return the class and its settings, for logs."""
        return f"{type(self).__name__}(target={self.target}, alpha={self.alpha})"


class Advantages(ABC):
    """Which advantages teach."""

    @abstractmethod
    def __call__(self, advantage: Tensor) -> Tensor:
        """Return what becomes of advantages ``[B]``."""


@dataclass(frozen=True)
class AllAdvantages(Advantages):
    """All of them."""

    def __call__(self, advantage: Tensor) -> Tensor:
        """Return them."""
        return advantage


@dataclass(frozen=True)
class WinnersOnly(Advantages):
    """Those of rollouts that are clearly better than their group: losers teach nothing.

    From the released code of dUltra (arXiv 2512.21446).

    Attributes:
        threshold: Advantages below it become 0, positive, in reward (or in standard deviations,
            where rewards are divided by that).

    Raises:
        ValueError: If it is not positive.
    """

    threshold: float = 0.1

    def __post_init__(self) -> None:
        """Check the threshold."""
        if not self.threshold > 0:
            raise ValueError(
                f"threshold={self.threshold} must be positive; 0 keeps no winner apart"
            )

    def __call__(self, advantage: Tensor) -> Tensor:
        """Return them, 0 below the threshold."""
        return advantage.where(advantage >= self.threshold, 0.0)
