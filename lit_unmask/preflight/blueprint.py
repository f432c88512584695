"""A denoiser that is described and not loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from transformers import PreTrainedTokenizerBase
from transformers.quantizers.auto import AutoHfQuantizer

from lit_unmask.denoisers import Denoiser, StockDenoiser
from lit_unmask.denoisers.families.layout import StockConfig
from lit_unmask.denoisers.loading.checkpoint import read_config, refuse_other_family
from lit_unmask.denoisers.loading.headers import read_shapes
from lit_unmask.denoisers.loading.hub import DATA_FILES, local_folder
from lit_unmask.denoisers.loading.loading import DTYPES
from lit_unmask.denoisers.loading.placement import Placement
from lit_unmask.denoisers.loading.tokenizer import load_tokenizer
from lit_unmask.denoisers.text import ChatText
from lit_unmask.errors import ConfigurationError
from lit_unmask.preflight.missing import Missing

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Of the linear layers in the blocks, 4 bits and a scale for each 64 weights, or 8 bits.
_FOUR_BITS, _EIGHT_BITS = 4.5 / 8, 1.0


@dataclass(frozen=True)
class Found:
    """What is on this machine of a checkpoint.

    Attributes:
        folder: The checkpoint, whole or in part; None if there is nothing.
        missing: What is not there, if anything.
    """

    folder: Path | None
    missing: Missing | None


@dataclass(frozen=True)
class Sizes:
    """Numbers that memory and time follow from.

    Attributes:
        parameters: All weights, tied ones once.
        in_layers: Those of the transformer blocks.
        layers: Number of blocks.
        width: Hidden width **D**.
        heads: Attention heads.
        key_value_heads: Heads of keys and values.
        head_width: Channels of a head.
        feed_forward: Hidden width of the gated feed-forward part.
        vocab_size: Vocabulary **V**.
    """

    parameters: int
    in_layers: int
    layers: int
    width: int
    heads: int
    key_value_heads: int
    head_width: int
    feed_forward: int
    vocab_size: int

    def operations(self, prompt: int, length: int) -> float:
        """Return the multiplications of a row-forward, those of attention itself left out.

        ``(P + L) W + L D V`` with ``W`` weights in the blocks, as the head reads responses alone.
        """
        return float((prompt + length) * self.in_layers + length * self.width * self.vocab_size)


class Blueprint(ChatText):
    """What a plan knows of a denoiser: its config and sizes, and its tokenizer if that is here.

    Nothing is downloaded and no weight is read; the network is built without memory.

    Args:
        kind: Class of the denoiser.
        arguments: What it would be called with.

    Attributes:
        found: What is on this machine.
        assumed: Whether the sizes are those of the class's best-known checkpoint.
        config: Config of the stock architecture.
        sizes: Numbers that memory and time follow from.

    Raises:
        ConfigurationError: If the class says nothing about its sizes.
        FileNotFoundError: If the path is neither here nor the name of a repository.
        ValueError: If the config asks for something that the class does not support.
    """

    def __init__(self, kind: type[Denoiser], arguments: Mapping[str, Any]) -> None:
        if not issubclass(kind, StockDenoiser):
            raise ConfigurationError(
                f"plan does not run the code that {kind.__name__} would need to know its sizes; "
                "start the run itself, or choose a StockDenoiser"
            )
        self.kind, self.arguments = kind, arguments
        self.found = find(arguments["path"], arguments.get("revision"))
        folder = self.found.folder
        self.assumed = folder is None or not (folder / "config.json").is_file()
        original: Mapping[str, Any] = kind.published
        if not self.assumed and folder is not None:
            original = read_config(folder)
            refuse_other_family(original, kind.model_types, kind.__name__)
            if self.readable:
                original = kind.complete(original, self.tokenizer)
        self.config: StockConfig = kind.stock_config(original)
        self.sizes = _sizes(kind, self.config)
        self.mask_id = self.config.token_ids["mask"]
        self.pad_id = self.config.token_ids["pad"]
        self.max_length = self.config.max_position_embeddings

    @property
    def device(self) -> torch.device:
        """Where prompts go, which are only counted."""
        return torch.device("cpu")

    @property
    def identity(self) -> dict[str, str | None]:
        """The path alone."""
        return {"path": self.arguments["path"]}

    @property
    def arguments_shown(self) -> dict[str, str]:
        """What it would be called with, as texts, without what is left to its default."""
        given = {name: value for name, value in self.arguments.items() if value is not None}
        return {name: str(value) for name, value in given.items()}

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return DTYPES[self.arguments.get("dtype") or "float32"]

    @property
    def placement(self) -> Placement:
        """Device map and quantisation."""
        return self.arguments.get("placement") or Placement()

    @property
    def readable(self) -> bool:
        """Whether prompts can be turned into tokens."""
        folder = self.found.folder
        names = ("tokenizer.json", "vocab.json")
        return folder is not None and any((folder / name).is_file() for name in names)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:  # type: ignore[override]
        """The checkpoint's tokenizer."""
        if not hasattr(self, "_tokenizer"):
            assert self.found.folder is not None
            self._tokenizer = load_tokenizer(self.found.folder)
        return self._tokenizer

    @property
    def missing(self) -> list[Missing]:
        """Weights that are not here, and the package of a quantisation."""
        found = [self.found.missing] if self.found.missing is not None else []
        quantization: Any = self.placement.quantization
        if quantization is None:
            return found
        try:
            AutoHfQuantizer.from_config(quantization).validate_environment()
        except ImportError as error:
            what, _, remedy = str(error).partition(": ")
            found.append(Missing(what, remedy.strip("`")))
        except (RuntimeError, ValueError):
            pass  # a GPU that is not here is said elsewhere
        return found

    @property
    def weight_bytes(self) -> float:
        """Memory of the weights: parameters times the size of their type.

        Quantisation to 4 or 8 bits counts for the blocks; embedding and head keep their type.
        """
        each = self.dtype.itemsize
        quantization = self.placement.quantization
        blocks = float(each)
        if getattr(quantization, "load_in_4bit", False):
            blocks = _FOUR_BITS
        elif getattr(quantization, "load_in_8bit", False):
            blocks = _EIGHT_BITS
        outer = self.sizes.parameters - self.sizes.in_layers
        return outer * each + self.sizes.in_layers * blocks


