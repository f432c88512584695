"""Group-relative policy optimisation on unmasking steps: pure functions of tensors.

A rollout of ``n`` steps is ``n`` actions with one terminal reward; every step has its own
importance ratio. Source: arXiv 2512.09106, section 4; GRPO itself is arXiv 2402.03300.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def group_advantages(rewards: Tensor, group_size: int, scale_by_std: bool = False) -> Tensor:
    """Return each rollout's reward minus the mean of its group.

    Args:
        rewards: ``[B]`` float, the rollouts of one prompt side by side.
        group_size: Rollouts that share a prompt, **G**; it divides **B**.
        scale_by_std: Divide by the group's (population) standard deviation, as arXiv 2402.03300
            does and arXiv 2512.09106 does not.

    Returns:
        ``[B]`` float; exactly 0 in a group whose rewards are all equal.

    Raises:
        ValueError: If the rewards are not ``[B]`` or ``group_size`` does not divide **B**.
    """
    if rewards.ndim != 1:
        raise ValueError(f"rewards {tuple(rewards.shape)} must be [B]")
    if group_size < 1 or rewards.shape[0] % group_size:
        raise ValueError(
            f"group_size={group_size} must be positive and divide the {rewards.shape[0]} rewards"
        )
    groups = rewards.reshape(-1, group_size)
    advantage = groups - groups.mean(1, keepdim=True)
    if scale_by_std:
        advantage = advantage / groups.std(1, correction=0, keepdim=True)
    # Equal rewards may differ from their rounded mean; dividing would blow that up to +-1.
    equal = (groups == groups[:, :1]).all(1, keepdim=True)
    return advantage.masked_fill(equal, 0.0).reshape(-1)


def step_weights(nfe: Tensor, rollout_index: Tensor, total_rollouts: int) -> Tensor:
    """Return the weight of each step in a mean over steps, then over rollouts.

    Slices of the same steps can be summed with these weights in any order, over any number of
    mini-batches or processes, as long as ``total_rollouts`` counts all rollouts of the update.

    Args:
        nfe: ``[B]`` int64, steps of each rollout.
        rollout_index: ``[N]`` int64, the rollout of each step, an index into ``nfe``.
        total_rollouts: Rollouts that share the update, at least 1.

    Returns:
        ``[N]`` float32, ``1 / (nfe * total_rollouts)``.

    Raises:
        ValueError: If ``total_rollouts`` is below 1.
    """
    if total_rollouts < 1:
        raise ValueError(f"total_rollouts={total_rollouts} must be at least 1")
    return 1.0 / (nfe[rollout_index].float() * total_rollouts)


def mixture_log_prob(log_prob: Tensor, policy_count: int, expert_count: int) -> Tensor:
    """Return the log-probability of an expert's action under the mixture that produced it.

    In expert steering a group holds ``G`` rollouts of the policy and ``E`` of deterministic
    experts. An expert's action then has behaviour probability ``G/(G+E) p + 1/(G+E)``: the policy
    or a point mass (arXiv 2512.09106, section on expert steering). Use it for the old and for
    the new likelihood of expert steps.

    Args:
        log_prob: Any shape, log-probability under the policy; -inf is allowed.
        policy_count: Policy rollouts in the group, ``G``.
        expert_count: Expert rollouts in the group, ``E``.

    Returns:
        The shape of ``log_prob``.

    Raises:
        ValueError: If one of the counts is below 1.
    """
    if policy_count < 1 or expert_count < 1:
        raise ValueError(
            f"policy_count={policy_count} and expert_count={expert_count} must both be at least "
            "1; without experts there is no mixture"
        )
    total = policy_count + expert_count
    point_mass = log_prob.new_full((), -math.log(total))
    return torch.logaddexp(log_prob + math.log(policy_count / total), point_mass)


@dataclass(frozen=True)
class GRPOLoss:
    """A loss and what to log about it.

    Attributes:
        loss: Scalar to minimise; the rest is detached.
        ratio_mean: Scalar, mean importance ratio over steps.
        clip_low: Scalar share of steps held at ``1 - clip`` (negative advantage).
        clip_high: Scalar share of steps held at ``1 + clip`` (positive advantage).
        kl: Scalar, mean of ``ratio - 1 - log ratio``, an estimate of KL(old, new) for a step.
    """

    loss: Tensor
    ratio_mean: Tensor
    clip_low: Tensor
    clip_high: Tensor
    kl: Tensor


@dataclass(frozen=True)
class GRPO:
    """The clipped surrogate ``-sum weight * min(ratio * A, clip(ratio, 1-eps, 1+eps) * A)``.

    ``ratio = exp(log_prob - old_log_prob)`` for each step (arXiv 2512.09106, section 4).

    Args:
        clip: Half-width ``eps`` of the ratio's interval, in ``(0, 1]``.

    Raises:
        ValueError: If ``clip`` is outside ``(0, 1]``.
    """

    clip: float = 0.5

    def __post_init__(self) -> None:
        """Check the interval."""
        if not 0 < self.clip <= 1:
            raise ValueError(f"clip={self.clip} must lie in (0, 1]; ratios are positive")

    def __call__(
        self, log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, weight: Tensor
    ) -> GRPOLoss:
        """Return the loss of a batch of steps.

        Args:
            log_prob: ``[N]`` float, under the policy that is trained; carries the gradient.
            old_log_prob: ``[N]`` float, under the policy that acted.
            advantage: ``[N]`` float, of the step's rollout.
            weight: ``[N]`` float, as from :func:`step_weights`.

        Raises:
            ValueError: If the shapes differ.
        """
        shapes = [tuple(x.shape) for x in (log_prob, old_log_prob, advantage, weight)]
        if log_prob.ndim != 1 or len(set(shapes)) > 1:
            raise ValueError(
                f"log_prob, old_log_prob, advantage, weight have shapes {shapes}; all must be [N]"
            )
        log_ratio = log_prob - old_log_prob.detach()
        low = math.log1p(-self.clip) if self.clip < 1 else -math.inf
        high = math.log1p(self.clip)
        # min(r A, clip(r) A) keeps one bound: the upper for A >= 0, the lower for A < 0. Clamping
        # before exp keeps huge ratios out of the branch that min would not choose.
        gain = advantage >= 0
        kept = torch.where(gain, log_ratio.clamp(max=high), log_ratio.clamp(min=low))
        loss = -(weight * advantage * kept.exp()).sum()
        with torch.no_grad():
            count = max(log_ratio.shape[0], 1)
            ratio = log_ratio.exp()
            return GRPOLoss(
                loss=loss,
                ratio_mean=ratio.sum() / count,
                clip_low=((advantage < 0) & (log_ratio < low)).sum() / count,
                clip_high=((advantage > 0) & (log_ratio > high)).sum() / count,
                kl=(ratio - 1 - log_ratio).sum() / count,
            )
