"""What a resampler weighs and chooses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lit_unmask.rollout.correctors.base import Edit
from lit_unmask.types import LIKELIHOOD, Reading, Signals


@dataclass(frozen=True)
class Resampler(ABC):
    """Decodes every prompt by several rows, its particles; a frozen dataclass of its settings.

    A particle that ends a block waits for its group. Then those of large weight may replace those
    of small weight, and all go on with numbers of their own. Groups know nothing of each other.

    Attributes:
        needs_draws: Whether it makes no sense of tokens at temperature 0.
        particles: Rows **N** of a group.

    Raises:
        ValueError: If there is no particle.
    """

    needs_draws: ClassVar[bool] = False
    particles: int = 4

    def __post_init__(self) -> None:
        if self.particles < 1:
            raise ValueError(f"particles={self.particles} must be at least 1")

    @property
    def signals(self) -> Signals:
        """What it needs of readings."""
        return Signals(1, {LIKELIHOOD.name})

    @abstractmethod
    def weigh(self, edit: Edit, said: Reading) -> Tensor:
        """Return what a write of the policy adds to the log-weights of **R** rows, ``[R]``."""

    @abstractmethod
    def ancestors(self, log_weight: Tensor, uniform: Tensor) -> Tensor:
        """Choose who goes on.

        Args:
            log_weight: ``[G, N]`` float32.
            uniform: ``[G, N]`` float32 in ``[0, 1)``.

        Returns:
            ``[G, N]`` int64, the particle whose state each takes over. A group with -1 in it is
            left as it is and keeps its weights; otherwise they become equal.
        """

    @abstractmethod
    def answer(self, likelihood: Tensor) -> Tensor:
        """Choose the particle that is the answer.

        Args:
            likelihood: ``[G, N]`` float32, sums of the log-probabilities (nats) of all tokens as
                the policy committed them.

        Returns:
            ``[G]`` int64.
        """
