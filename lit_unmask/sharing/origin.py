"""What a loaded policy was trained with, for as long as it has the weights of its files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from lit_unmask.policies import LearnedPolicy, Policy
from lit_unmask.sharing.training import TrainedWith


@dataclass(frozen=True)
class Origin:
    """What the files of a policy said.

    Attributes:
        trained_with: What it was trained with.
        weights: Hash of its weights.
    """

    trained_with: TrainedWith
    weights: str


def remember(policy: Policy, trained_with: TrainedWith) -> None:
    """Keep with a policy what its files said, if it can keep something."""
    if isinstance(policy, LearnedPolicy):
        policy.origin = Origin(trained_with, _weights_hash(policy))


def recalled(policy: Policy) -> TrainedWith:
    """Return what a policy was trained with; nothing is known once it was trained further."""
    origin = policy.origin if isinstance(policy, LearnedPolicy) else None
    if isinstance(origin, Origin) and origin.weights == _weights_hash(policy):
        return origin.trained_with
    return TrainedWith()


def _weights_hash(policy: Policy) -> str:
    said = hashlib.blake2b(digest_size=8)
    for name, value in sorted(policy.state_dict().items()):
        said.update(f"{name} {list(value.shape)} {value.dtype}".encode())
        said.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return said.hexdigest()
