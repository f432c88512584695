"""LLaDA as a stock Llama."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import LlamaConfig, LlamaForCausalLM

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

# Original name -> stock name, outside and inside the transformer blocks.
OUTER_NAMES = {
    "model.transformer.wte": "model.embed_tokens",
    "model.transformer.ln_f": "model.norm",
    "model.transformer.ff_out": "lm_head",
}
BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_norm": "post_attention_layernorm",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}
_ORIGINAL_OUTER = {stock: original for original, stock in OUTER_NAMES.items()}
_ORIGINAL_BLOCK = {stock: original for original, stock in BLOCK_NAMES.items()}

# What the stock Llama does too. None stands for a missing field, where the original's default is
# the supported value.
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "block_type": ("llama",),
    "layer_norm_type": ("rms",),
    "activation_type": ("silu",),
    "rope": (True,),
    "alibi": (False, None),
    "block_group_size": (1, None),
    "scale_logits": (False, None),
    "attention_layer_norm": (False, None),
    "input_emb_norm": (False, None),
    "include_bias": (False,),
    "include_qkv_bias": (False, None),
    "bias_for_layer_norm": (False, None),
    "layer_norm_with_affine": (True, None),
    "multi_query_attention": (False, None),
    "clip_qkv": (None,),
    "weight_tying": (True, False),
    "quantization_config": (None,),
}


class LLaDA(StockDenoiser):
    """LLaDA (arXiv 2502.09992, https://huggingface.co/GSAI-ML/LLaDA-8B-Instruct), not shifted.

    Runs as a stock bidirectional ``LlamaForCausalLM`` on checkpoints in LLaDA's original layout.
    Unlike the original code it honours the attention mask, so left padding changes nothing.

    Args:
        path: A folder, a bundled name such as ``tiny-llada``, or a hub id.
        revision: Commit on the hub; a tag or branch works, with a warning that it may move. None
            for folders and bundled names.
        dtype: Type of the weights; softmax is float32 whatever it is.
        max_logits: Largest number of logits (positions times **V**) that exist at once; bounds
            memory, does not change results. None takes what is fast on the device.
        placement: Device map and quantisation, for what does not fit one device.
        adapter: LoRA adapter to put on top.
        compile: How the layers are compiled; None runs them as they are.
    """

    shift = False
    architecture = LlamaForCausalLM
    model_types = ("llada",)
    end_roles = ("eos",)
    end_tokens = ("<|eot_id|>",)
    published: ClassVar[Mapping[str, Any]] = {  # GSAI-ML/LLaDA-8B-Instruct
        "model_type": "llada",
        "block_type": "llama",
        "layer_norm_type": "rms",
        "activation_type": "silu",
        "rope": True,
        "include_bias": False,
        "weight_tying": False,
        "d_model": 4096,
        "mlp_hidden_size": 12288,
        "n_layers": 32,
        "n_heads": 32,
        "embedding_size": 126464,
        "max_sequence_length": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500_000.0,
        "mask_token_id": 126336,
        "eos_token_id": 126081,
        "pad_token_id": 126081,
    }
    key_mapping: ClassVar[dict[str, str]] = {
        **{rf"^{re.escape(old)}\.": f"{new}." for old, new in OUTER_NAMES.items()},
        **{
            rf"^model\.transformer\.blocks\.(\d+)\.{old}\.": rf"model.layers.\1.{new}."
            for old, new in BLOCK_NAMES.items()
        },
    }

    @classmethod
    def stock_config(cls, original: Mapping[str, Any]) -> StockConfig:
        """Convert LLaDA's ``config.json``.

        Args:
            original: The JSON object.

        Returns:
            A bidirectional Llama config.

        Raises:
            ValueError: If a field is missing or asks for something unsupported.
        """
        refuse_unsupported(original, SUPPORTED)
        width = require_whole(original, "d_model")
        heads, keys = require_heads(original, ("n_heads", "n_kv_heads"), width)
        rotary = {"rope_type": "default", "rope_theta": require_positive(original, "rope_theta")}
        vocabulary = "embedding_size" if original.get("embedding_size") else "vocab_size"
        config = LlamaConfig(
            hidden_size=width,
            intermediate_size=require_whole(original, "mlp_hidden_size"),
            num_hidden_layers=require_whole(original, "n_layers", MOST_LAYERS),
            num_attention_heads=heads,
            num_key_value_heads=keys,
            vocab_size=require_whole(original, vocabulary),
            max_position_embeddings=require_whole(original, "max_sequence_length"),
            rms_norm_eps=require_positive(original, "rms_norm_eps"),
            rope_parameters=rotary,
            tie_word_embeddings=original["weight_tying"],
        )
        return cls.make_bidirectional(
            config,
            mask_id=require(original, "mask_token_id"),
            eos_id=require(original, "eos_token_id"),
            pad_id=require(original, "pad_token_id"),
        )

    @classmethod
    def original_config(cls, config: StockConfig) -> dict[str, Any]:
        """Return LLaDA's ``config.json`` of a Llama config; undoes :meth:`stock_config`."""
        return {
            "model_type": "llada",
            "architectures": ["LLaDAModelLM"],
            "d_model": config.hidden_size,
            "mlp_hidden_size": config.intermediate_size,
            "n_layers": config.num_hidden_layers,
            "n_heads": config.num_attention_heads,
            "n_kv_heads": config.num_key_value_heads,
            "vocab_size": config.vocab_size,
            "embedding_size": config.vocab_size,
            "max_sequence_length": config.max_position_embeddings,
            "rms_norm_eps": config.rms_norm_eps,
            "rope_theta": rotary_base(config),
            "weight_tying": config.tie_word_embeddings,
            "mask_token_id": config.token_ids["mask"],
            "eos_token_id": cls.ends_of(config),
            "pad_token_id": config.token_ids["pad"],
            "block_type": "llama",
            "layer_norm_type": "rms",
            "activation_type": "silu",
            "rope": True,
            "alibi": False,
            "block_group_size": 1,
            "scale_logits": False,
            "attention_layer_norm": False,
            "input_emb_norm": False,
            "include_bias": False,
            "include_qkv_bias": False,
        }

    @classmethod
    def original_name(cls, name: str) -> str:
        """Return LLaDA's name of a Llama weight, for instance ``model.transformer.wte.weight``."""
        stem, kind = name.rsplit(".", 1)
        if stem in _ORIGINAL_OUTER:
            return f"{_ORIGINAL_OUTER[stem]}.{kind}"
        layer, part = stem.removeprefix("model.layers.").split(".", 1)
        return f"model.transformer.blocks.{layer}.{_ORIGINAL_BLOCK[part]}.{kind}"
