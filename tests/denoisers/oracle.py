"""A plain implementation of the three layouts, and random checkpoints that follow from a seed.

Nothing here knows the package: names, shapes and configs are written down as the originals have
them, and the forward is one row in float64 without a batch axis.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

LLADA_BLOCK = "model.transformer.blocks.{}."
LLADA = {
    "embedding": "model.transformer.wte",
    "norm": "model.transformer.ln_f",
    "head": "model.transformer.ff_out",
    "attention_norm": LLADA_BLOCK + "attn_norm",
    "q": LLADA_BLOCK + "q_proj",
    "k": LLADA_BLOCK + "k_proj",
    "v": LLADA_BLOCK + "v_proj",
    "attention_out": LLADA_BLOCK + "attn_out",
    "feed_forward_norm": LLADA_BLOCK + "ff_norm",
    "gate": LLADA_BLOCK + "ff_proj",
    "up": LLADA_BLOCK + "up_proj",
    "down": LLADA_BLOCK + "ff_out",
}
LAYER = "model.layers.{}."
QWEN = {
    "embedding": "model.embed_tokens",
    "norm": "model.norm",
    "head": "lm_head",
    "attention_norm": LAYER + "input_layernorm",
    "q": LAYER + "self_attn.q_proj",
    "k": LAYER + "self_attn.k_proj",
    "v": LAYER + "self_attn.v_proj",
    "attention_out": LAYER + "self_attn.o_proj",
    "feed_forward_norm": LAYER + "post_attention_layernorm",
    "gate": LAYER + "mlp.gate_proj",
    "up": LAYER + "mlp.up_proj",
    "down": LAYER + "mlp.down_proj",
}
QWEN3 = QWEN | {"q_norm": LAYER + "self_attn.q_norm", "k_norm": LAYER + "self_attn.k_norm"}


@dataclass(frozen=True)
class Spec:
    """Sizes and peculiarities of a small network, and the names of its weights."""

    names: dict[str, str]
    heads: int = 4
    key_heads: int = 2
    channels: int = 8
    width: int = 32
    feed_forward: int = 40
    layers: int = 2
    vocab_size: int = 48
    theta: float = 500_000.0
    epsilon: float = 1e-5
    biases: tuple[str, ...] = ()
    tied: bool = False

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight by its original name."""
        inner, keys = self.heads * self.channels, self.key_heads * self.channels
        sizes: dict[str, tuple[int, ...]] = {
            "embedding": (self.vocab_size, self.width),
            "norm": (self.width,),
            "head": (self.vocab_size, self.width),
            "attention_norm": (self.width,),
            "q": (inner, self.width),
            "k": (keys, self.width),
            "v": (keys, self.width),
            "attention_out": (self.width, inner),
            "feed_forward_norm": (self.width,),
            "gate": (self.feed_forward, self.width),
            "up": (self.feed_forward, self.width),
            "down": (self.width, self.feed_forward),
            "q_norm": (self.channels,),
            "k_norm": (self.channels,),
        }
        shapes = {}
        for role, name in self.names.items():
            if role == "head" and self.tied:
                continue
            for layer in range(self.layers if "{}" in name else 1):
                shapes[f"{name.format(layer)}.weight"] = sizes[role]
                if role in self.biases:
                    shapes[f"{name.format(layer)}.bias"] = sizes[role][:1]
        return shapes

    def weights(self, seed: int) -> dict[str, Tensor]:
        """Return float32 weights that follow from a seed on any machine."""
        result = {}
        for name, shape in self.shapes().items():
            random = Random(f"{seed} {name}")
            numbers = [random.uniform(-1, 1) for _ in range(math.prod(shape))]
            values = torch.tensor(numbers, dtype=torch.float64).view(shape)
            is_norm = len(shape) == 1 and name.endswith("weight")
            scale = 0.2 if len(shape) == 1 else 2.5 * shape[1] ** -0.5
            result[name] = (is_norm + scale * values).float()
        return result

    def logits(self, weights: dict[str, Tensor], tokens: Tensor) -> Tensor:
        """Return the logits ``[S, V]`` of tokens ``[S]``, float64, unshifted."""
        weight = {name: value.double() for name, value in weights.items()}

        def norm(role: str, layer: int, x: Tensor) -> Tensor:
            scaled = x / (x.pow(2).mean(-1, keepdim=True) + self.epsilon).sqrt()
            return weight[f"{self.names[role].format(layer)}.weight"] * scaled

        def linear(role: str, layer: int, x: Tensor) -> Tensor:
            name = self.names[role].format(layer)
            return x @ weight[f"{name}.weight"].T + weight.get(f"{name}.bias", torch.zeros(()))

        def turn(x: Tensor, position: int) -> Tensor:
            half = self.channels // 2
            angle = position * self.theta ** -(torch.arange(half, dtype=torch.float64) / half)
            left, right = x[:half], x[half:]
            cos, sin = angle.cos(), angle.sin()
            return torch.cat([left * cos - right * sin, right * cos + left * sin])

        x = weight[self.names["embedding"] + ".weight"][tokens]
        for layer in range(self.layers):
            h = norm("attention_norm", layer, x)
            parts = {
                role: linear(role, layer, h).unflatten(-1, (-1, self.channels)) for role in "qkv"
            }
            for role in ("q_norm", "k_norm"):
                if role in self.names:
                    parts[role[0]] = norm(role, layer, parts[role[0]])
            seen = []
            for head in range(self.heads):
                shared = head * self.key_heads // self.heads
                q = torch.stack([turn(row[head], i) for i, row in enumerate(parts["q"])])
                k = torch.stack([turn(row[shared], i) for i, row in enumerate(parts["k"])])
                scores = q @ k.T / math.sqrt(self.channels)
                seen.append(scores.softmax(-1) @ parts["v"][:, shared])
            x = x + linear("attention_out", layer, torch.cat(seen, -1))
            h = norm("feed_forward_norm", layer, x)
            gate = linear("gate", layer, h)
            x = x + linear("down", layer, gate * gate.sigmoid() * linear("up", layer, h))
        return linear("embedding" if self.tied else "head", 0, norm("norm", 0, x))


