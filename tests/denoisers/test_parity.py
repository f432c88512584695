"""Every layout computes what a plain implementation and stored numbers say, whole or in shards."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_unmask.denoisers import (
    Denoiser,
    Dream,
    LLaDA,
    Qwen3Diffusion,
    ShiftedQwen3Diffusion,
    StockDenoiser,
)
from lit_unmask.types import Prompt
from tests.denoisers import oracle
from tests.denoisers.conftest import EOS, MASK, PAD, make_tokenizer

IDS = {"mask": MASK, "eos": EOS, "pad": PAD}
STORED = Path(__file__).parents[1] / "fixtures" / "denoisers" / "logits.json"
PROMPT, LENGTH = 5, 6
TOKENS = torch.tensor([7, 31, 12, 40, 9, MASK, 22, MASK, MASK, 47, MASK])

LLADA = oracle.Spec(oracle.LLADA)
DREAM = oracle.Spec(oracle.QWEN, biases=("q", "k", "v"), theta=1e6, epsilon=1e-6)
# As in Qwen3-0.6B, all heads together are wider than the network.
QWEN3 = oracle.Spec(oracle.QWEN3, channels=12, theta=1e6, epsilon=1e-6, tied=True)
LAYOUTS: dict[str, tuple[type[StockDenoiser], oracle.Spec, dict[str, Any]]] = {
    "LLaDA": (LLaDA, LLADA, oracle.llada_config(LLADA, IDS)),
    "LLaDA, a key for each head": (
        LLaDA,
        replace(LLADA, key_heads=4),
        oracle.llada_config(replace(LLADA, key_heads=4), IDS) | {"n_kv_heads": None},
    ),
    "LLaDA, tied": (
        LLaDA,
        replace(LLADA, tied=True),
        oracle.llada_config(replace(LLADA, tied=True), IDS),
    ),
    "Dream": (Dream, DREAM, oracle.qwen_config(DREAM, IDS, "Dream")),
    "Qwen3": (Qwen3Diffusion, QWEN3, oracle.qwen_config(QWEN3, IDS, "a2d-qwen3")),
    "Qwen3, shifted, with biases": (
        ShiftedQwen3Diffusion,
        replace(QWEN3, tied=False, biases=("q", "k", "v", "attention_out")),
        oracle.qwen_config(replace(QWEN3, tied=False), IDS, "a2d-qwen3") | {"attention_bias": True},
    ),
}


def expected(family: type[Denoiser], spec: oracle.Spec, weights: dict[str, Tensor]) -> Tensor:
    first = PROMPT - int(family.shift)
    return spec.logits(weights, TOKENS)[first : first + LENGTH]


def found(denoiser: Denoiser) -> Tensor:
    prompt = Prompt(TOKENS[None, :PROMPT], torch.ones(1, PROMPT, dtype=torch.bool))
    return denoiser.logits(prompt, TOKENS[None, PROMPT:])[0]


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("name", LAYOUTS)
def test_logits_are_those_of_a_plain_implementation(name: str, shards: int, tmp_path: Path) -> None:
    family, spec, config = LAYOUTS[name]
    weights = spec.weights(seed=11)
    oracle.write(tmp_path, config, weights, shards)
    make_tokenizer().save_pretrained(tmp_path)
    slow, fast = expected(family, spec, weights), found(family(str(tmp_path)))
    assert bool((fast[:, MASK] == -torch.inf).all())
    torch.testing.assert_close(fast[:, MASK + 1 :], slow[:, MASK + 1 :].float(), atol=1e-5, rtol=0)
    # Rounded when they were stored, to six places.
    stored = torch.tensor(json.loads(STORED.read_text())[name])
    torch.testing.assert_close(fast[:, MASK + 1 :], stored[:, MASK + 1 :], atol=1.1e-5, rtol=0)


def test_the_plain_implementation_sees_shift_groups_and_norms() -> None:
    """Each peculiarity of a layout changes the numbers, so that parity cannot miss it."""
    weights = QWEN3.weights(seed=11)
    base = QWEN3.logits(weights, TOKENS)
    causeless = replace(QWEN3, names=oracle.QWEN).logits(weights, TOKENS)
    other_theta = replace(QWEN3, theta=1e4).logits(weights, TOKENS)
    for other in (causeless, other_theta, base.roll(1, 0)):
        assert (other - base).abs().max() > 1e-2


# Sizes of the published models; bytes in bfloat16.
REAL = {
    "LLaDA-8B-Instruct": (
        LLaDA,
        oracle.llada_config(
            oracle.Spec(oracle.LLADA, 32, 32, 128, 4096, 12288, 32, vocab_size=126464, theta=5e5),
            {"mask": 126336, "eos": 126081, "pad": 126081},
        ),
        16_031_162_368,
        291,
    ),
    "Dream-v0-Instruct-7B": (
        Dream,
        oracle.qwen_config(
            oracle.Spec(oracle.QWEN, 28, 4, 128, 3584, 18944, 28, vocab_size=152064, theta=1e6),
            {"mask": 151666, "eos": 151643, "pad": 151643},
            "Dream",
        ),
        2 * 7_615_616_512,
        339,
    ),
    "Qwen3-0.6B": (
        Qwen3Diffusion,
        oracle.qwen_config(
            oracle.Spec(
                oracle.QWEN3, 16, 8, 128, 1024, 3072, 28, vocab_size=151936, theta=1e6, tied=True
            ),
            {"mask": 151669, "eos": 151645, "pad": 151643},
            "a2d-qwen3",
        ),
        2 * 596_049_920,
        311,
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_the_published_configs_give_networks_of_the_published_size(name: str) -> None:
    family, config, size, tensors = REAL[name]
    with torch.device("meta"):
        network = family.architecture(family.stock_config(config))
    assert 2 * sum(weight.numel() for weight in network.parameters()) == size
    assert len(network.state_dict()) == tensors
    assert network.config.is_causal is False
