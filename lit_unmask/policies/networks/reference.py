"""Weights in the layout of the checkpoints that were published with arXiv 2512.09106."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lit_unmask.errors import ConfigurationError
from lit_unmask.policies.networks.confidence import ConfidenceTransformer

_PREFIX = "base_policy."
_FILE = "model.safetensors"
_BLOCK = "transformer_blocks.0"
_NAMED = 4  # weights of a kind that a message names
# Settings that the shapes of the weights say, and one that the weights take the place of.
_SAID = {"width", "heads", "feed_forward", "layers", "top_p", "output_bias"}


def read_reference(path: str | Path, heads: int | None = None) -> ConfidenceTransformer:
    """Load a published network; width, layers and the like follow from the shapes.

    Weights are kept in float32, whatever type the file has.

    Args:
        path: A ``model.safetensors``, or the folder that it lies in.
        heads: Attention heads; None reads them off the rotary frequencies.

    Returns:
        The network.

    Raises:
        ConfigurationError: If there is no such file, or a weight is missing, unknown or of
            another shape; names it.
    """
    file = Path(path).expanduser()
    file = file / _FILE if file.is_dir() else file
    if not file.is_file():
        raise ConfigurationError(f"{file} is missing; give a {_FILE} or the folder that it lies in")
    try:
        stored = load_file(file)
    except SafetensorError as error:
        raise ConfigurationError(f"{file} is damaged: {error}") from error
    strange = sorted(name for name in stored if not name.startswith(_PREFIX))
    if strange:
        raise ConfigurationError(
            f"{file}: unexpected weights {', '.join(strange)}; all names of a reference checkpoint "
            f"begin with {_PREFIX!r}"
        )
    weights = {name.removeprefix(_PREFIX): value.float() for name, value in stored.items()}
    with torch.random.fork_rng(devices=[]):
        network = _network(file, weights, heads)
    _check(file, weights, network)
    for name, value in network.state_dict().items():
        # Rounded frequencies would turn far positions by other angles.
        if name.endswith("inv_freq") and stored[_PREFIX + name].dtype != torch.float32:
            weights[name] = value
    network.load_state_dict(weights)
    return network


def write_reference(network: nn.Module, path: str | Path) -> None:
    """Write a network's weights under the published names.

    Args:
        network: A :class:`ConfidenceTransformer` with no inputs or settings beyond the reference.
        path: New file.

    Raises:
        ConfigurationError: If the file is there, or has no place for a setting of the network.
    """
    if type(network) is not ConfidenceTransformer:
        raise ConfigurationError(
            f"the reference's layout is that of ConfidenceTransformer, not of "
            f"{type(network).__name__}"
        )
    for name, parameter in inspect.signature(ConfidenceTransformer).parameters.items():
        value = getattr(network, name)
        if name not in _SAID and value != parameter.default:
            raise ConfigurationError(
                f"the reference's layout has no place for {name}={value}, which changes what the "
                f"weights mean; only {name}={parameter.default} can be written"
            )
    file = Path(path)
    if file.exists():
        raise ConfigurationError(f"{file} is there already; remove it, or choose another name")
    weights = {
        f"{_PREFIX}{name}": value.detach().cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(weights, file, metadata={"format": "pt"})


def _network(file: Path, weights: dict[str, Tensor], heads: int | None) -> ConfidenceTransformer:
    """Return a network of the sizes that the weights have."""
    sizes = {
        "mask_embedding.weight": 2, "confidence_proj.weight": 2,
        f"{_BLOCK}.linear1.weight": 2, f"{_BLOCK}.inv_freq": 1,
    }  # fmt: skip
    for name, axes in sizes.items():
        if name not in weights:
            raise ConfigurationError(f"{file}: missing weight {_PREFIX}{name}")
        if weights[name].ndim != axes:
            raise ConfigurationError(
                f"{file}: {_PREFIX}{name} {list(weights[name].shape)} must have {axes} axes"
            )
    embedding, confidence, hidden, frequencies = (weights[name] for name in sizes)
    width = embedding.shape[1]
    found = (re.match(r"transformer_blocks\.(\d+)\.", name) for name in weights)
    numbers = {int(match[1]) for match in found if match}
    try:
        return ConfidenceTransformer(
            width=width,
            heads=heads or max(width // (2 * len(frequencies)), 1),
            feed_forward=hidden.shape[0],
            layers=max(numbers) + 1,
            top_p=confidence.shape[1],
        )
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigurationError(f"{file}: no network has such weights: {error}") from error


def _check(file: Path, weights: dict[str, Tensor], network: ConfidenceTransformer) -> None:
    """Check that the weights are those of the network, and its frequencies the usual ones."""
    wanted = network.state_dict()
    faults = {
        "missing": [name for name in wanted if name not in weights],
        "unexpected": [name for name in weights if name not in wanted],
        "of another shape": [
            f"{name} {list(weights[name].shape)} for {list(value.shape)}"
            for name, value in wanted.items()
            if name in weights and weights[name].shape != value.shape
        ],
    }
    if any(faults.values()):
        listing = "; ".join(
            f"{kind}: {', '.join(_PREFIX + name for name in names[:_NAMED])}"
            f"{f' and {len(names) - _NAMED} more' * (len(names) > _NAMED)}"
            for kind, names in faults.items()
            if names
        )
        raise ConfigurationError(
            f"{file} does not hold the weights of a network of width {network.width}, "
            f"{network.heads} heads and {network.layers} layers ({listing})"
        )
    for name in (name for name in wanted if name.endswith("inv_freq")):
        if not torch.allclose(weights[name], wanted[name], rtol=2**-8):
            raise ConfigurationError(
                f"{file}: {_PREFIX}{name} has other frequencies than those of base 10000, which "
                "the network rotates with"
            )