def llada_config(spec: Spec, ids: dict[str, int]) -> dict[str, Any]:
    """Return a ``config.json`` with the fields of LLaDA-8B-Instruct's, at the spec's sizes."""
    return {
        **{"activation_type": "silu", "alibi": False, "alibi_bias_max": 8.0},
        **{"architectures": ["LLaDAModelLM"], "attention_dropout": 0.0},
        **{"attention_layer_norm": False, "attention_layer_norm_with_affine": True},
        "auto_map": {"AutoModel": "modeling_llada.LLaDAModelLM"},
        **{"bias_for_layer_norm": False, "block_group_size": 1, "block_type": "llama"},
        **{"d_model": spec.width, "embedding_dropout": 0.0, "embedding_size": spec.vocab_size},
        **{"eos_token_id": ids["eos"], "flash_attention": False, "include_bias": False},
        **{"include_qkv_bias": False, "init_device": "meta", "input_emb_norm": False},
        **{"layer_norm_type": "rms", "layer_norm_with_affine": True, "mask_token_id": ids["mask"]},
        **{"max_sequence_length": 64, "mlp_hidden_size": spec.feed_forward, "mlp_ratio": 4},
        **{"model_type": "llada", "multi_query_attention": None, "n_heads": spec.heads},
        **{"n_kv_heads": spec.key_heads, "n_layers": spec.layers, "pad_token_id": ids["pad"]},
        **{"precision": "amp_bf16", "rms_norm_eps": spec.epsilon, "rope": True},
        **{"rope_full_precision": True, "rope_theta": spec.theta, "scale_logits": False},
        **{"use_cache": False, "vocab_size": spec.vocab_size, "weight_tying": spec.tied},
    }


def qwen_config(spec: Spec, ids: dict[str, int], model_type: str) -> dict[str, Any]:
    """Return a ``config.json`` with Qwen's fields, as Dream's and those made from Qwen3 have."""
    config = {
        **{"model_type": model_type, "hidden_act": "silu", "hidden_size": spec.width},
        **{"intermediate_size": spec.feed_forward, "num_hidden_layers": spec.layers},
        **{"num_attention_heads": spec.heads, "num_key_value_heads": spec.key_heads},
        **{"vocab_size": spec.vocab_size, "max_position_embeddings": 64},
        **{"rms_norm_eps": spec.epsilon, "rope_theta": spec.theta, "rope_scaling": None},
        **{"tie_word_embeddings": spec.tied, "use_sliding_window": False, "sliding_window": None},
        **{"eos_token_id": ids["eos"], "pad_token_id": ids["pad"], "mask_token_id": ids["mask"]},
    }
    return config | ({"head_dim": spec.channels} if "q_norm" in spec.names else {})


def write(
    folder: Path, config: dict[str, Any], weights: dict[str, Tensor], shards: int = 1
) -> None:
    """Write a checkpoint's config and weights, in one file or in shards with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, home = sorted(weights), {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {name: weights[name] for name in names[number::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        home |= dict.fromkeys(part, file)
    size = sum(4 * weight.numel() for weight in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": home}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
