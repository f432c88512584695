"""What a run takes over from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lit_unmask.errors import ConfigurationError

IMITATION = "imitation"
REWARDS = "rewards"

_OBJECTIVE = "objective"
# What belongs to the run that wrote a checkpoint. Lightning wants some of it to be there.
_RUN = ("loops", "current_model_state", "averaging_state", "reference", "pace")
_EMPTY: dict[str, Any] = {"optimizer_states": [], "lr_schedulers": [], "callbacks": {}}


def check_weights(stored: Mapping[str, Tensor], own: Mapping[str, Tensor], policy: str) -> None:
    """Check that the weights in a checkpoint are those of a policy like ours.

    Args:
        stored: Weights in the checkpoint, by name.
        own: Weights of the module.
        policy: Class of its policy, for the message.

    Raises:
        ConfigurationError: If their names or shapes differ.
    """
    ours, theirs = ({n: tuple(v.shape) for n, v in state.items()} for state in (own, stored))
    different = sorted(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n))
    if different:
        raise ConfigurationError(
            f"the checkpoint's weights do not fit model.policy {policy} "
            f"({len(different)} differ, {different[0]} for one); use the policy settings that "
            "it was trained with, or no checkpoint"
        )


def note_objective(checkpoint: dict[str, Any], objective: str) -> None:
    """Note in a checkpoint what the run learns from, :data:`IMITATION` or :data:`REWARDS`."""
    checkpoint[_OBJECTIVE] = objective


def start_afresh(checkpoint: dict[str, Any], objective: str) -> bool:
    """Leave a checkpoint its weights alone, if it is of a run with another objective.

    Neither the optimizer's moments nor the schedule of an imitation have a meaning for the rounds
    that follow it, nor the other way round.

    Args:
        checkpoint: What Lightning is about to restore; changed in place.
        objective: What the run that is about to begin learns from.

    Returns:
        Whether anything was taken out.
    """
    if checkpoint.get(_OBJECTIVE, REWARDS) == objective:
        return False
    for name in _RUN:
        checkpoint.pop(name, None)
    checkpoint.update({name: type(value)() for name, value in _EMPTY.items()})
    return True
