"""Dream as a stock Qwen2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import Qwen2Config, Qwen2ForCausalLM

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

# What the stock Qwen2 does too. None stands for a missing field, where the original's default is
# the supported value.
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", None),
    "rope_scaling": (None,),
    "use_mrope": (False, None),
    "use_sliding_window": (False, None),
    "tie_word_embeddings": (True, False, None),
    "quantization_config": (None,),
}


class Dream(StockDenoiser):
    """Dream (arXiv 2508.15487, https://huggingface.co/Dream-org/Dream-v0-Instruct-7B), shifted.

    Runs as a stock bidirectional ``Qwen2ForCausalLM`` on checkpoints in Dream's original layout.
    The state at position ``i - 1`` predicts token ``i``, so the prompt's last state predicts the
    first token of the response.

    Args:
        path: A folder, a bundled name such as ``tiny-dream``, or a hub id.
        revision: Commit on the hub; a tag or branch works, with a warning that it may move. None
            for folders and bundled names.
        dtype: Type of the weights; softmax is float32 whatever it is.
        max_logits: Largest number of logits (positions times **V**) that exist at once; bounds
            memory, does not change results. None takes what is fast on the device.
        placement: Device map and quantisation, for what does not fit one device.
        adapter: LoRA adapter to put on top.
        compile: How the layers are compiled; None runs them as they are.
    """

    shift = True
    architecture = Qwen2ForCausalLM
    model_types = ("Dream",)
    end_roles = ("eos", "pad")
    end_tokens = ("<|im_end|>",)
    published: ClassVar[Mapping[str, Any]] = {  # Dream-org/Dream-v0-Instruct-7B
        "model_type": "Dream",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "mask_token_id": 151666,
        "eos_token_id": 151643,
        "pad_token_id": 151643,
    }
    key_mapping: ClassVar[dict[str, str]] = {}

    @classmethod
    def stock_config(cls, original: Mapping[str, Any]) -> StockConfig:
        """Convert Dream's ``config.json``, whose fields are named as Qwen2's.

        Args:
            original: The JSON object.

        Returns:
            A bidirectional Qwen2 config.

        Raises:
            ValueError: If a field is missing or asks for something unsupported.
        """
        refuse_unsupported(original, SUPPORTED)
        width = require_whole(original, "hidden_size")
        heads, keys = require_heads(original, ("num_attention_heads", "num_key_value_heads"), width)
        rotary = {"rope_type": "default", "rope_theta": require_positive(original, "rope_theta")}
        config = Qwen2Config(
            hidden_size=width,
            intermediate_size=require_whole(original, "intermediate_size"),
            num_hidden_layers=require_whole(original, "num_hidden_layers", MOST_LAYERS),
            num_attention_heads=heads,
            num_key_value_heads=keys,
            vocab_size=require_whole(original, "vocab_size"),
            max_position_embeddings=require_whole(original, "max_position_embeddings"),
            rms_norm_eps=require_positive(original, "rms_norm_eps"),
            rope_parameters=rotary,
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
        """Return Dream's ``config.json`` of a Qwen2 config; undoes :meth:`stock_config`."""
        return {
            "model_type": "Dream",
            "architectures": ["DreamModel"],
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "num_hidden_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads,
            "num_key_value_heads": config.num_key_value_heads,
            "vocab_size": config.vocab_size,
            "max_position_embeddings": config.max_position_embeddings,
            "rms_norm_eps": config.rms_norm_eps,
            "rope_theta": rotary_base(config),
            "tie_word_embeddings": config.tie_word_embeddings,
            "mask_token_id": config.token_ids["mask"],
            "eos_token_id": cls.ends_of(config),
            "bos_token_id": config.token_ids["eos"],
            "pad_token_id": config.token_ids["pad"],
            "hidden_act": "silu",
            "rope_scaling": None,
            "use_mrope": False,
            "use_sliding_window": False,
        }

    @classmethod
    def original_name(cls, name: str) -> str:
        """Return the name itself: Dream's weights are named as Qwen2's."""
        return name
