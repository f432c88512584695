"""The most probable tokens first."""

from __future__ import annotations

from torch import Tensor

from lit_unmask.policies.heuristics.top_k import TopK
from lit_unmask.types import Observation


class LowConfidence(TopK):
    """Open the ``k`` most confident positions; the others, of low confidence, stay masked.

    LLaDA (arXiv 2502.09992) calls it low-confidence remasking, hence the name.
    """

    def scores(self, observation: Observation) -> Tensor:
        """Return the largest token probability."""
        return observation.confidence[..., 0]
