"""Unmasking rules without parameters. Each looks at its own row only."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from lit_unmask.policies.actions import Deterministic, UniformSubset, rank_descending
from lit_unmask.policies.base import Policy
from lit_unmask.policies.selection import top_positions
from lit_unmask.types import ENTROPY, Observation, Signals


def _check_count(k: int) -> int:
    """Return ``k``; raise ValueError unless it is at least 1."""
    if k < 1:
        raise ValueError(f"k={k} must be at least 1, or decoding would never end")
    return k


class Random(Policy):
    """Open ``k`` eligible positions at random, all subsets alike (LLaDA, arXiv 2502.09992).

    Args:
        k: Positions a step.
    """

    def __init__(self, k: int = 1) -> None:
        super().__init__()
        self.k = _check_count(k)

    def forward(self, observation: Observation) -> UniformSubset:
        """Return the uniform distribution over subsets of size ``k``."""
        return UniformSubset(observation.eligible, self.k)


class TopK(Policy):
    """Open the ``k`` eligible positions with the largest score; ties are broken to the left.

    Args:
        k: Positions a step.
    """

    draws: ClassVar[bool] = False

    def __init__(self, k: int = 1) -> None:
        super().__init__()
        self.k = _check_count(k)

    @abstractmethod
    def scores(self, observation: Observation) -> Tensor:
        """Return how much each position is preferred, ``[B, L]`` finite float."""

    def forward(self, observation: Observation) -> Deterministic:
        """Return the point mass on the best ``k`` positions."""
        scores = self.scores(observation)
        action = top_positions(scores, observation.eligible, self.k)
        return Deterministic(action, observation.eligible, scores)


class LowConfidence(TopK):
    """Open the ``k`` most confident positions; the others, of low confidence, stay masked.

    LLaDA (arXiv 2502.09992) calls it low-confidence remasking, hence the name.
    """

    def scores(self, observation: Observation) -> Tensor:
        """Return the largest token probability."""
        return observation.confidence[..., 0]


class Margin(TopK):
    """Open the ``k`` positions with the largest gap between the two most probable tokens.

    Source: "top probability margin", arXiv 2502.06768, section 4.
    """

    signals = Signals(top_k=2)

    def scores(self, observation: Observation) -> Tensor:
        """Return the largest minus the second largest token probability.

        Raises:
            ValueError: If the observation has only one probability for each position.
        """
        kept = observation.confidence.shape[-1]
        if kept < 2:
            raise ValueError(f"confidence holds top_k={kept} values; the margin needs 2")
        return observation.confidence[..., 0] - observation.confidence[..., 1]


class LeftToRight(TopK):
    """Open the ``k`` leftmost eligible positions: the order of an autoregressive model."""

    def scores(self, observation: Observation) -> Tensor:
        """Return minus the position."""
        eligible = observation.eligible
        places = torch.arange(eligible.shape[1], device=eligible.device, dtype=torch.float32)
        return -places.expand(eligible.shape)


class ConfidenceThreshold(Policy):
    """Open every position with confidence above a threshold, and at least the best of each row.

    Source: Fast-dLLM, arXiv 2505.22618, section on confidence-aware parallel decoding. The rule
    "at least one" holds for each row, so a row's course does not depend on its batch.

    Args:
        threshold: Probability in ``[0, 1]`` that a confidence must exceed.

    Raises:
        ValueError: If ``threshold`` is outside ``[0, 1]``.
    """

    draws: ClassVar[bool] = False

    def __init__(self, threshold: float = 0.9) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold={threshold} must lie in [0, 1]; it is a probability")
        self.threshold = threshold

    def forward(self, observation: Observation) -> Deterministic:
        """Return the point mass on the confident positions."""
        confidence, eligible = observation.confidence[..., 0], observation.eligible
        action = (confidence > self.threshold) & eligible
        action |= top_positions(confidence, eligible, 1)
        return Deterministic(action, eligible, confidence)


class EntropyBound(Policy):
    """Open the longest prefix, by rising entropy, whose joint error bound stays below ``gamma``.

    With the eligible positions sorted by entropy ``H``, the prefix may grow while
    ``sum(H) - max(H) <= gamma``, and has at least one position. Source: the EB-Sampler,
    arXiv 2505.24857, with the entropy itself as the error proxy that sorts. Entropies are taken
    as they come; at equal entropy the left position is first.

    Args:
        gamma: Bound in nats, at least 0; 0 opens one position a step (more if entropies are 0).

    Raises:
        ValueError: If ``gamma`` is negative.
    """

    signals = Signals(names={ENTROPY.name})
    draws: ClassVar[bool] = False

    def __init__(self, gamma: float = 0.1) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma={gamma} must be at least 0; it bounds a sum of entropies")
        self.gamma = gamma

    def forward(self, observation: Observation) -> Deterministic:
        """Return the point mass on the prefix.

        Raises:
            ValueError: If the observation has no entropy.
        """
        entropy, eligible = observation[ENTROPY], observation.eligible
        sure = (-entropy).masked_fill(~eligible, -torch.inf)
        ranks = rank_descending(sure)
        # In rising order the largest entropy is the last one: the bound is the sum before it.
        rising = torch.zeros_like(entropy).scatter_(-1, ranks, entropy.masked_fill(~eligible, 0.0))
        before = rising.cumsum(-1).roll(1, -1)
        before[:, :1] = 0.0
        action = (before <= self.gamma).gather(-1, ranks) & eligible
        return Deterministic(action, eligible, -entropy)
