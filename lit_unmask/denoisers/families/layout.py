"""How an original checkpoint maps to a stock architecture, and back."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from lit_unmask.denoisers.loading import checkpoint

StockConfig = LlamaConfig | Qwen2Config | Qwen3Config
StockNetwork = LlamaForCausalLM | Qwen2ForCausalLM | Qwen3ForCausalLM

ROTARY_BASE = 10_000.0
NORM_EPSILON = 1e-5

# Sizes that a config of every family has.
_LAYERS, _HEADS, _KEYS = "num_hidden_layers", "num_attention_heads", "num_key_value_heads"
_SIZES = (
    *("hidden_size", "intermediate_size", _LAYERS, _HEADS, _KEYS),
    *("vocab_size", "max_position_embeddings"),
)


def rotary_base(config: StockConfig) -> float:
    """Return the base of the rotary frequencies, which transformers keeps in a dictionary."""
    rotary: Any = config.rope_parameters
    return rotary["rope_theta"]


@dataclass(frozen=True)
class DenoiserShape:
    """Size and token ids of a small denoiser that is about to be trained from scratch.

    Attributes:
        width: Hidden width **D**, divisible by ``2 * heads`` (rotary channels come in pairs).
        layers: Number of transformer blocks.
        heads: Attention heads; keys and values have as many.
        feed_forward: Hidden width of the gated feed-forward part.
        vocab_size: Vocabulary **V**, mask token included.
        max_length: Largest prompt plus response, in tokens.
        mask_id: Token id of the mask.
        eos_id: Token id that ends a response.
        pad_id: Token id of padding.
        tie: Whether the vocabulary head shares the embedding's weight.

    Raises:
        ValueError: If the width does not split into heads, or an id is outside the vocabulary.
    """

    width: int
    layers: int
    heads: int
    feed_forward: int
    vocab_size: int
    max_length: int
    mask_id: int
    eos_id: int
    pad_id: int
    tie: bool = False

    def __post_init__(self) -> None:
        """Check divisibility and ranges."""
        if self.width % (2 * self.heads):
            raise ValueError(f"width={self.width} must be divisible by 2 * heads={2 * self.heads}")
        for name in ("mask_id", "eos_id", "pad_id"):
            if not 0 <= getattr(self, name) < self.vocab_size:
                raise ValueError(
                    f"{name}={getattr(self, name)} must lie in [0, vocab_size={self.vocab_size})"
                )


class Layout(ABC):
    """The original layout of one family of checkpoints.

    Attributes:
        architecture: Stock class whose weights a checkpoint of this layout fills.
        original_class: Name of the original one.
        model_types: Values of ``model_type`` in the config of such checkpoints.
        fields: Stock field -> its names in the original config, where they differ; the first that
            is there counts.
        supported: Values of original fields that the stock class does too. None stands for a
            missing field, where the original's default is the supported value.
        fixed: What an original config says beside sizes and tokens.
        key_mapping: Pattern of an original key -> stock key, at most one capture group a pattern
            (transformers silently leaves random weights where a pattern has two).
        end_roles: Which of the config's special tokens end a response: ``"eos"``, ``"pad"``.
        end_tokens: Further tokens that do, where the tokenizer has them.
        causal: Whether networks look ahead nowhere.
        published: What ``config.json`` of the best-known checkpoint says about sizes and tokens;
            ``lit-unmask plan`` assumes it where no config can be read.
    """

    architecture: ClassVar[Any]
    original_class: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    fields: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    supported: ClassVar[Mapping[str, tuple[Any, ...]]]
    fixed: ClassVar[Mapping[str, Any]]
    key_mapping: ClassVar[dict[str, str]] = {}
    end_roles: ClassVar[tuple[str, ...]]
    end_tokens: ClassVar[tuple[str, ...]]
    causal: ClassVar[bool] = False
    published: ClassVar[Mapping[str, Any]]

    @classmethod
    def complete(
        cls, original: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase
    ) -> Mapping[str, Any]:
        """Return an original config with what only the tokenizer of such checkpoints knows.

        Raises:
            ValueError: If the tokenizer does not know it either, or they contradict each other.
        """
        return original

    @classmethod
    def stock_config(cls, original: Mapping[str, Any]) -> StockConfig:
        """Convert an original ``config.json`` into the stock architecture's config.

        Raises:
            ValueError: If a field is missing or asks for something unsupported.
        """
        checkpoint.refuse_unsupported(original, cls.supported)
        name = {stock: cls._name_in(original, stock) for stock in _SIZES}
        sizes = {
            stock: checkpoint.require_whole(original, name[stock])
            for stock in _SIZES
            if stock not in (_LAYERS, _KEYS)
        }
        sizes[_LAYERS] = checkpoint.require_whole(original, name[_LAYERS], checkpoint.MOST_LAYERS)
        width, further = sizes["hidden_size"], cls.further(original)
        each = further.get("head_dim")
        sizes[_HEADS], sizes[_KEYS] = checkpoint.require_heads(
            original, (name[_HEADS], name[_KEYS]), width if each is None else 0
        )
        if "head_dim" in further:
            further["head_dim"] = each or width // sizes[_HEADS]
        # Transformers 5 writes what belongs to the rotation one level down.
        rotary = original.get("rope_parameters") or original
        checkpoint.refuse_unsupported(rotary, {"rope_type": ("default", None)})
        base = checkpoint.require_positive(rotary, "rope_theta")
        config = cls.architecture.config_class(
            **sizes,
            **further,
            rms_norm_eps=checkpoint.require_positive(original, "rms_norm_eps"),
            rope_parameters={"rope_type": "default", "rope_theta": base},
            tie_word_embeddings=bool(original.get(cls._name_in(original, "tie_word_embeddings"))),
        )
        mask_id, eos_id, pad_id = (
            checkpoint.require(original, f"{role}_token_id") for role in ("mask", "eos", "pad")
        )
        return cls.make_bidirectional(config, mask_id, eos_id, pad_id)

    @classmethod
    def further(cls, original: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a family's stock config has beside the sizes of all.

        A ``head_dim`` of None is what the heads' share of the width is.
        """
        return {}

    @classmethod
    def original_config(cls, config: StockConfig) -> dict[str, Any]:
        """Return the original ``config.json`` of a stock config; undoes :meth:`stock_config`."""
        written = (*_SIZES, "rms_norm_eps", "tie_word_embeddings")
        return {
            "model_type": cls.model_types[0],
            "architectures": [cls.original_class],
            **{own: getattr(config, name) for name in written for own in cls._names(name)},
            "rope_theta": rotary_base(config),
            "mask_token_id": config.token_ids["mask"],
            "eos_token_id": cls.ends_of(config),
            "pad_token_id": config.token_ids["pad"],
            **cls.fixed,
        }

    @classmethod
    def original_name(cls, name: str) -> str:
        """Return the original name of a stock weight; undoes ``key_mapping``."""
        return name

    @classmethod
    def _names(cls, stock: str) -> tuple[str, ...]:
        return cls.fields.get(stock, (stock,))

    @classmethod
    def _name_in(cls, original: Mapping[str, Any], stock: str) -> str:
        """Return which of its names a config uses for a field."""
        names = cls._names(stock)
        return next((name for name in names if original.get(name)), names[-1])

    @classmethod
    def make_bidirectional(
        cls, config: StockConfig, mask_id: int, eos_id: int | list[int], pad_id: int
    ) -> StockConfig:
        """Turn a stock causal config into a denoiser's, in place; causal only where the class is.

        The token ids are kept apart in ``config.token_ids``: given ``pad_token_id``, the stock
        embedding would never train that row, which LLaDA and Dream share with the end token.

        Args:
            config: Stock config.
            mask_id: Token id of the mask.
            eos_id: Token id of the end, or several.
            pad_id: Token id of padding.

        Returns:
            The same config.

        Raises:
            ValueError: If there is no end token, an id is no number, or the mask has another role.
        """
        ends = eos_id if isinstance(eos_id, list) else [eos_id]
        if not ends:
            raise ValueError("config.json: eos_token_id=[] names no token; give one or several")
        config.is_causal = cls.causal
        config.use_cache = False
        config.bos_token_id = config.eos_token_id = config.pad_token_id = None
        further = {f"eos_{number}": token for number, token in enumerate(ends[1:], 2)}
        config.token_ids = {"mask": mask_id, "eos": ends[0], "pad": pad_id, **further}
        for role, token in config.token_ids.items():
            if type(token) is not int:
                raise ValueError(
                    f"config.json: {role}_token_id={token!r} must be a whole number, the id of a "
                    "token; correct it"
                )
        if mask_id in (pad_id, *ends):
            raise ValueError(
                f"config.json: mask_token_id={mask_id} is the token of an end or of padding too; "
                "correct it"
            )
        return config

    @staticmethod
    def ends_of(config: StockConfig) -> int | list[int]:
        """Return the end token as ``config.json`` writes it, a list of several."""
        ends = [token for role, token in config.token_ids.items() if role.startswith("eos")]
        return ends if len(ends) > 1 else ends[0]

    @classmethod
    def initialise(cls, shape: DenoiserShape) -> StockNetwork:
        """Build a float32 network with random weights (torch's global generator) to be trained."""
        config = cls.architecture.config_class(
            hidden_size=shape.width,
            intermediate_size=shape.feed_forward,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            head_dim=shape.width // shape.heads,
            vocab_size=shape.vocab_size,
            max_position_embeddings=shape.max_length,
            rms_norm_eps=NORM_EPSILON,
            rope_parameters={"rope_type": "default", "rope_theta": ROTARY_BASE},
            tie_word_embeddings=shape.tie,
            # The stock 0.02 suits widths in the thousands; a narrow network hardly attends with it.
            initializer_range=shape.width**-0.5,
        )
        cls.make_bidirectional(config, shape.mask_id, shape.eos_id, shape.pad_id)
        return cls.architecture(config).train()

    @classmethod
    def save(
        cls, network: StockNetwork, tokenizer: PreTrainedTokenizerBase, folder: str | Path
    ) -> None:
        """Write a network in the original layout, to be loaded as ``cls(str(folder))``.

        Args:
            network: From :meth:`initialise`, or ``network`` of a loaded denoiser.
            tokenizer: Its tokenizer, with a chat template.
            folder: Where to; made if needed, files of the same names are overwritten.
        """
        config = cls.original_config(network.config)
        checkpoint.write(Path(folder), network, config, cls.original_name, tokenizer)
