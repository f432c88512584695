"""A policy with parameters: a network and a head that makes actions of what it says."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

from torch import nn

from lit_unmask.errors import ConfigurationError
from lit_unmask.policies.actions import UnmaskDistribution
from lit_unmask.policies.actions.base import check_knobs
from lit_unmask.policies.actions.bernoulli import BernoulliHead
from lit_unmask.policies.actions.deterministic import Deterministic
from lit_unmask.policies.actions.head import Head, Knobs
from lit_unmask.policies.base import Policy
from lit_unmask.policies.conditioned import Conditioned as Conditioned
from lit_unmask.policies.networks.reference import read_reference
from lit_unmask.types import Observation, Signals

_BERNOULLI = BernoulliHead()


class LearnedPolicy(Policy):
    """A network's logits or features under a head, which draws the actions.

    Without a head it is the policy of arXiv 2512.09106, section 3: independent Bernoulli draws.

    Args:
        network: Maps an observation to logits ``[B, L]`` and declares ``signals``, as
            :class:`~lit_unmask.policies.networks.confidence.ConfidenceTransformer` does.
        temperature: Policy temperature, positive. The reference takes 0.5 for blocks of 32 and 1
            for blocks of 256.
        head: What is drawn; None draws each position for itself.
        scale: Speed at test time, positive; what it multiplies is the head's own. Policies are
            trained at 1.

    Raises:
        ValueError: If temperature or scale is not positive, or the head needs another network.
    """

    # At these values they change nothing, and policies of before they were there keep their hash.
    later_settings: ClassVar[Mapping[str, Any]] = {"head": None, "scale": 1.0}

    # What the files that it came from said, for those that it is saved to.
    origin: object | None = None

    def __init__(
        self,
        network: nn.Module,
        temperature: float = 1.0,
        head: Head | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        check_knobs(temperature, scale)
        self.network = network
        self.temperature = temperature
        self.head = head
        self.scale = scale
        self.signals = cast(Signals, network.signals) | self._acting.signals
        self._acting.attach(network)

    @property
    def _acting(self) -> Head:
        return _BERNOULLI if self.head is None else self.head

    @property
    def takes_back(self) -> bool:
        """Whether the head may take tokens back."""
        return self._acting.takes_back

    @property
    def corrects(self) -> bool:
        """Whether the head may ask for corrections."""
        return self._acting.corrects

    @property
    def knobs(self) -> Knobs:
        """Temperature and scale."""
        return Knobs(self.temperature, self.scale)

    def _at(self, **settings: float) -> Policy:
        if "speed" in settings:
            return Conditioned(settings.pop("speed"), self.at(**settings))
        same = copy(self)  # of settings alone: network and head are the same objects
        for name, value in settings.items():
            setattr(same, name, value)
        check_knobs(same.temperature, same.scale)
        return same

    def forward(self, observation: Observation) -> UnmaskDistribution:
        """Return the head's distribution on the eligible positions."""
        return self.act(observation, self.knobs)

    def act(self, observation: Observation, knobs: Knobs) -> UnmaskDistribution:
        """Return the same at other knobs."""
        return self._acting(self.network, observation, knobs)

    def check_decoding(self, on_empty: str) -> None:
        """Check that the policy can be used as decoding treats empty actions.

        Raises:
            ConfigurationError: If it is to wait, and the head always opens something.
        """
        if self._acting.never_empty and on_empty == "wait":
            raise ConfigurationError(
                f"decoding.on_empty=wait has no meaning for {type(self._acting).__name__}, whose "
                "actions are never empty; use on_empty=force"
            )

    @classmethod
    def from_reference(
        cls, path: str | Path, temperature: float = 1.0, heads: int | None = None
    ) -> LearnedPolicy:
        """Load a policy of the published checkpoints of arXiv 2512.09106.

        Args:
            path: A ``model.safetensors``, or the folder that it lies in.
            temperature: Policy temperature; files do not say which.
            heads: Attention heads; None reads them off the rotary frequencies.

        Raises:
            ConfigurationError: If there is no such file, or a weight is missing, unknown or of
                another shape; names it.
        """
        return cls(read_reference(path, heads), temperature).eval()


class _Setting(Policy):
    """A learned policy at another value of one knob."""

    def __init__(self, policy: Policy, name: str, value: float) -> None:
        super().__init__()
        check_knobs(**{"temperature": 1.0, name: value})
        if not isinstance(policy, LearnedPolicy):
            raise ValueError(
                f"{name}={value} means nothing to policy {type(policy).__name__}; it is for a "
                "LearnedPolicy"
            )
        setattr(self, name, value)
        self.policy, self._name = policy, name
        self.signals = policy.signals

    def forward(self, observation: Observation) -> UnmaskDistribution:
        """Return the distribution at this value."""
        knobs = replace(self.policy.knobs, **{self._name: getattr(self, self._name)})
        return self.policy.act(observation, knobs)


class Scaled(_Setting):
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
        super().__init__(policy, "scale", scale)


class Tempered(_Setting):
    """A learned policy at another temperature; the YAML is that of :class:`Scaled`.

    Args:
        temperature: Policy temperature, positive.
        policy: The policy.

    Raises:
        ValueError: If the temperature is not positive, or the policy is not a
            :class:`LearnedPolicy`.
    """

    def __init__(self, temperature: float, policy: Policy) -> None:
        super().__init__(policy, "temperature", temperature)


def behind_threshold(policy: Policy) -> Policy:
    """Return the policy that a threshold is laid on, which is what learns and draws, or itself."""
    return policy.policy if isinstance(policy, Thresholded) else policy


class Thresholded(Policy):
    """A policy that opens the positions that another one is likely to open; it draws nothing.

    Of a policy that learned from finished answers
    (:mod:`lit_unmask.training.finished_answers`) the threshold is how sure it has to be that a
    token is right, so that one policy serves all trades between accuracy and forwards. The YAML is
    that of :class:`Scaled`.

    Args:
        threshold: Marginal probability above which a position is opened, in ``[0, 1)``; larger is
            slower.
        policy: The policy.

    Raises:
        ValueError: If the threshold is out of range.
    """

    draws = False

    def __init__(self, threshold: float, policy: Policy) -> None:
        super().__init__()
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold={threshold} must lie in [0, 1); it is a probability")
        self.threshold, self.policy = threshold, policy
        self.signals = policy.signals

    def forward(self, observation: Observation) -> Deterministic:
        """Return the one action."""
        distribution = self.policy(observation)
        likely = distribution.probability() > self.threshold
        eligible, back = observation.eligible, distribution.removal_probability()
        back = None if back is None else back > self.threshold
        asks = distribution.asking_probability()
        asks = None if asks is None else asks > self.threshold
        return Deterministic(likely & eligible, eligible, distribution.ranking(), back, asks)
