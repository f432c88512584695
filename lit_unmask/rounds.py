"""Rounds of rollouts: settings, the optimizer, the replay of their steps, scalars to log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

from lit_unmask.distributions import UnmaskDistribution
from lit_unmask.rollout import Rollout
from lit_unmask.types import Observation, Steps

# Makes an optimizer of parameters, as the classes of torch.optim do.
OptimizerFactory = Callable[[Any], Optimizer]


def reference_optimizer(parameters: Any) -> Optimizer:
    """Return AdamW as arXiv 2512.09106 sets it: lr 3e-5, betas (0.9, 0.99), weight decay 0.1."""
    return torch.optim.AdamW(parameters, lr=3e-5, betas=(0.9, 0.99), weight_decay=0.1)


@dataclass(frozen=True)
class Rounds:
    """How rollouts become updates.

    Attributes:
        group_size: Rollouts a prompt, **G**.
        num_iterations: Gradient iterations on the rollouts of one round, at most.
        target_kl: No further iteration follows one whose replay found the policy further than
            this from the one that acted, in nats a step; None always takes ``num_iterations``.
            Rounds whose gradients agree move the policy far in one iteration, and others hardly
            move it in several, so a target keeps the pace of learning alike.
        scale_by_std: Whether advantages are divided by the standard deviation of their group
            (arXiv 2402.03300), which makes the price of a forward count as much in groups of
            equally correct rollouts as correctness does in mixed ones. arXiv 2512.09106 does not.
        entropy_weight: Weight of the mean entropy of a step, in reward a nat, added to the
            objective. It keeps a policy exploring that imitation or a lucky round made too sure
            of itself; 0 is the objective of arXiv 2512.09106.
        seed: Seed of the rollouts' noise.
        replay_chunk: Most steps that are replayed at once; small chunks stay in a CPU's caches.
        recompute: Whether chunks are recomputed in the backward pass, which bounds memory at the
            cost of one more forward of the policy and changes nothing else.

    Raises:
        ValueError: If the group has no second rollout, or another count is below 1.
    """

    group_size: int = 8
    num_iterations: int = 2
    target_kl: float | None = None
    scale_by_std: bool = False
    entropy_weight: float = 0.0
    seed: int = 0
    replay_chunk: int = 512
    recompute: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.group_size < 2:
            raise ValueError(
                f"group_size={self.group_size} must be at least 2; advantages are relative"
            )
        if min(self.num_iterations, self.replay_chunk) < 1:
            raise ValueError(
                f"num_iterations={self.num_iterations} and replay_chunk={self.replay_chunk} must "
                "be at least 1"
            )
        if self.target_kl is not None and not self.target_kl > 0:
            raise ValueError(f"target_kl={self.target_kl} must be positive, or null for no target")
        if self.entropy_weight < 0:
            raise ValueError(
                f"entropy_weight={self.entropy_weight} must be at least 0; a negative one would "
                "reward a policy for giving up exploration"
            )

    def is_far(self, moved: float) -> bool:
        """Return whether a policy that has moved so far, in nats a step, takes no more updates."""
        return self.target_kl is not None and moved > self.target_kl


def replay(
    policy: Callable[[Observation], UnmaskDistribution], steps: Steps, rounds: Rounds
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities ``[N]`` of the recorded actions, and entropies ``[N]`` in nats.

    Args:
        policy: The current policy; gradients of the log-probabilities reach its weights, those
            of the entropies only where the objective has an entropy term.
        steps: What was observed and done.
        rounds: Sets the size of the chunks, and whether they are recomputed.
    """

    def chunk(rows: Tensor) -> tuple[Tensor, Tensor]:
        part = steps.select(rows)
        distribution = policy(part.observation)
        entropy = distribution.entropy()
        if not rounds.entropy_weight:
            entropy = entropy.detach()
        return distribution.log_prob(part.action), entropy

    rows = torch.arange(len(steps), device=steps.rollout.device).split(rounds.replay_chunk)
    if len(rows) == 1:
        return chunk(rows[0])
    if rounds.recompute:
        parts = [checkpoint(chunk, part, use_reentrant=False) for part in rows]
    else:
        parts = [chunk(part) for part in rows]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


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
        "forwards_saved": 1 - 1 / result.ledger.saved_ratio,
        "useful_share": result.ledger.useful_share,
        "rollout_seconds": result.ledger.seconds,
        "rollouts_per_s": len(rewards) / result.ledger.seconds,
    }
