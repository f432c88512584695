"""Weights in the layout of the checkpoints that were published with arXiv 2512.09106."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lit_unmask.errors import ConfigurationError, NotFinite
from lit_unmask.files import check_sums
from lit_unmask.policies.networks.confidence import ConfidenceTransformer

_PREFIX = "base_policy."
_FILE = "model.safetensors"
_BLOCK = "transformer_blocks.0"
_NAMED = 4  # weights of a kind that a message names


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
    check_sums(file.parent)
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
    check_finite(network, weights, str(file))
    network.load_state_dict(weights)
    return network


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
    expected = network.state_dict()
    if differences := misfits(weights, expected, _PREFIX):
        raise ConfigurationError(
            f"{file} does not hold the weights of a network of width {network.width}, "
            f"{network.heads} heads and {network.layers} layers ({differences})"
        )
    for name in (name for name in expected if name.endswith("inv_freq")):
        if not torch.allclose(weights[name], expected[name], rtol=2**-8):
            raise ConfigurationError(
                f"{file}: {_PREFIX}{name} has other frequencies than those of base 10000, which "
                "the network rotates with"
            )


def not_finite(weights: Mapping[str, Tensor]) -> str:
    """Return which weights hold NaN or infinity, in words; nothing if none do."""
    names = [name for name, value in weights.items() if not bool(value.isfinite().all())]
    return ", ".join(names[:1]) + f" and {len(names) - 1} more" * (len(names) > 1)


def check_finite(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Check that weights of a module's parameters are finite; buffers may be anything.

    Args:
        module: Has the parameters.
        weights: By name.
        source: Where they are from, for the message.

    Raises:
        NotFinite: If one is not.
    """
    own = {name: weights[name] for name, _ in module.named_parameters() if name in weights}
    if names := not_finite(own):
        raise NotFinite(
            f"{source}: the weights {names}", "its training broke: take an earlier checkpoint"
        )


def misfits(stored: Mapping[str, Tensor], expected: Mapping[str, Tensor], prefix: str = "") -> str:
    """Return how stored weights differ from those of a module in names and shapes, in words.

    Args:
        stored: Weights by name.
        expected: The module's.
        prefix: What to put before the names.

    Returns:
        The first few of each kind; nothing if all fit.
    """
    faults = {
        "missing": [name for name in expected if name not in stored],
        "unexpected": [name for name in stored if name not in expected],
        "of another shape": [
            f"{name} {list(stored[name].shape)} for {list(value.shape)}"
            for name, value in expected.items()
            if name in stored and stored[name].shape != value.shape
        ],
    }
    return "; ".join(
        f"{kind}: {', '.join(prefix + name for name in names[:_NAMED])}"
        f"{f' and {len(names) - _NAMED} more' * (len(names) > _NAMED)}"
        for kind, names in faults.items()
        if names
    )
