"""Imitation of a policy's recorded steps by teacher forcing: pure functions of tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from lit_unmask.policies.actions import Bernoulli, UnmaskDistribution
from lit_unmask.types import Observation, Signals, Steps


def as_committed(steps: Steps) -> Steps:
    """Return the steps with what was committed in the place of what was chosen.

    They differ where the environment forced a position: whoever imitates a policy shall do what
    became of its decision, also where the decision was empty.
    """
    return replace(steps, chosen=steps.committed)


def in_view(steps: Steps, signals: Signals, block_length: int) -> Steps:
    """Return steps of one policy as another one would see them that was in the same states.

    The positions that may be opened are those of the other policy's current block. With blocks of
    the whole length, all masked ones: whoever imitates an expert that was held to blocks learns to
    keep to them of its own accord (arXiv 2512.09106, expert steering).

    Args:
        steps: Recorded steps.
        signals: What the other policy looks at; the rest is left out.
        block_length: Its block length, a multiple of that of the recorded steps.
    """
    masked = steps.observation.masked
    block = torch.arange(masked.shape[1], device=masked.device) // block_length
    # Where something was opened it tells the block; else it is the first one with masks left.
    opened = torch.where(steps.chosen.any(1, keepdim=True), steps.chosen, masked)
    current = block[opened.int().argmax(1)]
    seen = steps.observation.within(signals)
    eligible = masked & (block == current[:, None])
    return replace(steps, observation=replace(seen, eligible=eligible))


def demonstration_log_prob(distribution: UnmaskDistribution, positions: Tensor) -> Tensor:
    """Return the log-probability ``[N]`` (nats) of opening just these positions.

    Args:
        distribution: Of the imitating policy, for **N** steps.
        positions: ``[N, L]`` bool, what the expert opened.
    """
    return distribution.log_prob(distribution.action_of(positions))


def imitation_loss(distribution: UnmaskDistribution, positions: Tensor) -> Tensor:
    """Return the mean negative log-probability of doing as an expert did, in nats a step.

    Args:
        distribution: Of the imitating policy, for **N** steps.
        positions: ``[N, L]`` bool, what the expert opened.
    """
    return -demonstration_log_prob(distribution, positions).mean()


def cautious_log_prob(
    distribution: UnmaskDistribution, positions: Tensor, caution: float
) -> Tensor:
    """Return the log-probability ``[N]`` (nats), in which leaving a position alone weighs more.

    A policy that maximises it opens a position with probability ``p / (p + caution (1 - p))``
    where the share of demonstrations that open it is ``p``: with a caution of 4 it is more likely
    than not to open from ``p`` = 0.8 on.

    Args:
        distribution: Of the imitating policy, for **N** steps; its positions are independent.
        positions: ``[N, L]`` bool, what the expert opened.
        caution: Weight of the positions that are not opened; 1 is the likelihood.
    """
    if caution == 1:
        return demonstration_log_prob(distribution, positions)
    assert isinstance(distribution, Bernoulli)
    each = distribution.each_log_prob(positions)
    return (each * torch.where(positions, 1.0, caution)).sum(-1)


def behaviour_cloning_loss(
    policy: Callable[[Observation], UnmaskDistribution],
    steps: Steps,
    total: int,
    world: int = 1,
    caution: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return this rank's part of the mean loss over the steps of all ranks, and what to log.

    Steps whose action is impossible for the policy have no gradient and are left out of the sum;
    ``imitation/impossible`` is their share.

    Args:
        policy: The imitating policy.
        steps: What was demonstrated, as the policy sees it; without any the loss is 0, and other
            ranks have their backward pass.
        total: Steps of all ranks.
        world: Ranks; Lightning averages their gradients where the mean needs their sum.
        caution: As in :func:`cautious_log_prob`.
    """
    distribution = policy(steps.observation)
    log_prob = cautious_log_prob(distribution, steps.chosen, caution)
    possible = ~log_prob.isneginf()
    loss = -log_prob.where(possible, 0.0).sum() * world / max(total, 1)
    readings = {
        "imitation/agreement": agreement(distribution, steps.chosen),
        "imitation/impossible": (~possible).sum() / max(len(steps), 1),
    }
    return loss, readings


def agreement(distribution: UnmaskDistribution, positions: Tensor) -> Tensor:
    """Return the share of steps whose most probable action opens just what the expert opened.

    Args:
        distribution: Of the imitating policy, for **N** steps.
        positions: ``[N, L]`` bool, what the expert opened.
    """
    opened = distribution.positions(distribution.mode())
    return (opened == positions).all(1).sum() / max(len(positions), 1)
