"""Policies from folders, checkpoints and the hub, as others use them."""

from __future__ import annotations

from pathlib import Path

from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import Conditioned, Policy
from lit_unmask.sharing.description import Classes, build, describe
from lit_unmask.sharing.saved import SavedPolicy, read_saved
from lit_unmask.types import SPEED

# The weights that a network which is conditioned on a speed has beyond the others.
_ADDED = "network.speed_mlp."


def load_policy(
    path: str | Path,
    revision: str | None = None,
    classes: Classes = (),
    speed: float | None = None,
    temperature: float | None = None,
    scale: float | None = None,
) -> Policy:
    """Load a policy, to call its ``select`` in a decoding loop of your own.

    Weights are data and never code; classes that are not policies of this package have to be
    handed over.

    Args:
        path: A folder that :func:`save_policy` wrote, a checkpoint of ``lit-unmask fit``, or a hub
            id such as ``user/name``, in this order.
        revision: Commit, tag or branch on the hub; None for folders and checkpoints.
        classes: Your own classes that the policy is made of.
        speed: The condition, of a policy that has one; None leaves what it was saved with.
        temperature: Policy temperature of a :class:`~lit_unmask.policies.LearnedPolicy`; None
            leaves the one that it was saved with.
        scale: Its scale, by which it is slower or faster; None leaves it.

    Returns:
        The policy, on the CPU and in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such folder or checkpoint, or the hub has no answer.
        ConfigurationError: If what is there is no policy, or one without the settings that are
            given; names what is wrong.
    """
    policy = read_saved(path, revision).build(classes)
    try:
        return policy.at(speed, temperature, scale).eval()
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def with_speed(
    path: str | Path, speed: float, revision: str | None = None, classes: Classes = ()
) -> Conditioned:
    """Load a policy that is not conditioned on a speed, to train one that is.

    The network gets the further input, with a last layer of zeros: until it is trained, the policy
    does what the saved one does, at every speed. All other weights are the saved ones.

    ```yaml
    policy:
      class_path: lit_unmask.sharing.with_speed
      init_args: {path: my-policy, speed: 2.0}
    ```

    Args:
        path: As for :func:`lit_unmask.load_policy`.
        speed: The condition where nobody says another.
        revision: Commit, tag or branch on the hub.
        classes: Your own classes that the policy is made of.

    Returns:
        The policy, on the CPU.

    Raises:
        FileNotFoundError: If there is no such folder or checkpoint, or the hub has no answer.
        ConfigurationError: If what is there is no policy, has no network that can be conditioned
            on a speed, or is conditioned on one already.
    """
    saved = read_saved(path, revision)
    policy = saved.build(classes)
    if isinstance(policy, Conditioned) or SPEED in policy.signals:
        raise ConfigurationError(
            f"{path} is conditioned on a speed already; load it with "
            f"lit_unmask.load_policy(path, speed={speed:g})"
        )
    description = describe(policy)
    network = description["init_args"].get("network") or {"init_args": {}}
    if "speed" not in network["init_args"]:
        raise ConfigurationError(
            f"{path} holds a {type(policy).__name__} without a network that can be conditioned "
            "on a speed, as lit_unmask.policies.ConfidenceTransformer can"
        )
    network["init_args"]["speed"] = True
    kinds = {value.dtype for value in saved.weights.values() if value.is_floating_point()}
    larger = build(description, classes).to(kinds.pop() if len(kinds) == 1 else None)
    added = {name: v for name, v in larger.state_dict().items() if name.startswith(_ADDED)}
    weights = saved.weights | added
    return Conditioned(
        speed, SavedPolicy(saved.source, description, weights=weights).build(classes)
    )
