"""What a run writes into a checkpoint, and what it takes over from one."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.fingerprints import decoding_fields
from lit_unmask.policies.base import Policy
from lit_unmask.policies.networks.reference import check_finite
from lit_unmask.rollout import Approximate, Decoding
from lit_unmask.sharing import load_policy
from lit_unmask.sharing.description import TrainedWith, class_path, describe, head
from lit_unmask.sharing.saved import stored_in
from lit_unmask.training.joint import ENTRY, take_over

if TYPE_CHECKING:
    from lit_unmask.training.module import LitUnmask
    from lit_unmask.training.rewards import SpeedReward

IMITATION = "imitation"
REWARDS = "rewards"

# What Lightning itself turns into a path.
_CHECKPOINT_WORDS = ("hpc", "registry")
_OBJECTIVE = "objective"
# What belongs to the run that wrote a checkpoint. Lightning wants some of it to be there.
_RUN = ("loops", "current_model_state", "averaging_state", "condition", "teaching")
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


def check_optimizer(checkpoint: Mapping[str, Any], optimizer: Optimizer) -> None:
    """Check that a run goes on with the optimizer that a checkpoint holds the state of.

    Args:
        checkpoint: What Lightning is about to restore, and with it the settings of then.
        optimizer: The optimizer of now, as it is made.

    Raises:
        ConfigurationError: If it is of another kind, or has other settings.
    """
    states = checkpoint.get("optimizer_states") or []
    if not states:
        return
    then, now = dict(states[0]["param_groups"][0]), dict(optimizer.param_groups[0])
    then["lr"] = then.get("initial_lr", then["lr"])
    names = sorted((then.keys() | now.keys()) - {"params", "initial_lr"})
    different = [name for name in names if _plain(then, name) != _plain(now, name)]
    if different:
        name = "lr" if "lr" in different else different[0]
        raise ConfigurationError(
            f"model.optimizer {type(optimizer).__name__} has {name}={_plain(now, name)} and the "
            f"checkpoint's has {_plain(then, name)}, which would overwrite it; go on with the "
            "settings that wrote the checkpoint, or begin anew from its weights with "
            "model.policy={class_path: lit_unmask.load_policy, init_args: {path: ...}}"
        )


def _plain(group: Mapping[str, Any], name: str) -> Any:
    value = group.get(name, "nothing")
    return list(value) if isinstance(value, tuple) else value


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


def check_fitting(checkpoint: dict[str, Any], module: LitUnmask, objective: str | None) -> bool:
    """Check that what a checkpoint holds fits a module, and take the denoiser's weights over.

    Args:
        checkpoint: What Lightning is about to restore; changed in place by :func:`start_afresh`.
        module: The module.
        objective: What the run learns from that goes on with it; None if none does.

    Returns:
        Whether its weights alone are used.

    Raises:
        ConfigurationError: If weights, trained denoiser or optimizer are others.
    """
    stored = checkpoint["state_dict"]
    check_weights(stored, module.state_dict(), type(module.policy).__name__)
    check_finite(module, stored, "the checkpoint")
    afresh = objective is not None and start_afresh(checkpoint, objective)
    take_over(checkpoint, module, goes_on=objective is not None and not afresh)
    if objective is not None:
        check_optimizer(checkpoint, module.make_optimizer(module.trained))
    return afresh


def check_checkpoint(path: str | Path | None, model: LitUnmask) -> None:
    """Check that a checkpoint can be loaded into the module.

    Args:
        path: A file; None and words that Lightning turns into one are not looked at.
        model: The module.

    Raises:
        ConfigurationError: If there is no such file, it is no checkpoint, or its policy is another.
    """
    if path is None or str(path).split(":")[0] in _CHECKPOINT_WORDS:
        return
    if not Path(path).is_file():
        raise ConfigurationError(f"ckpt_path={path} does not exist")
    model.on_load_checkpoint(stored_in(Path(path)))


def saved_policy(name: str, path: str, module: LitUnmask) -> Policy:
    """Return a saved policy, or a copy of the module's policy with the weights of a checkpoint.

    Args:
        name: What the user calls it, for messages.
        path: A folder of a policy, or a checkpoint.
        module: The module whose policy the checkpoint is of.

    Raises:
        ConfigurationError: If there is nothing of the kind, or its weights do not fit.
    """
    if Path(path).is_dir():
        return load_policy(path)
    try:
        if not Path(path).is_file():
            raise ValueError(f"{path} does not exist")
        found = stored_in(Path(path))
        if ENTRY in found:
            raise ValueError(f"{path} was trained together with its denoiser; test it by itself")
        stored = found["state_dict"]
        check_weights(stored, module.state_dict(), type(module.policy).__name__)
        check_finite(module, stored, "the checkpoint")
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"checkpoint {name!r} of Frontier: {error}") from error
    policy = copy.deepcopy(module.policy)
    policy.load_state_dict({key.removeprefix("policy."): value for key, value in stored.items()})
    return policy.eval()


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
    settings = decoding_fields(decoding)
    approximate = settings.pop("approximate")
    if decoding.approximate != Approximate():
        settings["further"]["approximate"] = approximate
    settings["further"] = settings["further"] or None
    trained_with = TrainedWith(
        denoiser=denoiser,
        **settings,
        reward={"class_path": class_path(type(reward)), "init_args": dict(vars(reward))},
        seed=seed,
    )
    try:
        return head(describe(policy), trained_with)
    except ConfigurationError as error:
        warnings.warn(f"load_policy will not read this run's checkpoints: {error}", stacklevel=2)
        return {"undescribed": str(error)}
