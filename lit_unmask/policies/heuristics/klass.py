"""Positions that are sure and have stopped changing."""

from __future__ import annotations

import torch

from lit_unmask.policies.actions import Deterministic
from lit_unmask.policies.base import Policy
from lit_unmask.policies.heuristics.top_k import top_positions
from lit_unmask.types import CHANGE, Observation, Signals


class KLASS(Policy):
    """Open every position above a confidence whose distribution is stable, or else the surest one.

    Stable is a position whose distribution moved by less than ``change`` at each of the row's last
    two readings, in Kullback-Leibler divergence from the reading before. Source: KLASS,
    arXiv 2511.05664. Its released code opens one position at the first step of each block; here
    only the first two readings of a row are without a past.

    Args:
        threshold: Probability in ``[0, 1]`` that a confidence must exceed. The source has 0.6 for
            LLaDA and 0.9 for Dream.
        change: In nats, positive; 0.015 and 0.001 there.

    Raises:
        ValueError: If a value is out of range.
    """

    signals = Signals(names={CHANGE.name})
    draws = False

    def __init__(self, threshold: float = 0.6, change: float = 0.015) -> None:
        super().__init__()
        if not (0 <= threshold <= 1 and change > 0):
            raise ValueError(
                f"threshold={threshold} must lie in [0, 1], and change={change} be positive"
            )
        self.threshold, self.change = threshold, change

    def forward(self, observation: Observation) -> Deterministic:
        """Return the point mass on the stable positions.

        Raises:
            ValueError: If the observation does not say how far distributions moved.
        """
        confidence, eligible = observation.confidence[..., 0], observation.eligible
        stable = observation[CHANGE] < self.change
        ready = (confidence > self.threshold) & stable & eligible
        best = top_positions(confidence, eligible, 1)
        action = torch.where(ready.any(-1, keepdim=True), ready, best)
        return Deterministic(action, eligible, confidence + ready)
