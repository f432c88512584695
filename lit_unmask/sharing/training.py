"""What a policy was trained with, and its place in Lightning checkpoints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lit_unmask import __version__

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
