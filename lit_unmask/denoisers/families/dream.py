"""Dream as a stock Qwen2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import Qwen2ForCausalLM

from lit_unmask.denoisers.families.layout import StockConfig
from lit_unmask.denoisers.families.stock import StockDenoiser


class Dream(StockDenoiser):
    """Dream (arXiv 2508.15487, https://huggingface.co/Dream-org/Dream-v0-Instruct-7B), shifted.

    Runs as a stock bidirectional ``Qwen2ForCausalLM`` on checkpoints in Dream's original layout.
    The state at position ``i - 1`` predicts token ``i``, so the prompt's last state predicts the
    first token of the response.
    """

    shift = True
    architecture = Qwen2ForCausalLM
    original_class = "DreamModel"
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
    supported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "hidden_act": ("silu", None),
        "rope_scaling": (None,),
        "use_mrope": (False, None),
        "use_sliding_window": (False, None),
        "tie_word_embeddings": (True, False, None),
        "quantization_config": (None,),
    }
    fixed: ClassVar[Mapping[str, Any]] = {
        "hidden_act": "silu",
        "rope_scaling": None,
        "use_mrope": False,
        "use_sliding_window": False,
    }

    @classmethod
    def original_config(cls, config: StockConfig) -> dict[str, Any]:
        """Return Dream's ``config.json``, whose fields are named as Qwen2's."""
        return super().original_config(config) | {"bos_token_id": config.token_ids["eos"]}
