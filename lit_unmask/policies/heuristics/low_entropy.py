"""The sharpest distributions first."""

from __future__ import annotations

from torch import Tensor

from lit_unmask.policies.heuristics.top_k import TopK
from lit_unmask.types import ENTROPY, Observation, Signals


class LowEntropy(TopK):
    """Open the ``k`` positions whose proposal distributions have the least entropy.

    Source: ``alg="entropy"`` of Dream (arXiv 2508.15487).
    """

    signals = Signals(names={ENTROPY.name})

    def scores(self, observation: Observation) -> Tensor:
        """Return minus the entropy.

        Raises:
            ValueError: If the observation has no entropy.
        """
        return -observation[ENTROPY]
