"""Terminal rewards that trade correctness against speed: formulas on (correct, nfe, length)."""

from __future__ import annotations

from abc import ABC, abstractmethod

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

    @abstractmethod
    def __call__(self, correct: Tensor, nfe: Tensor, length: int) -> Tensor:
        """Score rollouts.

        Args:
            correct: ``[B]`` float verdicts in ``[0, 1]``.
            nfe: ``[B]`` steps that each rollout was charged for.
            length: Generation length **L**.

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

    def __call__(self, correct: Tensor, nfe: Tensor, length: int) -> Tensor:
        """Score rollouts; see :meth:`SpeedReward.__call__`."""
        saved = (length + 1 - nfe.clamp(max=length)) / length
        return correct * saved**self.alpha


class AdditiveSpeed(SpeedReward):
    """``correct - alpha * nfe / L``: the ablation, in which it can pay to be fast and wrong.

    From arXiv 2512.09106, section 4 and its reward ablation.
    """

    def __call__(self, correct: Tensor, nfe: Tensor, length: int) -> Tensor:
        """Score rollouts; see :meth:`SpeedReward.__call__`."""
        return correct - self.alpha * nfe / length
