"""A denoiser that is described and not loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from transformers.quantizers.auto import AutoHfQuantizer

from lit_unmask.denoisers import Denoiser, StockDenoiser
from lit_unmask.denoisers.families.layout import StockConfig
from lit_unmask.denoisers.loading.checkpoint import read_config, refuse_other_family
from lit_unmask.denoisers.loading.loading import DTYPES
from lit_unmask.denoisers.loading.placement import Placement
from lit_unmask.denoisers.loading.tokenizer import check_vocabulary, load_tokenizer
from lit_unmask.denoisers.running.compilation import Compile
from lit_unmask.denoisers.text import ChatText
from lit_unmask.preflight.devices import Missing
from lit_unmask.preflight.found import find
from lit_unmask.types import Signals

# Of the linear layers in the blocks, 4 bits and a scale for each 64 weights, or 8 bits.
_FOUR_BITS, _EIGHT_BITS = 4.5 / 8, 1.0
_IN_CONFIG = {
    "max_length": "max_position_embeddings",
    "width": "hidden_size",
    "vocab_size": "vocab_size",
}


class NotLoaded(RuntimeError):
    """Somebody asked for something that only a loaded denoiser has."""


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


class Spec(ChatText):
    """What is known of a denoiser that is not loaded: config, sizes, perhaps its tokenizer.

    Nothing is downloaded and no weight is read; the network is built without memory. All of it is
    found when it is first asked for.

    Args:
        kind: Class of the denoiser.
        arguments: What it would be called with.

    Attributes:
        missed: What somebody asked for that only a loaded denoiser has.
    """

    missed: str | None = None

    def __init__(self, kind: type[Denoiser], arguments: Mapping[str, Any]) -> None:
        self.kind: Any = kind
        self.arguments = arguments
        self.template_arguments = kind.template_arguments  # type: ignore[misc]

    @property
    def itself(self) -> Spec:
        """This, also where a :func:`stand_in` is asked."""
        return self

    def __getattr__(self, name: str) -> Any:
        """Return what the config says, and refuse what only a loaded denoiser has."""
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("mask_id", "pad_id"):
            return self.config.token_ids[name.removesuffix("_id")]
        if name not in _IN_CONFIG:
            raise self._not_loaded(name)
        return getattr(self.config, _IN_CONFIG[name])

    def _not_loaded(self, name: str) -> NotLoaded:
        self.missed = f"{name} of {self.kind.__name__}"
        return NotLoaded(f"{self.missed} is known once it is loaded; start the run itself")

    @cached_property
    def found(self) -> tuple[Path | None, Missing | None]:
        """The checkpoint's folder on this machine, whole or in part, and what is not there.

        Raises:
            FileNotFoundError: If the path is neither here nor the name of a repository.
            NotLoaded: If it is a wrapper, which has none of its own.
        """
        if "path" not in self.arguments:
            raise self._not_loaded("the checkpoint")
        return find(self.arguments["path"], self.arguments.get("revision"))

    @property
    def assumed(self) -> bool:
        """Whether the sizes are those of the class's best-known checkpoint."""
        folder = self.found[0]
        return folder is None or not (folder / "config.json").is_file()

    @cached_property
    def config(self) -> StockConfig:
        """Config of the stock architecture.

        Raises:
            NotLoaded: If the class has none, and its code would have to run.
            ValueError: If the config asks for something that the class does not support.
        """
        if not issubclass(self.kind, StockDenoiser):
            raise self._not_loaded("the size")
        folder, original = self.found[0], self.kind.published
        if folder is not None and not self.assumed:
            original = read_config(folder)
            refuse_other_family(original, self.kind.model_types, self.kind.__name__)
            if self.readable:
                original = self.kind.complete(original, self.tokenizer)
        config: StockConfig = self.kind.stock_config(original)
        if self.readable:
            check_vocabulary(self.tokenizer, config.token_ids, config.vocab_size)
        return config

    @cached_property
    def sizes(self) -> Sizes:
        """Numbers that memory and time follow from."""
        config: Any = self.config
        with torch.device("meta"):
            network = self.kind.architecture(config)
        heads = config.num_attention_heads
        return Sizes(
            parameters=sum(weight.numel() for weight in network.parameters()),
            in_layers=sum(weight.numel() for weight in network.model.layers.parameters()),
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=heads,
            key_value_heads=config.num_key_value_heads,
            head_width=getattr(config, "head_dim", None) or config.hidden_size // heads,
            feed_forward=config.intermediate_size,
            vocab_size=config.vocab_size,
        )

    @property
    def inner(self) -> Any:
        """What a wrapper is around."""
        return self.arguments["inner"]

    def check_signals(self, signals: Signals) -> None:
        """Refuse signals that the denoiser cannot give; see :meth:`Denoiser.check_signals`."""
        self.kind.check_signals(self, signals)

    @property
    def device(self) -> torch.device:
        """Where prompts go, which are only counted."""
        return torch.device("cpu")

    @property
    def identity(self) -> dict[str, str | None]:
        """The path alone."""
        return {"path": self.arguments["path"]}

    @property
    def shown(self) -> dict[str, str]:
        """Its arguments as texts, without what is left to its default."""
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
    def compilation(self) -> Compile | None:
        """How the layers will be compiled."""
        return self.arguments.get("compile")

    @property
    def readable(self) -> bool:
        """Whether prompts can be turned into tokens, by a tokenizer and a config that are here."""
        folder, names = self.found[0], ("tokenizer.json", "vocab.json")
        return not self.assumed and any((folder / name).is_file() for name in names)  # type: ignore[operator]

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:  # type: ignore[override]
        """The checkpoint's tokenizer."""
        folder = self.found[0]
        if folder is None or not self.readable:
            raise self._not_loaded("the tokenizer")
        return load_tokenizer(folder)

    @property
    def missing(self) -> list[Missing]:
        """Weights that are not here, and the package of a quantisation."""
        found = [lack for lack in self.found[1:] if lack is not None]
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
        each, quantization = self.dtype.itemsize, self.placement.quantization
        blocks = float(each)
        if getattr(quantization, "load_in_4bit", False):
            blocks = _FOUR_BITS
        elif getattr(quantization, "load_in_8bit", False):
            blocks = _EIGHT_BITS
        outer = self.sizes.parameters - self.sizes.in_layers
        return outer * each + self.sizes.in_layers * blocks

    @property
    def file_bytes(self) -> float:
        """Size of the checkpoint's files, or what it is in 16 bits as it is published."""
        folder, lack = self.found
        files = list(folder.glob("*.safetensors")) if folder is not None and lack is None else []
        return float(sum(file.stat().st_size for file in files)) or 2.0 * self.sizes.parameters


def stand_in(spec: Spec) -> Any:
    """Return an object of the denoiser's class that says what the spec says."""

    def ask(self: Any, name: str) -> Any:
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        return getattr(spec, name)

    return object.__new__(type(spec.kind.__name__, (spec.kind,), {"__getattribute__": ask}))
