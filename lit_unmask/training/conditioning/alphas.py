"""Conditions that are the reward's weight of speed."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from lit_unmask.errors import ConfigurationError
from lit_unmask.training.conditioning.base import Condition, Listed
from lit_unmask.training.rewards import NearTarget, SpeedReward


class _Alphas(Condition):
    """Speeds that are the reward's weight of speed."""

    def check(self, reward: SpeedReward, length: int) -> None:
        """Check that the reward has such a weight; see :meth:`Condition.check`."""
        if isinstance(reward, NearTarget):
            raise ConfigurationError(
                "model.reward NearTarget is about forwards, and model.condition "
                f"{type(self).__name__} draws weights of speed; use MultiplicativeSpeed, or "
                "lit_unmask.training.conditioning.Budget"
            )


class AlphaRange(_Alphas):
    """Weights ``alpha`` of speed from a range, log-uniform in ``alpha + offset``.

    ```yaml
    condition:
      class_path: lit_unmask.training.conditioning.AlphaRange
      init_args: {low: 0.0, high: 10.0}
    ```

    Args:
        low: Least weight, at least 0.
        high: Largest weight.
        offset: Added before the logarithm is taken, so that the range may begin with 0; positive
            if it does.
        ranges: Ranges of equal probability that are logged apart.

    Raises:
        ValueError: If the range is empty or has no logarithm.
    """

    def __init__(self, low: float, high: float, offset: float = 0.3, ranges: int = 4) -> None:
        if not 0 <= low < high < math.inf:
            raise ValueError(f"low={low} and high={high} must be a range of weights from 0 up")
        if offset < 0 or low + offset <= 0 or ranges < 1:
            raise ValueError(
                f"offset={offset} must be positive where low={low} is 0, and ranges={ranges} at "
                "least 1"
            )
        self.low, self.high, self.offset, self.ranges = low, high, offset, ranges
        edges = self.speeds(torch.linspace(0, 1, ranges + 1)).tolist()
        self.labels = [f"{a:.2g}-{b:.2g}" for a, b in itertools.pairwise(edges)]

    @property
    def limits(self) -> tuple[float, float]:
        """Least and largest weight."""
        return self.low, self.high

    @property
    def _logarithms(self) -> tuple[float, float]:
        return math.log(self.low + self.offset), math.log(self.high + self.offset)

    def speeds(self, uniforms: Tensor) -> Tensor:
        """Return the weights at uniform numbers; see :meth:`Condition.speeds`."""
        first, last = self._logarithms
        drawn = (first + (last - first) * uniforms).exp() - self.offset
        return drawn.clamp(self.low, self.high)

    def places(self, speed: Tensor) -> Tensor:
        """Return the range of each weight; see :meth:`Condition.places`."""
        first, last = self._logarithms
        share = ((speed + self.offset).log() - first) / (last - first)
        return (share * self.ranges).long().clamp(0, self.ranges - 1)


class AlphaList(_Alphas, Listed):
    """Weights ``alpha`` of speed from a list, all with the same probability.

    ```yaml
    condition:
      class_path: lit_unmask.training.conditioning.AlphaList
      init_args: {values: [0, 0.3, 1, 3, 10]}
    ```

    Args:
        values: Weights in rising order, from 0.

    Raises:
        ValueError: If there are none, they do not rise, or one is negative.
    """

    def __init__(self, values: list[float]) -> None:
        super().__init__("values", values)
        if self._values[0] < 0:
            raise ValueError(f"values={values} must not be negative; they are weights of speed")
        self.values = self._values
