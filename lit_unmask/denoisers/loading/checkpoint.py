"""A checkpoint's config: reading it, refusing what is not supported; and writing a checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import transformers
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lit_unmask.denoisers.loading.headers import WHOLE
from lit_unmask.files import write_sums

FIRST_TRANSFORMERS = (5, 2)


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

    Args:
        folder: The checkpoint.

    Returns:
        The JSON object.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a JSON object.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {folder} holds no checkpoint")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} must be JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{file} must hold a JSON object, not a {type(config).__name__}")
    return config


def config_hash(config: Mapping[str, Any]) -> str:
    """Return 16 hex digits of the SHA-256 of the config, whatever its key order and spacing."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def require(config: Mapping[str, Any], name: str) -> Any:
    """Return a field that a config must have.

    Args:
        config: The original ``config.json``.
        name: Name of the field.

    Raises:
        ValueError: If the field is missing or null.
    """
    if config.get(name) is None:
        raise ValueError(f"config.json: {name} is missing; it must be given")
    return config[name]


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
    """Write config, weights with their digest, and tokenizer; the folder is made if needed.

    Args:
        folder: Where to.
        network: The stock network.
        config: The original ``config.json``.
        original_name: Stock key -> original key.
        tokenizer: Saved beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tied = network.config.tie_word_embeddings
    weights = {
        original_name(name): value.detach().cpu().contiguous()
        for name, value in network.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    tokenizer.save_pretrained(folder)
    save_file(weights, folder / WHOLE, metadata={"format": "pt"})
    write_sums(folder, [WHOLE])
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


check_transformers(transformers.__version__)
