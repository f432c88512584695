"""Whether a policy, its wanted speeds and the reward fit together."""

from __future__ import annotations

from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import Paced, Policy
from lit_unmask.training.conditioning.base import Pace
from lit_unmask.training.rewards import SpeedReward
from lit_unmask.types import SPEED


def check_told(policy: Policy) -> None:
    """Check that a policy which is told the wanted speed is told one wherever it is run.

    Raises:
        ConfigurationError: If it would only be told one in training.
    """
    if SPEED in policy.signals:
        raise ConfigurationError(
            f"model.policy {type(policy).__name__} is told the wanted speed and has none outside "
            "of training; put it into lit_unmask.policies.Paced(speed=..., policy=...)"
        )


def check_pace(pace: Pace | None, policy: Policy, reward: SpeedReward, length: int) -> None:
    """Check that what trains a policy at many speeds fits together.

    Args:
        pace: Draws the speeds.
        policy: The policy to train.
        reward: The module's reward, which validation is scored with.
        length: Generation length **L**.

    Raises:
        ConfigurationError: If the policy is told a speed and nobody draws one, or the other way
            round, or the speeds of pace, policy and reward do not fit.
    """
    check_told(policy)
    if pace is None:
        if isinstance(policy, Paced):
            raise ConfigurationError(
                f"model.policy is told the wanted speed (speed={policy.speed:g}) and model.pace is "
                "not set; set it, for instance to lit_unmask.training.conditioning.AlphaRange, or "
                "train a network with speed=False"
            )
        return
    if not isinstance(policy, Paced):
        raise ConfigurationError(
            f"model.pace {type(pace).__name__} draws speeds and model.policy "
            f"{type(policy).__name__} is not told any; make its network with speed=True and put it "
            "into lit_unmask.policies.Paced, or leave model.pace out"
        )
    pace.check(reward, length)
    low, high = pace.limits
    if not low <= policy.speed <= high:
        raise ConfigurationError(
            f"speed={policy.speed:g} of model.policy, at which it is validated, lies outside of "
            f"what model.pace draws; it must be from {low:g} to {high:g}"
        )
    if reward.wanted != policy.speed:
        raise ConfigurationError(
            f"model.reward scores validation as if speed {reward.wanted:g} were wanted, and "
            f"model.policy is validated at speed={policy.speed:g}; set both to one value"
        )
