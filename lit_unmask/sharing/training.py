"""What a policy was trained with, and its place in Lightning checkpoints."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lit_unmask import __version__
from lit_unmask.errors import ConfigurationError
from lit_unmask.policies.base import Policy
from lit_unmask.sharing.description import class_path, describe

if TYPE_CHECKING:  # these load transformers
    from lit_unmask.rewards import SpeedReward
    from lit_unmask.rollout import Decoding

FORMAT_VERSION = 1


@dataclass(frozen=True)
class TrainedWith:
    """What a policy was trained with, as far as it is known.

    Attributes:
        denoiser: Path or hub id, revision and hash of the config.
        gen_length: Generation length **L** in tokens.
        block_length: Block length in tokens.
        temperature: Token temperature of the denoiser.
        on_empty: What happened when the policy chose nothing, ``force`` or ``wait``.
        reward: Class and arguments of the reward.
        seed: Seed of the rollouts' noise.
        rounds: Rounds of rollouts.
    """

    denoiser: dict[str, str | None] | None = None
    gen_length: int | None = None
    block_length: int | None = None
    temperature: float | None = None
    on_empty: str | None = None
    reward: dict[str, Any] | None = None
    seed: int | None = None
    rounds: int | None = None


def head(description: dict[str, Any], trained_with: TrainedWith) -> dict[str, Any]:
    """Return what stands in ``config.json``, and under ``policy`` in checkpoints."""
    return {
        "format_version": FORMAT_VERSION,
        "lit_unmask_version": __version__,
        "policy": description,
        "trained_with": asdict(trained_with),
    }


def checkpoint_entry(
    policy: Policy,
    denoiser: dict[str, str | None],
    decoding: Decoding,
    reward: SpeedReward,
    seed: int,
) -> dict[str, Any]:
    """Return the entry ``policy`` of a Lightning checkpoint.

    A policy that cannot be described must not end a training run: the entry then holds the reason,
    which whoever loads the policy will read.

    Args:
        policy: The policy that is trained.
        denoiser: Identity of the denoiser.
        decoding: Of the training rollouts.
        reward: Of the training rollouts.
        seed: Of the training rollouts' noise.
    """
    trained_with = TrainedWith(
        denoiser=denoiser,
        gen_length=decoding.gen_length,
        block_length=decoding.block_length,
        temperature=decoding.temperature,
        on_empty=decoding.on_empty,
        reward={"class_path": class_path(type(reward)), "init_args": dict(vars(reward))},
        seed=seed,
    )
    try:
        return head(describe(policy), trained_with)
    except ConfigurationError as error:
        warnings.warn(f"load_policy will not read this run's checkpoints: {error}", stacklevel=2)
        return {"undescribed": str(error)}
