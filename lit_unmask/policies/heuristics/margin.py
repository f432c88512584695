"""The clearest winners among tokens first."""

from __future__ import annotations

from torch import Tensor

from lit_unmask.policies.heuristics.top_k import TopK
from lit_unmask.types import Observation, Signals


def margin(observation: Observation) -> Tensor:
    """Return the largest minus the second largest token probability, ``[B, L]``.

    Raises:
        ValueError: If the observation has only one probability for each position.
    """
    kept = observation.confidence.shape[-1]
    if kept < 2:
        raise ValueError(f"confidence holds top_k={kept} values; the margin needs 2")
    return observation.confidence[..., 0] - observation.confidence[..., 1]


class Margin(TopK):
    """Open the ``k`` positions with the largest gap between the two most probable tokens.

    Source: "top probability margin", arXiv 2502.06768, section 4.
    """

    signals = Signals(top_k=2)

    def scores(self, observation: Observation) -> Tensor:
        """Return the margin; see :func:`margin` for the error."""
        return margin(observation)
