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
    return without_blocks(steps.select(correct[steps.rollout] == 1))


def without_blocks(steps: Steps) -> Steps:
    """Return the steps with every masked position eligible."""
    return replace(steps, eligible=steps.masked)


def imitation_loss(distribution: UnmaskDistribution, positions: Tensor) -> Tensor:
    """Return the mean negative log-probability of doing as an expert did, in nats a step.

    Args:
        distribution: Of the imitating policy, for **N** steps.
        positions: ``[N, L]`` bool, what the expert opened.
    """
    return -distribution.log_prob(distribution.action_of(positions)).mean()
