"""A policy with parameters: a network of logits under an action distribution."""

from __future__ import annotations

from typing import cast

from torch import nn

from lit_unmask.distributions import Bernoulli
from lit_unmask.policies.base import Policy
from lit_unmask.types import Observation, Signals


class LearnedPolicy(Policy):
    """Independent Bernoulli unmasking with logits from a network (arXiv 2512.09106, section 3).

    Args:
        network: Maps an observation to logits ``[B, L]`` and declares ``signals``, as
            :class:`~lit_unmask.policies.confidence.ConfidenceTransformer` does.
        temperature: Policy temperature, positive. The reference takes 0.5 for blocks of 32 and 1
            for blocks of 256.

    Raises:
        ValueError: If the temperature is not positive.
    """

    def __init__(self, network: nn.Module, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature={temperature} must be positive")
        self.network = network
        self.temperature = temperature
        self.signals = cast(Signals, network.signals)

    def forward(self, observation: Observation) -> Bernoulli:
        """Return the Bernoulli distribution on the eligible positions."""
        return Bernoulli(self.network(observation), observation.eligible, self.temperature)
