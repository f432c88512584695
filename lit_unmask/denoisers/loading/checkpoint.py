"""A checkpoint's config: reading it, refusing what is not supported; and writing a checkpoint."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import transformers
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lit_unmask.denoisers.loading.headers import WHOLE
from lit_unmask.files import parse_json, replace_folder, write_sums

FIRST_TRANSFORMERS = (5, 2)
# No published network has a larger size, and few have a hundredth of these layers.
_MOST = 2**24
MOST_LAYERS = 1024


def check_transformers(version: str) -> None:
    """Refuse versions of transformers that would attend causally without saying so.

    Args:
        version: For instance ``transformers.__version__``.

    Raises:
        RuntimeError: If the version is before 5.2, which ignores ``config.is_causal=False``.
    """
    if tuple(int(part) for part in version.split(".")[:2]) < FIRST_TRANSFORMERS:
        raise RuntimeError(
            f"transformers {version} ignores is_causal=False and would give wrong logits; "
            "install transformers>=5.2,<6"
        )


def read_config(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's ``config.json``.

    Returns:
        The JSON object.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a JSON object.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {folder} holds no checkpoint; check the path")
    try:
        config = parse_json(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} must be JSON ({error}); download it again") from error
    if not isinstance(config, dict):
        raise ValueError(
            f"{file} must hold a JSON object, not a {type(config).__name__}; download it again"
        )
    return config


def config_hash(config: Mapping[str, Any]) -> str:
    """Return 16 hex digits of the SHA-256 of the config, whatever its key order and spacing."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def require(config: Mapping[str, Any], name: str) -> Any:
    """Return a field that a config must have.

    Raises:
        ValueError: If the field is missing or null.
    """
    if config.get(name) is None:
        raise ValueError(f"config.json: {name} is missing; it must be given")
    return config[name]


def require_whole(config: Mapping[str, Any], name: str, most: int = _MOST) -> int:
    """Return a field that a config must have and that is a size; see :func:`require`.

    Args:
        config: The original ``config.json``.
        name: Name of the field.
        most: Largest size; a network is built, without memory, before it is compared with files.

    Raises:
        ValueError: If it is no whole number from 1 to the largest size.
    """
    value = require(config, name)
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(
            f"config.json: {name}={value!r} must be a whole number from 1 to {most}; correct it"
        )
    return value


def require_heads(config: Mapping[str, Any], names: tuple[str, str], width: int) -> tuple[int, int]:
    """Return the numbers of attention heads, of queries and of keys.

    Args:
        config: The original ``config.json``.
        names: Their fields; the second may be missing, where both are alike.
        width: What the heads share, or a multiple of what they share.

    Raises:
        ValueError: If they do not divide the width and each other.
    """
    heads = require_whole(config, names[0])
    keys = require_whole(config, names[1]) if config.get(names[1]) else heads
    if width % heads or heads % keys:
        raise ValueError(
            f"config.json: {names[0]}={heads} must divide the width {width}, and {names[1]}={keys} "
            "the number of heads; correct it"
        )
    return heads, keys


def require_positive(config: Mapping[str, Any], name: str) -> float:
    """Return a field that a config must have and that is a number; see :func:`require`.

    Raises:
        ValueError: If it is not finite and above 0.
    """
    value = require(config, name)
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ValueError(
            f"config.json: {name}={value!r} must be a finite number above 0; correct it"
        )
    return float(value)


def refuse_other_family(config: Mapping[str, Any], model_types: tuple[str, ...], kind: str) -> None:
    """Refuse a config of another family of checkpoints.

    Args:
        config: The original ``config.json``.
        model_types: Supported values of its ``model_type``.
        kind: Name of the denoiser class.

    Raises:
        ValueError: Names the family that was found and those that the class runs.
    """
    found = config.get("model_type")
    if found not in model_types:
        raise ValueError(
            f"config.json: model_type={found!r} is not supported by {kind}, which runs "
            f"{' or '.join(repr(name) for name in model_types)}; choose the denoiser class of the "
            "checkpoint's family (LLaDA, Dream, Qwen3Diffusion), or RemoteCode"
        )


def refuse_unsupported(config: Mapping[str, Any], supported: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuse a config that asks for something the stock architecture does not do.

    Args:
        config: The original ``config.json``.
        supported: For each field its allowed values; None among them allows a missing field.

    Raises:
        ValueError: Names the field, its value, and the supported values.
    """
    for name, values in supported.items():
        value = config.get(name)
        if not any(type(value) is type(allowed) and value == allowed for allowed in values):
            choices = " or ".join(repr(allowed) for allowed in values)
            raise ValueError(
                f"config.json: {name}={value!r} is not supported; it must be {choices}"
            )


def write(
    folder: Path,
    network: PreTrainedModel,
    config: Mapping[str, Any],
    original_name: Callable[[str], str],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Write config, weights with their digest, and tokenizer, all in one step.

    Args:
        folder: Where to; other files in it stay.
        network: The stock network.
        config: The original ``config.json``.
        original_name: Stock key -> original key.
        tokenizer: Saved beside it.
    """
    tied = network.config.tie_word_embeddings
    weights = {
        original_name(name): value.detach().cpu().contiguous()
        for name, value in network.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    with replace_folder(folder) as draft:
        tokenizer.save_pretrained(draft)
        save_file(weights, draft / WHOLE, metadata={"format": "pt"})
        write_sums(draft, [WHOLE])
        (draft / "config.json").write_text(text, encoding="utf-8")


check_transformers(transformers.__version__)
