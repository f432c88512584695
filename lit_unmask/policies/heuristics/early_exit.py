"""Everything that is left at once, as soon as all of it is clear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lit_unmask.policies.actions import UnmaskDistribution
from lit_unmask.policies.base import Policy
from lit_unmask.types import Observation, Signals


class Leaving(UnmaskDistribution):
    """Another distribution, with rows in which all that is eligible is opened for sure.

    In these rows nothing is eligible for the other one, so that its only action has probability 1,
    and likelihoods and entropies are its own.

    Args:
        inner: The other distribution.
        sure: ``[B, L]`` bool, positions that every action opens.
    """

    opens_any_set = False

    def __init__(self, inner: UnmaskDistribution, sure: Tensor) -> None:
        super().__init__(inner.eligible | sure)
        self.inner, self.sure = inner, sure

    def sample(self, uniform: Tensor) -> Tensor:
        """Return an action of the other distribution."""
        return self.inner.sample(uniform)

    def mode(self) -> Tensor:
        """Return its most probable action."""
        return self.inner.mode()

    def log_prob(self, action: Tensor) -> Tensor:
        """Return its log-probability ``[B]`` of an action: 0 in rows that leave."""
        return self.inner.log_prob(action)

    def positions(self, action: Tensor) -> Tensor:
        """Return what an action opens, and what is sure, ``[B, L]`` bool."""
        return self.inner.positions(action) | self.sure

    def taken_back(self, action: Tensor) -> Tensor | None:
        """Return the tokens that the other one takes back."""
        return self.inner.taken_back(action)

    def asked(self, action: Tensor) -> Tensor | None:
        """Return the rows for which the other one asks the corrector."""
        return self.inner.asked(action)

    def entropy(self) -> Tensor:
        """Return its entropy, ``[B]`` in nats."""
        return self.inner.entropy()

    def ranking(self) -> Tensor:
        """Return its ranking, 0 where it is sure."""
        return self.inner.ranking().masked_fill(self.sure, 0.0)

    def probability(self) -> Tensor:
        """Return its marginals, 1 where it is sure."""
        return self.inner.probability().masked_fill(self.sure, 1.0)


class EarlyExit(Policy):
    """Another policy, until every position is clear; then all that is eligible is opened at once.

    A position is clear when the logits of its two most probable tokens are further apart than a
    gap, which depends on the share of the response that is committed: Prophet, arXiv 2508.19982.
    The gap of logits is that of log-probabilities; a second probability that underflows to 0 is an
    infinite gap. Deviations: the source averages over a given answer region and counts steps, here
    the least clear eligible position decides, and tokens count, which is the same where each step
    commits as many. What is opened is the rest of the block, so that with blocks an answer is left
    block by block; with one block it is the rest of the answer.

    Args:
        policy: Acts until then.
        gaps: In nats, for as many equal parts of the response.

    Raises:
        ValueError: If there is no gap, or a negative one.
    """

    def __init__(self, policy: Policy, gaps: Sequence[float] = (7.5, 5.0, 2.5)) -> None:
        super().__init__()
        if not gaps or not min(gaps) >= 0:
            raise ValueError(
                f"gaps={list(gaps)} must be at least one number, and none negative; take "
                "[7.5, 5.0, 2.5]"
            )
        self.policy, self.gaps = policy, list(gaps)
        self.signals = policy.signals | Signals(top_k=2)
        self.draws = policy.draws

    def forward(self, observation: Observation) -> Leaving:
        """Return the policy's distribution, with the rows that leave.

        Raises:
            ValueError: If the observation has only one probability for each position.
        """
        leaves = self._clear(observation)[:, None]
        eligible = observation.eligible
        inner = self.policy(replace(observation, eligible=eligible & ~leaves))
        return Leaving(inner, eligible & leaves)

    def _clear(self, observation: Observation) -> Tensor:
        """Return the rows of which every eligible position is clear, ``[B]`` bool."""
        kept = observation.confidence.shape[-1]
        if kept < 2:
            raise ValueError(f"confidence holds top_k={kept} values; the gap needs 2")
        first, second = observation.confidence[..., :2].log().unbind(-1)
        gap = (first - second).masked_fill(~observation.eligible, torch.inf).amin(1)
        done = (~observation.masked).sum(1) * len(self.gaps) // observation.masked.shape[1]
        part = done.clamp(max=len(self.gaps) - 1)
        return gap > torch.tensor(self.gaps, device=gap.device)[part]

    def _at(self, **settings: float) -> Policy:
        return EarlyExit(self.policy.at(**settings), self.gaps)
