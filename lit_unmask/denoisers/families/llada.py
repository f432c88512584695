"""LLaDA as a stock Llama."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import LlamaForCausalLM

from lit_unmask.denoisers.families.stock import StockDenoiser

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


class LLaDA(StockDenoiser):
    """LLaDA (arXiv 2502.09992, https://huggingface.co/GSAI-ML/LLaDA-8B-Instruct), not shifted.

    Runs as a stock bidirectional ``LlamaForCausalLM`` on checkpoints in LLaDA's original layout.
    Unlike the original code it honours the attention mask, so left padding changes nothing.
    """

    shift = False
    architecture = LlamaForCausalLM
    original_class = "LLaDAModelLM"
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
    fields: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "hidden_size": ("d_model",),
        "intermediate_size": ("mlp_hidden_size",),
        "num_hidden_layers": ("n_layers",),
        "num_attention_heads": ("n_heads",),
        "num_key_value_heads": ("n_kv_heads",),
        "vocab_size": ("embedding_size", "vocab_size"),
        "max_position_embeddings": ("max_sequence_length",),
        "tie_word_embeddings": ("weight_tying",),
    }
    supported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
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
    fixed: ClassVar[Mapping[str, Any]] = {
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
    key_mapping: ClassVar[dict[str, str]] = {
        **{rf"^{re.escape(old)}\.": f"{new}." for old, new in OUTER_NAMES.items()},
        **{
            rf"^model\.transformer\.blocks\.(\d+)\.{old}\.": rf"model.layers.\1.{new}."
            for old, new in BLOCK_NAMES.items()
        },
    }

    @classmethod
    def original_name(cls, name: str) -> str:
        """Return LLaDA's name of a Llama weight, for instance ``model.transformer.wte.weight``."""
        stem, kind = name.rsplit(".", 1)
        if stem in _ORIGINAL_OUTER:
            return f"{_ORIGINAL_OUTER[stem]}.{kind}"
        layer, part = stem.removeprefix("model.layers.").split(".", 1)
        return f"model.transformer.blocks.{layer}.{_ORIGINAL_BLOCK[part]}.{kind}"
