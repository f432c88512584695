"""The speed that a policy is conditioned on, as a setting."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from lit_unmask.policies.actions import UnmaskDistribution
from lit_unmask.policies.base import Policy
from lit_unmask.types import SPEED, Observation


class Conditioned(Policy):
    """A policy that is conditioned on a speed, at the one that holds where nobody says another.

    Training rollouts, whose speeds are drawn (:mod:`lit_unmask.training.conditioning`), and
    ``Choice(signals=...)`` in a loop of your own do say another, and they go first. So the same
    object is trained at all speeds and validated at one. What a speed means was decided in
    training: a weight ``alpha`` of speed (larger is faster), or a number of forwards (smaller is
    faster).

    ```yaml
    policy:
      class_path: lit_unmask.policies.Conditioned
      init_args:
        speed: 3.0
        policy:
          class_path: lit_unmask.load_policy
          init_args: {path: my-policy}
    ```

    Args:
        speed: The condition, at least 0. It comes first, so that grids of settings can go over
            it.
        policy: A policy that is conditioned on a speed, or one that this class gave another.

    Raises:
        ValueError: If the speed is negative, or the policy is not conditioned on one.
    """

    def __init__(self, speed: float, policy: Policy) -> None:
        super().__init__()
        if not (math.isfinite(speed) and speed >= 0):
            raise ValueError(f"speed={speed} must be a number from 0")
        if not (SPEED in policy.signals or isinstance(policy, Conditioned)):
            raise ValueError(
                f"speed={speed} means nothing to policy {type(policy).__name__}, which is not "
                "one; make its network with speed=True, or leave Conditioned out"
            )
        self.speed = float(speed)
        self.policy = policy
        self.signals = policy.signals.without(SPEED)

    def forward(self, observation: Observation) -> UnmaskDistribution:
        """Return the distribution at the observation's speed, or else at the one of this policy."""
        if SPEED.name not in observation.signals:
            speed = torch.full_like(observation.time, self.speed)
            signals = {**observation.signals, SPEED.name: speed}
            observation = replace(observation, signals=signals)
        return self.policy(observation)

    def _at(self, **settings: float) -> Policy:
        return Conditioned(settings.pop("speed", self.speed), self.policy.at(**settings))
