"""Safetensors into a network: every key fits, or nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from lit_unmask.denoisers.loading.headers import Shapes, listing
from lit_unmask.denoisers.loading.placement import Placement
from lit_unmask.files import check_sums

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory.

    Attributes:
        network: The network, with its vocabulary head.
        tokenizer: Its tokenizer.
        mask_id: Token id of the mask.
        pad_id: Token id of padding.
        end_ids: Token ids of which the first to appear ends a response.
        max_length: Largest prompt plus response, in tokens.
        identity: What names the checkpoint: ``path``, ``revision``, ``config_hash`` at least.
        placement: Where the weights live.
    """

    network: Any
    tokenizer: PreTrainedTokenizerBase
    mask_id: int
    pad_id: int
    end_ids: tuple[int, ...]
    max_length: int
    identity: dict[str, str | None]
    placement: Placement = field(default_factory=Placement)


def check_dtype(dtype: str) -> None:
    """Refuse an unknown type of weights.

    Raises:
        ValueError: If it is none of ``DTYPES``.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} must be one of {', '.join(DTYPES)}")


def empty_shapes(architecture: type[PreTrainedModel], config: PreTrainedConfig) -> Shapes:
    """Return the shapes of a network's weights without making it."""
    with torch.device("meta"):
        state = architecture(config).state_dict()
    return {name: tuple(weight.shape) for name, weight in state.items()}


def load_network(
    folder: Path,
    architecture: type[PreTrainedModel],
    config: PreTrainedConfig,
    dtype: str,
    placement: Placement,
    key_mapping: dict[str, str] | None = None,
) -> PreTrainedModel:
    """Load safetensors; every key must fit.

    Args:
        folder: The checkpoint.
        architecture: Class of the network, with a language-model head.
        config: Its config.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        placement: Where to, and in how many bits.
        key_mapping: Pattern of a key in the files -> the network's key; one capture group at most.

    Returns:
        The network in evaluation mode, on the CPU if nothing else was asked for.

    Raises:
        ValueError: If keys are missing, unexpected or of another shape, or a file is not the one
            whose digest lies beside it.
    """
    check_sums(folder)
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
            **placement.arguments(),
        )
    network, report = loaded
    faults = {
        kind: sorted(str(key) for key in report[f"{kind}_keys"])
        for kind in ("missing", "unexpected", "mismatched")
    }
    if any(faults.values()):
        said = "; ".join(f"{kind}: {listing(keys)}" for kind, keys in faults.items() if keys)
        raise ValueError(f"weights in {folder} do not fit {architecture.__name__}: {said}")
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
