"""What ``config.json`` says of a policy: class and arguments, as in the YAML, and its training."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn

from lit_unmask import __version__
from lit_unmask.errors import ConfigurationError

FORMAT_VERSION = 1
Classes = Sequence[type[nn.Module]]

# Where classes may come from that a file names. A file may come from anywhere.
_HOME = "lit_unmask.policies"
_PLAIN = (bool, int, float, str, type(None))


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
        further: Settings of the decoding that were in use beside, such as a corrector.
    """

    denoiser: dict[str, str | None] | None = None
    gen_length: int | None = None
    block_length: int | None = None
    temperature: float | None = None
    on_empty: str | None = None
    reward: dict[str, Any] | None = None
    seed: int | None = None
    rounds: int | None = None
    further: dict[str, Any] | None = None


def head(description: dict[str, Any], trained_with: TrainedWith) -> dict[str, Any]:
    """Return what stands in ``config.json``, and under ``policy`` in checkpoints."""
    return {
        "format_version": FORMAT_VERSION,
        "lit_unmask_version": __version__,
        "policy": description,
        "trained_with": asdict(trained_with),
    }


def describe(module: nn.Module) -> dict[str, Any]:
    """Return the class of a policy and the arguments that it was made with.

    Each argument is read from the attribute of its name; modules among them are described in turn.

    Args:
        module: A policy, or a part of one.

    Returns:
        ``{"class_path": ..., "init_args": {...}}``, ready for JSON.

    Raises:
        ConfigurationError: If the class does not keep an argument as an attribute, or its value
            has no JSON.
    """
    kind = type(module)
    arguments = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigurationError(
                f"policy class {kind.__qualname__} takes {parameter}; give it named arguments and "
                "keep each as an attribute, so that it can be stored"
            )
        if not hasattr(module, name):
            raise ConfigurationError(
                f"policy class {kind.__qualname__} does not keep its argument {name!r}; add "
                f"`self.{name} = {name}` to its __init__, so that it can be stored"
            )
        arguments[name] = _plain(getattr(module, name), f"{kind.__qualname__}.{name}")
    return {"class_path": class_path(kind), "init_args": arguments}


def class_path(kind: type) -> str:
    """Return where a class is imported from, for instance ``lit_unmask.policies.LearnedPolicy``."""
    package = home = kind.__module__
    while package := package.rpartition(".")[0]:  # the outermost package that offers it
        known = vars(sys.modules[package]) if package in sys.modules else {}
        if known.get(kind.__qualname__) is kind:
            home = package
    return f"{home}.{kind.__qualname__}"


def _plain(value: Any, place: str) -> Any:
    """Return a value as JSON knows it."""
    if isinstance(value, nn.Module):
        return describe(value)
    if isinstance(value, list | tuple):
        return [_plain(item, place) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, place) for key, item in value.items()}
    if type(value) not in _PLAIN:
        raise ConfigurationError(
            f"{place} is a {type(value).__name__}; a policy that is to be stored has numbers, "
            "words, lists, dictionaries and modules as arguments"
        )
    return value


def build(description: Any, classes: Classes = ()) -> nn.Module:
    """Make the module that a description describes; torch's random state stays as it was.

    Args:
        description: What :func:`describe` returns.
        classes: Classes of the caller's that it may name, beside those of ``lit_unmask.policies``.
            They are found by their names, whatever module they were in when they were stored.

    Raises:
        ConfigurationError: If it is no description, names another class, or the class does not
            take the arguments.
    """
    with torch.random.fork_rng(devices=[]):
        return _build(description, classes)


def _build(description: Any, classes: Classes) -> nn.Module:
    match description:
        case {"class_path": str(path), "init_args": dict(stored), **rest} if not rest:
            pass
        case {"class_path": str(path), **rest} if not rest:
            stored = {}
        case _:
            raise ConfigurationError(
                f"a policy is described by class_path and init_args alone, not by {description!r}"
            )
    kind = _find(path, classes)
    arguments = {str(name): _revive(value, classes) for name, value in stored.items()}
    try:
        return kind(**arguments)
    except (TypeError, ValueError, ArithmeticError, RuntimeError, AttributeError) as error:
        raise ConfigurationError(
            f"{path} cannot be made with {stored} ({error}); correct the arguments"
        ) from error


def _revive(value: Any, classes: Classes) -> Any:
    if isinstance(value, Mapping):
        if "class_path" in value:
            return _build(value, classes)
        return {key: _revive(item, classes) for key, item in value.items()}
    if isinstance(value, list):
        return [_revive(item, classes) for item in value]
    return value


def _find(path: str, classes: Classes) -> type[nn.Module]:
    """Return the class of a path; only the caller's classes and our policies are looked at."""
    module, _, name = path.rpartition(".")
    for kind in classes:
        if kind.__name__ == name:
            return kind
    named = all(part.isidentifier() for part in path.split("."))
    if named and (module == _HOME or module.startswith(f"{_HOME}.")):
        try:
            found = getattr(import_module(module), name, None)
        except ImportError:
            found = None
        # What the module itself imported from elsewhere is not on offer.
        if isinstance(found, type) and issubclass(found, nn.Module) and _is_ours(found):
            return found
    raise ConfigurationError(
        f"class_path={path!r} is not a policy class of {_HOME}; a file cannot name others: if it "
        "is yours, import it and pass classes=[...]"
    )


def _is_ours(kind: type) -> bool:
    return kind.__module__ == _HOME or kind.__module__.startswith(f"{_HOME}.")