def find(path: str, revision: str | None) -> Found:
    """Look for a checkpoint on this machine alone.

    Args:
        path: A folder, a bundled name or a hub id.
        revision: Commit, tag or branch on the hub.

    Raises:
        FileNotFoundError: If it is neither here nor the name of a repository.
    """
    folder = local_folder(path)
    if folder is not None:
        return Found(folder, _incomplete(folder, f"a whole checkpoint in {folder}"))
    if not _HUB_ID.fullmatch(path):
        raise FileNotFoundError(
            f"path={path!r} must be a folder, a bundled name or a hub id such as "
            "'GSAI-ML/LLaDA-8B-Instruct'"
        )
    remedy = f"hf download {path}" + (f" --revision {revision}" if revision else "")
    try:
        patterns = list(DATA_FILES)
        cached = snapshot_download(
            path, revision=revision, allow_patterns=patterns, local_files_only=True
        )
    except (HFValidationError, OSError):
        return Found(None, Missing(f"weights of {path} are not in the cache", remedy))
    return Found(Path(cached), _incomplete(Path(cached), remedy))


def _incomplete(folder: Path, remedy: str) -> Missing | None:
    """Return which weights a folder lacks; only the beginnings of its files are read."""
    try:
        read_shapes(folder)
    except (OSError, ValueError) as error:
        return Missing(str(error), remedy)
    return None


def _sizes(kind: type[StockDenoiser], config: Any) -> Sizes:
    with torch.device("meta"):
        network = kind.architecture(config)
    return Sizes(
        parameters=sum(weight.numel() for weight in network.parameters()),
        in_layers=sum(weight.numel() for weight in network.model.layers.parameters()),
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        key_value_heads=config.num_key_value_heads,
        head_width=getattr(config, "head_dim", None)
        or config.hidden_size // config.num_attention_heads,
        feed_forward=config.intermediate_size,
        vocab_size=config.vocab_size,
    )
