"""Particles that are weighed by their own likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lit_unmask.rollout.correctors.base import Edit
from lit_unmask.rollout.resamplers.base import Resampler
from lit_unmask.types import LIKELIHOOD, Reading


@dataclass(frozen=True)
class BestOfN(Resampler):
    """Particles that never replace each other; the answer is the likeliest one.

    The control of :class:`SelfRewarding` at equal forwards. At token temperature 0 particles differ
    by what the policy draws alone; under a heuristic that draws nothing all are the same.
    """

    def weigh(self, edit: Edit, said: Reading) -> Tensor:
        """Return zeros, ``[R]``."""
        return torch.zeros(len(edit.where), device=edit.where.device)

    def ancestors(self, log_weight: Tensor, uniform: Tensor) -> Tensor:
        """Leave every group as it is; see :meth:`Resampler.ancestors`."""
        return torch.full(log_weight.shape, -1, device=log_weight.device)

    def answer(self, likelihood: Tensor) -> Tensor:
        """Return the particle of the largest likelihood, ``[G]`` int64."""
        return likelihood.argmax(1)


@dataclass(frozen=True)
class SelfRewarding(BestOfN):
    """Sequential Monte Carlo with the denoiser's confidence in its draws as the reward.

    Source: Self-rewarding SMC, arXiv 2602.01849, its variant of LLaDA and Dream. The log-weight of
    a particle grows by the log-probabilities of the tokens that it commits. At the end of a block,
    where the effective sample size ``1 / sum W^2`` is below ``threshold`` particles of N, all are
    drawn anew, multinomially by weight, and weights become equal. The answer has the largest
    log-probability of all of its line, not the largest weight. There the draws have temperature 1,
    which makes particles of the reweighted target; here it is ``decoding.temperature``, while
    weights are of temperature 1. The policy opens positions by the confidence in the likeliest
    token, not in the one that was drawn.

    Attributes:
        threshold: Share of the particles.

    Raises:
        ValueError: If it is no share.
    """

    needs_draws: ClassVar[bool] = True
    threshold: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold} must lie in [0, 1]; it is a share")

    def weigh(self, edit: Edit, said: Reading) -> Tensor:
        """Return the log-probability of what is written, ``[R]`` in nats."""
        return said.signals[LIKELIHOOD.name].where(edit.where, 0.0).sum(1)

    def ancestors(self, log_weight: Tensor, uniform: Tensor) -> Tensor:
        """Draw multinomially where few particles have the weight; see :meth:`Resampler.ancestors`.

        Each draw is where the cumulative weight first exceeds its number.
        """
        weight, size = log_weight.softmax(1), log_weight.shape[1]
        cumulative = weight.cumsum(1)
        # Scaled, as rounding may leave the sum below 1.
        drawn = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
        even = 1 / weight.square().sum(1, keepdim=True) >= self.threshold * size
        return torch.where(even, -1, drawn.clamp(max=size - 1))
