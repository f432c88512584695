"""Checkpoints on disk: where they are, what their config says, how weights get in and out.

Nothing here runs code that comes with a checkpoint: weights are safetensors, tokenizers are data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from safetensors.torch import save_file
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)
from transformers.utils import logging as transformers_logging

BUNDLED = Path(__file__).resolve().parent.parent / "bundled"
HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt"]
FIRST_TRANSFORMERS = (5, 2)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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


def resolve(path: str, revision: str | None) -> tuple[Path, str | None]:
    """Find a checkpoint: a folder, a bundled name, or a hub id, in this order.

    Args:
        path: ``"runs/denoiser"``, ``"tiny-llada"`` or ``"GSAI-ML/LLaDA-8B-Instruct"``.
        revision: Commit, tag or branch on the hub; None elsewhere.

    Returns:
        The local folder, and the hub commit it holds (None for a folder or a bundled name).

    Raises:
        ValueError: If a revision is given for something that is not on the hub.
        FileNotFoundError: If there is no such folder or bundled name, or the hub has no answer.
    """
    for folder in (Path(path).expanduser(), BUNDLED / path):
        if folder.is_dir():
            if revision is not None:
                raise ValueError(
                    f"revision={revision!r} must be None: path={path!r} is the folder {folder}, "
                    "and only checkpoints on the hub have revisions"
                )
            return folder, None
    if path.count("/") != 1 or path.startswith(("/", ".", "~")):
        names = sorted(entry.name for entry in BUNDLED.glob("*") if entry.is_dir())
        raise FileNotFoundError(
            f"path={path!r} must be a folder, a bundled name ({', '.join(names) or 'none here'}) "
            "or a hub id such as 'GSAI-ML/LLaDA-8B-Instruct'"
        )
    try:
        folder = Path(snapshot_download(path, revision=revision, allow_patterns=HUB_FILES))
    except (HFValidationError, OSError) as error:  # hub and network errors are OSErrors
        raise FileNotFoundError(
            f"cannot get path={path!r}, revision={revision!r} from the hub "
            f"({type(error).__name__}: {error}); check both names and the network, or download it "
            "elsewhere and give its folder"
        ) from error
    return folder, folder.name


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


def load_network(
    folder: Path,
    architecture: type[PreTrainedModel],
    config: PreTrainedConfig,
    key_mapping: dict[str, str],
    dtype: str,
) -> PreTrainedModel:
    """Load safetensors into a stock architecture; every key must fit.

    Args:
        folder: The checkpoint.
        architecture: Stock class with a language-model head.
        config: Its config.
        key_mapping: Pattern of an original key -> stock key; one capture group at most.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        ValueError: If the dtype is unknown, or keys are missing, unexpected or of another shape.
        FileNotFoundError: If there are no safetensors.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} must be one of {', '.join(DTYPES)}")
    if not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(
            f"{folder} holds no *.safetensors; convert other weight files to safetensors first"
        )
    with _no_progress_bar():
        loaded: Any = architecture.from_pretrained(
            folder,
            config=config,
            key_mapping=key_mapping or None,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # so that they are reported below, with their names
            output_loading_info=True,
        )
    network, report = loaded
    faults = {
        kind: sorted(str(key) for key in report[f"{kind}_keys"])
        for kind in ("missing", "unexpected", "mismatched")
    }
    if any(faults.values()):
        listing = "; ".join(f"{kind}: {', '.join(keys)}" for kind, keys in faults.items() if keys)
        raise ValueError(f"weights in {folder} do not fit {architecture.__name__}: {listing}")
    return network


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep transformers' progress bar off the terminal, which belongs to the trainer."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer from its data files alone, whatever class its config names.

    Args:
        folder: The checkpoint, with ``tokenizer.json``, or ``vocab.json`` and ``merges.txt``
            (Dream's own class is Qwen2's byte-pair encoding under another name).

    Returns:
        The tokenizer, chat template included where the checkpoint has one.

    Raises:
        FileNotFoundError: If the folder has neither.
    """
    if (folder / "tokenizer.json").is_file():
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    raise FileNotFoundError(
        f"{folder} holds no tokenizer: expected tokenizer.json, or vocab.json and merges.txt"
    )


def write(
    folder: Path,
    network: PreTrainedModel,
    config: Mapping[str, Any],
    original_name: Callable[[str], str],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Write config, weights and tokenizer; the folder is made if needed.

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
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


check_transformers(transformers.__version__)
