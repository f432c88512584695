"""Small open models that were made from Qwen3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from lit_unmask.denoisers.families.layout import StockConfig, rotary_base
from lit_unmask.denoisers.families.stock import StockDenoiser
from lit_unmask.denoisers.loading.checkpoint import (
    MOST_LAYERS,
    refuse_unsupported,
    require,
    require_heads,
    require_positive,
    require_whole,
)

# What the stock Qwen3 does too. None stands for a missing field, where the default is supported.
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", None),
    "rope_scaling": (None,),
    "use_sliding_window": (False, None),
    "attention_bias": (True, False, None),
    "tie_word_embeddings": (True, False, None),
    "quantization_config": (None,),
}


class Qwen3Diffusion(StockDenoiser):
    """Qwen3 turned into a masked diffusion model, not shifted.

    Runs as a stock bidirectional ``Qwen3ForCausalLM`` on checkpoints in the layout of dllm's
    models of the kind MDLM, for instance
    https://huggingface.co/dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1 (``model_type`` ``a2d-qwen3``).
    That they are not shifted is what dllm's training and sampling do by default
    (``right_shift_logits: False`` in ``dllm/core/trainers/mdlm.py`` and
    ``dllm/core/samplers/mdlm.py`` of https://github.com/ZHZisZZ/dllm). A checkpoint that was
    trained shifted is run by :class:`ShiftedQwen3Diffusion`; nothing in its files says which it is.
    Block diffusion models (BD3LM) have the same layout but another attention mask; they load, and
    are not supported.

    The mask, ``<|mask|>``, is known to the tokenizer alone. Prompts are rendered with
    ``enable_thinking=False``, as these models were trained.

    Args:
        path: A folder or a hub id.
        revision: Commit on the hub; a tag or branch works, with a warning that it may move. None
            for folders.
        dtype: Type of the weights; softmax is float32 whatever it is.
        max_logits: Largest number of logits (positions times **V**) that exist at once; bounds
            memory, does not change results. None takes what is fast on the device.
        placement: Device map and quantisation, for what does not fit one device.
        adapter: LoRA adapter to put on top.
        compile: How the layers are compiled; None runs them as they are.
    """

    shift = False
    architecture = Qwen3ForCausalLM
    model_types = ("a2d-qwen3",)
    end_roles = ("eos", "pad")
    end_tokens = ("<|im_end|>",)
    published: ClassVar[Mapping[str, Any]] = {  # the shape of Qwen3-0.6B
        "model_type": "a2d-qwen3",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": True,
        "mask_token_id": 151669,
        "eos_token_id": 151645,
        "pad_token_id": 151643,
    }
    key_mapping: ClassVar[dict[str, str]] = {}
    template_arguments: ClassVar[dict[str, Any]] = {"enable_thinking": False}

    @classmethod
    def complete(
        cls, original: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase
    ) -> Mapping[str, Any]:
        """Return the config with the special tokens that the tokenizer knows.

        Args:
            original: The JSON object of ``config.json``.
            tokenizer: The checkpoint's.

        Raises:
            ValueError: If neither knows a special token, or config and tokenizer contradict.
        """
        completed = dict(original)
        for role in ("mask", "pad", "eos"):
            name = f"{role}_token_id"
            known = getattr(tokenizer, name)
            if completed.get(name) is None:
                completed[name] = known
            if role == "mask" and known is not None and completed[name] != known:
                raise ValueError(
                    f"config.json: {name}={completed[name]}, but the tokenizer's {role} token "
                    f"{tokenizer.mask_token!r} is {known}; use the tokenizer that belongs to the "
                    "weights"
                )
            if completed[name] is None:
                raise ValueError(
                    f"neither config.json nor the tokenizer has a {role} token; add {name} to "
                    "config.json"
                )
        return completed

    @classmethod
    def stock_config(cls, original: Mapping[str, Any]) -> StockConfig:
        """Convert a ``config.json`` whose fields are named as Qwen3's.

        Args:
            original: The JSON object, with special tokens.

        Returns:
            A bidirectional Qwen3 config.

        Raises:
            ValueError: If a field is missing or asks for something unsupported.
        """
        refuse_unsupported(original, SUPPORTED)
        refuse_unsupported(_rotary(original), {"rope_type": ("default", None)})
        width = require_whole(original, "hidden_size")
        each = require_whole(original, "head_dim") if original.get("head_dim") else None
        names = "num_attention_heads", "num_key_value_heads"
        heads, keys = require_heads(original, names, width if each is None else 0)
        theta = require_positive(_rotary(original), "rope_theta")
        config = Qwen3Config(
            hidden_size=width,
            intermediate_size=require_whole(original, "intermediate_size"),
            num_hidden_layers=require_whole(original, "num_hidden_layers", MOST_LAYERS),
            num_attention_heads=heads,
            num_key_value_heads=keys,
            head_dim=each or width // heads,
            vocab_size=require_whole(original, "vocab_size"),
            max_position_embeddings=require_whole(original, "max_position_embeddings"),
            rms_norm_eps=require_positive(original, "rms_norm_eps"),
            rope_parameters={"rope_type": "default", "rope_theta": theta},
            attention_bias=bool(original.get("attention_bias")),
            tie_word_embeddings=bool(original.get("tie_word_embeddings")),
        )
        return cls.make_bidirectional(
            config,
            mask_id=require(original, "mask_token_id"),
            eos_id=require(original, "eos_token_id"),
            pad_id=require(original, "pad_token_id"),
        )

    @classmethod
    def original_config(cls, config: StockConfig) -> dict[str, Any]:
        """Return the ``config.json`` of a Qwen3 config; undoes :meth:`stock_config`."""
        return {
            "model_type": "a2d-qwen3",
            "architectures": ["A2DQwen3LMHeadModel"],
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "num_hidden_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads,
            "num_key_value_heads": config.num_key_value_heads,
            "head_dim": config.head_dim,
            "vocab_size": config.vocab_size,
            "max_position_embeddings": config.max_position_embeddings,
            "rms_norm_eps": config.rms_norm_eps,
            "rope_theta": rotary_base(config),
            "attention_bias": config.attention_bias,
            "tie_word_embeddings": config.tie_word_embeddings,
            "mask_token_id": config.token_ids["mask"],
            "eos_token_id": cls.ends_of(config),
            "pad_token_id": config.token_ids["pad"],
            "hidden_act": "silu",
            "rope_scaling": None,
            "use_sliding_window": False,
        }

    @classmethod
    def original_name(cls, name: str) -> str:
        """Return the name itself: the weights are named as Qwen3's."""
        return name


class ShiftedQwen3Diffusion(Qwen3Diffusion):
    """Qwen3 turned into a masked diffusion model that was trained shifted.

    The state at position ``i - 1`` predicts token ``i``, as with dllm's
    ``right_shift_logits: True``. Arguments are those of :class:`Qwen3Diffusion`.
    """

    shift = True


def _rotary(original: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of the rotary embedding, which transformers 5 writes one level down."""
    return original.get("rope_parameters") or original
