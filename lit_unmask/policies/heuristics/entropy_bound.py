"""As many positions as a bound of their joint error allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lit_unmask.policies.actions import Deterministic, rank_descending
from lit_unmask.policies.base import Policy
from lit_unmask.policies.heuristics.margin import margin
from lit_unmask.types import ENTROPY, Observation, Signals


class EntropyBound(Policy):
    """Open the longest prefix of the best positions whose joint error bound stays below ``gamma``.

    With the eligible positions sorted by an error proxy, the prefix may grow while
    ``sum(H) - max(H) <= gamma``, and has at least one position. ``H`` is the entropy of the
    proposal distribution in nats, whatever the proxy. Source: the EB-Sampler, arXiv 2505.24857.
    Entropies are taken as they come; at an equal proxy the left position is first.

    Args:
        gamma: Bound in nats, at least 0; 0 opens one position a step (more if entropies are 0).
        proxy: What sorts: rising ``entropy``, or falling ``confidence`` or ``margin``.

    Raises:
        ValueError: If ``gamma`` is negative, or there is no such proxy.
    """

    draws = False
    # Policies of before there was a choice keep their hash.
    later_settings: ClassVar[Mapping[str, Any]] = {"proxy": "entropy"}

    def __init__(
        self, gamma: float = 0.1, proxy: Literal["entropy", "confidence", "margin"] = "entropy"
    ) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma={gamma} must be at least 0; it bounds a sum of entropies")
        if proxy not in ("entropy", "confidence", "margin"):
            raise ValueError(f"proxy={proxy!r} must be 'entropy', 'confidence' or 'margin'")
        self.gamma, self.proxy = gamma, proxy
        self.signals = Signals(1 + (proxy == "margin"), {ENTROPY.name})

    def forward(self, observation: Observation) -> Deterministic:
        """Return the point mass on the prefix.

        Raises:
            ValueError: If the observation has no entropy, or too few probabilities.
        """
        entropy, eligible = observation[ENTROPY], observation.eligible
        scores = self._scores(observation)
        ranks = rank_descending(scores.masked_fill(~eligible, -torch.inf))
        ordered = torch.zeros_like(entropy).scatter_(-1, ranks, entropy.masked_fill(~eligible, 0.0))
        # sum(H) - max(H) grows with each position by the smaller of its H and the largest before.
        growth = torch.minimum(ordered[:, 1:], ordered.cummax(-1).values[:, :-1])
        bound = torch.cat([torch.zeros_like(ordered[:, :1]), growth], -1).cumsum(-1)
        action = (bound <= self.gamma).gather(-1, ranks) & eligible
        return Deterministic(action, eligible, scores)

    def _scores(self, observation: Observation) -> Tensor:
        """Return how sure each position is, ``[B, L]`` float."""
        if self.proxy == "entropy":
            return -observation[ENTROPY]
        return observation.confidence[..., 0] if self.proxy == "confidence" else margin(observation)
