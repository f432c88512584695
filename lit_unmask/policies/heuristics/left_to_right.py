"""The order of reading."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_unmask.policies.heuristics.top_k import TopK
from lit_unmask.types import Observation


class LeftToRight(TopK):
    """Open the ``k`` leftmost eligible positions: the order of an autoregressive model."""

    def scores(self, observation: Observation) -> Tensor:
        """Return minus the position."""
        eligible = observation.eligible
        places = torch.arange(eligible.shape[1], device=eligible.device, dtype=torch.float32)
        return -places.expand(eligible.shape)
