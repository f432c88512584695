"""Small open models that were made from Qwen3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from lit_unmask.denoisers.families.layout import StockConfig
from lit_unmask.denoisers.families.stock import StockDenoiser
from lit_unmask.denoisers.loading.checkpoint import refuse_unsupported, require_whole


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
    """

    shift = False
    architecture = Qwen3ForCausalLM
    original_class = "A2DQwen3LMHeadModel"
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
    supported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "hidden_act": ("silu", None),
        "rope_scaling": (None,),
        "use_sliding_window": (False, None),
        "attention_bias": (True, False, None),
        "tie_word_embeddings": (True, False, None),
        "quantization_config": (None,),
    }
    fixed: ClassVar[Mapping[str, Any]] = {
        "hidden_act": "silu",
        "rope_scaling": None,
        "use_sliding_window": False,
    }
    template_arguments: ClassVar[dict[str, Any]] = {"enable_thinking": False}

    @classmethod
    def complete(
        cls, original: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase
    ) -> Mapping[str, Any]:
        """Return the config with the special tokens that the tokenizer knows.

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
    def further(cls, original: Mapping[str, Any]) -> dict[str, Any]:
        """Return the width of a head, which need not divide the network's, and the bias."""
        refuse_unsupported(
            original.get("rope_parameters") or original, {"rope_type": ("default", None)}
        )
        each = {"head_dim": require_whole(original, "head_dim")} if original.get("head_dim") else {}
        return {**each, "attention_bias": bool(original.get("attention_bias"))}

    @classmethod
    def original_config(cls, config: StockConfig) -> dict[str, Any]:
        """Return the ``config.json`` of a Qwen3 config, whose fields are named alike."""
        own = {name: getattr(config, name) for name in ("head_dim", "attention_bias")}
        return super().original_config(config) | own


class ShiftedQwen3Diffusion(Qwen3Diffusion):
    """Qwen3 turned into a masked diffusion model that was trained shifted.

    The state at position ``i - 1`` predicts token ``i``, as with dllm's
    ``right_shift_logits: True``. Arguments are those of :class:`Qwen3Diffusion`.
    """

    shift = True
