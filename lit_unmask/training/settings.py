"""Rounds of rollouts: settings, the optimizer, scalars to log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lit_unmask.errors import ConfigurationError, check_numbers
from lit_unmask.policies.base import Policy
from lit_unmask.randomness import check_seed
from lit_unmask.rollout import Rollout
from lit_unmask.training.rewards import Advantages, AllAdvantages

# Makes an optimizer of parameters, as the classes of torch.optim do.
OptimizerFactory = Callable[[Any], Optimizer]

# More rollouts of a problem are a slip of the keyboard, and no memory holds them.
_LARGEST_GROUP = 2**16


def reference_optimizer(parameters: Any) -> Optimizer:
    """Return AdamW as arXiv 2512.09106 sets it: lr 3e-5, betas (0.9, 0.99), weight decay 0.1."""
    return torch.optim.AdamW(parameters, lr=3e-5, betas=(0.9, 0.99), weight_decay=0.1)


@dataclass(frozen=True)
class Rounds:
    """How rollouts become updates.

    Attributes:
        group_size: Rollouts a prompt, **G**.
        advantages: Which advantages teach.
        num_iterations: Gradient iterations on the rollouts of one round, at most.
        target_kl: No further iteration follows one whose replay found the policy further than
            this from the one that acted, in nats a step; None always takes ``num_iterations``.
            Rounds whose gradients agree move the policy far in one iteration, and others hardly
            move it in several, so a target keeps the pace of learning alike.
        scale_by_std: Whether advantages are divided by the standard deviation of their group
            (arXiv 2402.03300), which makes the price of a forward count as much in groups of
            equally correct rollouts as correctness does in mixed ones. arXiv 2512.09106 does not.
        skip_broken: How many rounds in a row may be left out when NaN or infinity is found in
            their numbers, before the run stops. 0 stops at the first.
        seed: Seed of the rollouts' noise.
        replay_chunk: Most steps that are replayed at once; small chunks stay in a CPU's caches.
        recompute: Whether chunks are recomputed in the backward pass, which bounds memory at the
            cost of one more forward of the policy and changes nothing else.

    Raises:
        ValueError: If the group has no second rollout, or another count is below 1.
    """

    group_size: int = 8
    advantages: Advantages = AllAdvantages()  # noqa: RUF009  (frozen)
    num_iterations: int = 2
    target_kl: float | None = None
    scale_by_std: bool = False
    skip_broken: int = 0
    seed: int = 0
    replay_chunk: int = 512
    recompute: bool = False

    def __post_init__(self) -> None:
        check_numbers(vars(self), {"target_kl"}.__contains__)
        check_seed(self.seed)
        if self.group_size < 2:
            raise ValueError(
                f"group_size={self.group_size} must be at least 2; advantages are relative"
            )
        if self.group_size > _LARGEST_GROUP:
            raise ValueError(f"group_size={self.group_size} must be at most {_LARGEST_GROUP}")
        if min(self.num_iterations, self.replay_chunk) < 1:
            raise ValueError(
                f"num_iterations={self.num_iterations} and replay_chunk={self.replay_chunk} must "
                "be at least 1"
            )
        if self.target_kl is not None and not self.target_kl > 0:
            raise ValueError(f"target_kl={self.target_kl} must be positive, or null for no target")
        if self.skip_broken < 0:
            raise ValueError(f"skip_broken={self.skip_broken} must be at least 0")

    def check(self, policy: Policy, accumulate_grad_batches: int) -> None:
        """Check that a policy can be trained with these settings.

        Args:
            policy: The policy.
            accumulate_grad_batches: Setting of the trainer.

        Raises:
            ConfigurationError: If there is nothing to train, or settings exclude each other.
        """
        if not policy.has_parameters:
            raise ConfigurationError(
                f"policy {type(policy).__name__} has no parameters to train; "
                "use `lit-unmask validate`, or give fit a LearnedPolicy"
            )
        if accumulate_grad_batches > 1 and self.num_iterations > 1:
            raise ConfigurationError(
                f"trainer.accumulate_grad_batches={accumulate_grad_batches} and "
                f"rounds.num_iterations={self.num_iterations} exclude each other; raise "
                "data.batch_size instead of accumulating"
            )

    def of_round(self, number: int) -> int:
        """Return the seed of a round's noise, by its number from 0."""
        return self.seed * 2**32 + number

    def is_far(self, moved: float) -> bool:
        """Return whether a policy that has moved so far, in nats a step, takes no more updates."""
        return self.target_kl is not None and moved > self.target_kl


def round_diagnostics(
    result: Rollout, rewards: Tensor, correct: Tensor, group_size: int
) -> dict[str, float]:
    """Return the scalars that are logged for one round, by name.

    Args:
        result: The rollouts, those of one prompt side by side.
        rewards: ``[B]`` float32.
        correct: ``[B]`` float32 verdicts in ``[0, 1]``.
        group_size: Rollouts a prompt, **G**.
    """
    spread = rewards.view(-1, group_size).std(1, correction=0)
    nfe = result.nfe.float()
    return {
        "reward": float(rewards.mean()),
        "reward_std": float(spread.mean()),
        "frac_reward_zero_std": float((spread == 0).float().mean()),
        "accuracy": float(correct.mean()),
        "nfe": float(nfe.mean()),
        "nfe_max": float(nfe.max()),
        "still_masked": float(result.still_masked.float().mean()),
        "row_forwards": float(result.ledger.computed),
        "forwards_saved": 1 - 1 / result.ledger.saved_ratio,
        "useful_share": result.ledger.useful_share,
        "rollout_seconds": result.ledger.seconds,
        "rollouts_per_s": len(rewards) / result.ledger.seconds,
    }
