"""Group-relative policy optimisation on unmasking steps: pure functions of tensors.

A rollout of ``n`` steps is ``n`` actions with one terminal reward; every step has its own
importance ratio. Source: arXiv 2512.09106, section 4; GRPO itself is arXiv 2402.03300.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
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


class StepWeights(ABC):
    """How much each step of a rollout counts in the objective.

    Slices of the same steps can be summed with the weights in any order, over any number of
    mini-batches or processes, as long as ``total_rollouts`` counts all rollouts of the update.
    """

    def __call__(self, decisions: Tensor, rollout_index: Tensor, total_rollouts: int) -> Tensor:
        """Return the weight of each step.

        Args:
            decisions: ``[B]`` int64, steps of each rollout.
            rollout_index: ``[N]`` int64, the rollout of each step, an index into ``decisions``.
            total_rollouts: Rollouts that share the update, at least 1.

        Returns:
            ``[N]`` float32.

        Raises:
            ValueError: If ``total_rollouts`` is below 1.
        """
        if total_rollouts < 1:
            raise ValueError(f"total_rollouts={total_rollouts} must be at least 1")
        return self.within(decisions[rollout_index]) / total_rollouts

    @abstractmethod
    def within(self, decisions: Tensor) -> Tensor:
        """Return the weight of a step within its rollout.

        Args:
            decisions: ``[N]`` int64, steps of the rollout that each step belongs to.

        Returns:
            ``[N]`` float32.
        """


@dataclass(frozen=True)
class MeanOverSteps(StepWeights):
    """The mean over a rollout's steps, then over rollouts: ``1 / decisions`` a step.

    From arXiv 2512.09106, section 4. A step counts less in a long rollout than in a short one, so
    slow wrong answers are discouraged less, step by step, than fast ones.
    """

    def within(self, decisions: Tensor) -> Tensor:
        """Return ``1 / decisions``."""
        return 1.0 / decisions.float()


@dataclass(frozen=True)
class SumOverSteps(StepWeights):
    """The sum over a rollout's steps, divided by a constant, then the mean over rollouts.

    Each step counts alike, whatever the length of its rollout; at ratio 1 the gradient is that of
    the expected reward itself (up to the constant), which :class:`MeanOverSteps` is not
    (arXiv 2503.20783, on the length bias of GRPO).

    Args:
        normaliser: The constant, positive; the generation length keeps gradients in the range of
            :class:`MeanOverSteps`, 1 is the plain sum.

    Raises:
        ValueError: If it is not positive.
    """

    normaliser: float = 1.0

    def __post_init__(self) -> None:
        if not self.normaliser > 0:
            raise ValueError(f"normaliser={self.normaliser} must be positive")

    def within(self, decisions: Tensor) -> Tensor:
        """Return the same weight for all."""
        return torch.full_like(decisions, 1.0 / self.normaliser, dtype=torch.float32)


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
        clip_low: Scalar share of steps held at the lower bound (negative advantage).
        clip_high: Scalar share of steps held at the upper bound (positive advantage).
        kl: Scalar, mean of ``ratio - 1 - log ratio``, an estimate of KL(old, new) for a step.
    """

    loss: Tensor
    ratio_mean: Tensor
    clip_low: Tensor
    clip_high: Tensor
    kl: Tensor


@dataclass(frozen=True)
class GRPO:
    """The clipped surrogate ``-sum weight * min(ratio * A, clip(ratio, 1-low, 1+high) * A)``.

    ``ratio = exp(log_prob - old_log_prob)`` for each step (arXiv 2512.09106, section 4).

    Args:
        clip: How far below 1 a ratio may fall, and how far above it may rise unless ``clip_high``
            says otherwise, in ``(0, 1]``.
        clip_high: How far above 1 a ratio may rise, positive; None is ``clip``. Larger than
            ``clip`` it lets improbable actions grow, which keeps a policy exploring
            ("clip-higher", arXiv 2503.14476).
        weights: How much each step of a rollout counts.

    Raises:
        ValueError: If ``clip`` is outside ``(0, 1]`` or ``clip_high`` is not positive.
    """

    clip: float = 0.5
    clip_high: float | None = None
    weights: StepWeights = MeanOverSteps()

    def __post_init__(self) -> None:
        if not 0 < self.clip <= 1:
            raise ValueError(f"clip={self.clip} must lie in (0, 1]; ratios are positive")
        if self.clip_high is not None and not self.clip_high > 0:
            raise ValueError(f"clip_high={self.clip_high} must be positive, or null for clip")

    def __call__(
        self,
        log_prob: Tensor,
        old_log_prob: Tensor,
        advantage: Tensor,
        weight: Tensor,
        counted: Tensor | None = None,
    ) -> GRPOLoss:
        """Return the loss of a batch of steps.

        Args:
            log_prob: ``[N]`` float, under the policy that is trained; carries the gradient. Where
                an action has independent parts, ``[N, C]`` has a ratio for each of them, and a
                step is their mean.
            old_log_prob: Of the same shape, under the policy that acted.
            advantage: ``[N]`` float, of the step's rollout.
            weight: ``[N]`` float, as from :class:`StepWeights`.
            counted: ``[N]`` bool, steps that the readings beside the loss are about; None means
                all of them.

        Raises:
            ValueError: If the shapes differ.
        """
        shapes = [tuple(x.shape) for x in (log_prob, old_log_prob, advantage, weight)]
        if log_prob.ndim not in (1, 2) or shapes != shapes[:1] * 2 + [shapes[0][:1]] * 2:
            raise ValueError(
                f"log_prob, old_log_prob, advantage, weight have shapes {shapes}; all must be [N], "
                "the first two [N, C] where an action has parts"
            )
        log_ratio = log_prob - old_log_prob.detach()
        if log_ratio.ndim == 2:
            parts, log_ratio = log_ratio.shape[1], log_ratio.flatten()
            advantage = advantage.repeat_interleave(parts)
            weight = (weight / parts).repeat_interleave(parts)
            counted = None if counted is None else counted.repeat_interleave(parts)
        low = math.log1p(-self.clip) if self.clip < 1 else -math.inf
        high = math.log1p(self.clip if self.clip_high is None else self.clip_high)
        # min(r A, clip(r) A) keeps one bound: the upper for A >= 0, the lower for A < 0. Clamping
        # before exp keeps huge ratios out of the branch that min would not choose.
        gain = advantage >= 0
        kept = torch.where(gain, log_ratio.clamp(max=high), log_ratio.clamp(min=low))
        loss = -(weight * advantage * kept.exp()).sum()
        with torch.no_grad():
            if counted is not None:
                log_ratio, advantage = log_ratio[counted], advantage[counted]
            count = max(log_ratio.shape[0], 1)
            ratio = log_ratio.exp()
            return GRPOLoss(
                loss=loss,
                ratio_mean=ratio.sum() / count,
                clip_low=((advantage < 0) & (log_ratio < low)).sum() / count,
                clip_high=((advantage > 0) & (log_ratio > high)).sum() / count,
                kl=(ratio - 1 - log_ratio).sum() / count,
            )
