"""The objective of one update: recorded steps replayed under the current policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lit_unmask.training.grpo import GRPO, GRPOLoss, mixture_log_prob
from lit_unmask.training.settings import Rounds
from lit_unmask.types import Experience, Steps


class Replayed(Protocol):
    """What the objective asks of a distribution over what was done at **N** steps."""

    def log_prob(self, action: Tensor) -> Tensor:
        """Return ``[N]``, or ``[N, C]`` of actions of independent parts, in nats."""

    def entropy(self) -> Tensor:
        """Return ``[N]`` in nats."""


Distribute = Callable[[Any], Replayed]


@dataclass(frozen=True)
class Counts:
    """What an update is a mean over, summed over the ranks.

    Attributes:
        rollouts: Rollouts of the round, those of experts too.
        world: Ranks. Lightning averages their gradients where the mean needs their sum.
    """

    rollouts: int
    world: int = 1


@dataclass(frozen=True)
class Update:
    """A loss and what to log about it.

    Attributes:
        loss: Scalar to minimise; the rest is detached.
        surrogate: What the clipped surrogate says about the policy's own steps.
        readings: Scalars to log, by name.
    """

    loss: Tensor
    surrogate: GRPOLoss
    readings: dict[str, Tensor]

    def scalars(self, iteration: int) -> dict[str, Any]:
        """Return all that is logged about the update, by name.

        Args:
            iteration: Its number in the round, from 0.
        """
        surrogate = self.surrogate
        return {
            **self.readings,
            "loss": surrogate.loss.detach(),
            "kl": surrogate.kl,
            "iterations": iteration + 1.0,
            "clip_ratio/low": surrogate.clip_low,
            "clip_ratio/high": surrogate.clip_high,
            # The acting policy is the current one until its first update: anything but 1 is a bug.
            "ratio_mean" if iteration else "ratio_first": surrogate.ratio_mean,
        }


def update(
    policy: Distribute, batch: Experience, grpo: GRPO, rounds: Rounds, counts: Counts
) -> Update:
    """Return the loss of one round's experience under the current policy.

    Steps of experts are scored under the mixture that they came from, and nothing that is logged
    is about them, as the policy did not take them.

    Args:
        policy: The current policy; the gradient reaches its weights.
        batch: What one rank played.
        grpo: The surrogate, and how much each step counts in it.
        rounds: Group size and chunks.
        counts: Sums over the ranks.
    """
    steps = batch.steps.select(_rows(batch, rounds))
    own = ~batch.expert[steps.rollout]
    log_prob, entropy = replay(policy, steps, rounds)
    if not bool(own.all()):
        group = rounds.group_size
        experts = group * int(batch.expert.sum()) // int((~batch.expert).sum())
        log_prob = torch.where(own, log_prob, mixture_log_prob(log_prob, group, experts))
    advantage = batch.advantage[steps.rollout]
    weight = grpo.weights(batch.decisions, steps.rollout, counts.rollouts) * counts.world
    surrogate = grpo(log_prob, steps.log_prob, advantage, weight, own)
    # 0 without a step of the policy's own.
    mean = entropy.where(own, 0.0).sum() / own.sum().clamp(min=1)
    return Update(surrogate.loss, surrogate, {"entropy": mean})


def replay(policy: Distribute, steps: Steps, rounds: Rounds) -> tuple[Tensor, Tensor]:
    """Return log-probabilities ``[N]`` of the recorded actions, and entropies ``[N]`` in nats.

    Args:
        policy: The current policy; gradients of the log-probabilities reach its weights.
        steps: What was observed and done.
        rounds: Sets the size of the chunks, and whether they are recomputed.
    """

    def chunk(rows: Tensor) -> tuple[Tensor, Tensor]:
        part = steps.select(rows)
        distribution = policy(part.observation)
        return distribution.log_prob(part.action), distribution.entropy().detach()

    rows = torch.arange(len(steps), device=steps.rollout.device).split(rounds.replay_chunk)
    if len(rows) == 1:
        return chunk(rows[0])
    if rounds.recompute:
        parts = [checkpoint(chunk, part, use_reentrant=False) for part in rows]
    else:
        parts = [chunk(part) for part in rows]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def _rows(batch: Experience, rounds: Rounds) -> Tensor:
    """Return which steps have something to add to the loss, ``[N]`` bool.

    A round without any still needs a backward pass, which other ranks wait for, and readings to
    log.
    """
    rows = batch.advantage[batch.steps.rollout] != 0
    if not rows.any():
        rows[: rounds.replay_chunk] = True
    return rows
