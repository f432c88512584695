"""A saved policy that is told the wanted speed from now on."""

from __future__ import annotations

from pathlib import Path

from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import Paced, Policy
from lit_unmask.sharing.description import Classes, build, describe
from lit_unmask.sharing.saved import read_saved
from lit_unmask.types import SPEED

# The weights that a network which is told the wanted speed has beyond the others.
_ADDED = "network.speed_mlp."


def with_speed(
    path: str | Path, speed: float, revision: str | None = None, classes: Classes = ()
) -> Paced:
    """Load a policy that is not told the wanted speed, to train one that is.

    The network gets the further input, with a last layer of zeros: until it is trained, the policy
    does what the saved one does, at every speed. All other weights are the saved ones.

    ```yaml
    policy:
      class_path: lit_unmask.sharing.with_speed
      init_args: {path: my-policy, speed: 2.0}
    ```

    Args:
        path: As for :func:`lit_unmask.load_policy`.
        speed: The wanted speed where nobody says another.
        revision: Commit, tag or branch on the hub.
        classes: Your own classes that the policy is made of.

    Returns:
        The policy, on the CPU.

    Raises:
        FileNotFoundError: If there is no such folder or checkpoint, or the hub has no answer.
        ConfigurationError: If what is there is no policy, has no network that can be told a speed,
            or is told one already.
    """
    saved = read_saved(path, revision).build(classes)
    if isinstance(saved, Paced) or SPEED in saved.signals:
        raise ConfigurationError(
            f"{path} is told the wanted speed already; load it with lit_unmask.load_policy(path, "
            f"speed={speed:g})"
        )
    larger = _larger(path, saved, classes)
    added = {name: v for name, v in larger.state_dict().items() if name.startswith(_ADDED)}
    larger.load_state_dict(saved.state_dict() | added)
    return Paced(speed, larger)


def _larger(path: str | Path, saved: Policy, classes: Classes) -> Policy:
    """Return an untrained policy like the saved one, but that it is told a speed."""
    description = describe(saved)
    network = description["init_args"].get("network")
    arguments = network.get("init_args", {}) if isinstance(network, dict) else {}
    if "speed" not in arguments:
        raise ConfigurationError(
            f"{path} holds a {type(saved).__name__} without a network that can be told the wanted "
            "speed, as lit_unmask.policies.ConfidenceTransformer can"
        )
    arguments["speed"] = True
    larger = build(description, classes)
    assert isinstance(larger, Policy)
    kinds = {value.dtype for value in saved.state_dict().values() if value.is_floating_point()}
    return larger.to(kinds.pop()) if len(kinds) == 1 else larger
