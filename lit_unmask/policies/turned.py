"""Learned policies with a knob turned after training."""

from __future__ import annotations

from dataclasses import replace

from lit_unmask.policies.actions import UnmaskDistribution
from lit_unmask.policies.actions.base import check_knobs
from lit_unmask.policies.base import Policy
from lit_unmask.policies.learned import LearnedPolicy
from lit_unmask.types import Observation


class Scaled(Policy):
    """A learned policy at another scale: one place on its frontier, for grids to go over.

    ```yaml
    grids:
      my policy, scaled:
        policy:
          class_path: lit_unmask.policies.Scaled
          init_args:
            policy:
              class_path: lit_unmask.load_policy
              init_args: {path: my-policy}
        values: [0.5, 1, 2, 4]
        block_lengths: [64]
    ```

    Args:
        scale: As in :class:`LearnedPolicy`; larger is faster.
        policy: The policy.

    Raises:
        ValueError: If the scale is not positive, or the policy is not a :class:`LearnedPolicy`.
    """

    def __init__(self, scale: float, policy: Policy) -> None:
        super().__init__()
        check_knobs(1.0, scale)
        self.scale = scale
        self.policy = _check_learned(policy, f"scale={scale}")
        self.signals = policy.signals

    def forward(self, observation: Observation) -> UnmaskDistribution:
        """Return the distribution at this scale."""
        return self.policy.act(observation, replace(self.policy.knobs, scale=self.scale))


class Tempered(Policy):
    """A learned policy at another temperature; the YAML is that of :class:`Scaled`.

    Args:
        temperature: Policy temperature, positive.
        policy: The policy.

    Raises:
        ValueError: If the temperature is not positive, or the policy is not a
            :class:`LearnedPolicy`.
    """

    def __init__(self, temperature: float, policy: Policy) -> None:
        super().__init__()
        check_knobs(temperature)
        self.temperature = temperature
        self.policy = _check_learned(policy, f"temperature={temperature}")
        self.signals = policy.signals

    def forward(self, observation: Observation) -> UnmaskDistribution:
        """Return the distribution at this temperature."""
        knobs = replace(self.policy.knobs, temperature=self.temperature)
        return self.policy.act(observation, knobs)


def _check_learned(policy: Policy, setting: str) -> LearnedPolicy:
    """Return the policy; raise ValueError unless it is a learned one."""
    if not isinstance(policy, LearnedPolicy):
        raise ValueError(
            f"{setting} means nothing to policy {type(policy).__name__}; it is for a LearnedPolicy"
        )
    return policy
