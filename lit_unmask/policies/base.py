"""The one face that learned policies and heuristics share."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from lit_unmask.distributions import UnmaskDistribution
from lit_unmask.types import Observation, Signals


class Policy(nn.Module, ABC):
    """Decides, from one observation of each row, which positions to unmask.

    Rows are independent: the distribution of a row depends on that row alone.

    Attributes:
        signals: What the policy needs to know about the denoiser's proposals.
    """

    signals: Signals = Signals()

    @abstractmethod
    def forward(self, observation: Observation) -> UnmaskDistribution:
        """Return the distribution over actions, within ``observation.eligible``."""

    @property
    def has_parameters(self) -> bool:
        """Whether there is anything to train or to store."""
        return any(True for _ in self.parameters())
