"""Imitation of a policy's recorded steps by teacher forcing."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from lit_unmask.distributions import UnmaskDistribution
from lit_unmask.types import Steps


def teach_without_blocks(steps: Steps, correct: Tensor) -> Steps:
    """Return the steps of correct rollouts, with every masked position eligible.

    The expert may have been held to blocks; whoever imitates it over all masked positions learns
    to keep to them of its own accord (arXiv 2512.09106, expert steering).

    Args:
        steps: Recorded steps of the expert.
        correct: ``[B]`` verdicts of its rollouts.
    """
    kept = steps.select(correct[steps.rollout] == 1)
    return replace(kept, eligible=kept.masked)


def imitation_loss(distribution: UnmaskDistribution, action: Tensor) -> Tensor:
    """Return the mean negative log-probability of the expert's actions ``[N, L]``, nats a step."""
    return -distribution.log_prob(action).mean()
