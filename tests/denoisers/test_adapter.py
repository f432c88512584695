"""LoRA adapters: the network plus a product of two matrices, or a refusal with the names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lit_unmask.denoisers import Adapter, Dream, LLaDA, Qwen3Diffusion, StockDenoiser
from lit_unmask.evaluation.fingerprints import denoiser_name
from tests.denoisers.conftest import SHAPE, Writer, make_prompt, make_response

ALPHA, RANK = 6, 2
PREFIX = "base_model.model."
# One that attends and one that does not, in the first and the last layer.
LAYERS = ("model.layers.0.self_attn.v_proj", "model.layers.1.mlp.down_proj")


def halves(family: type[StockDenoiser]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the two matrices of each adapted layer."""
    generator = torch.Generator().manual_seed(5)
    network = family.initialise(SHAPE)
    result = {}
    for layer in LAYERS:
        outer, inner = network.get_submodule(layer).weight.shape
        pair = (
            torch.randn(RANK, inner, generator=generator),
            torch.randn(outer, RANK, generator=generator),
        )
        result[layer] = pair
    return result


def write(folder: Path, family: type[StockDenoiser], original: bool, **changes: Any) -> Path:
    """Write an adapter that was trained on the stock network, or on the original code."""
    tensors = {}
    for layer, (first, second) in halves(family).items():
        weight = f"{layer}.weight"
        name = (family.original_name(weight) if original else weight).removesuffix(".weight")
        tensors[f"{PREFIX}{name}.lora_A.weight"] = first
        tensors[f"{PREFIX}{name}.lora_B.weight"] = second.contiguous()
    settings = {"r": RANK, "lora_alpha": ALPHA, "target_modules": ["v_proj"], "lora_dropout": 0.1}
    peft.LoraConfig(**(settings | changes)).save_pretrained(folder)
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("original", [True, False])
@pytest.mark.parametrize("family", [LLaDA, Dream, Qwen3Diffusion])
def test_an_adapter_adds_its_scaled_product(
    family: type[StockDenoiser], original: bool, merge: bool, write_checkpoint: Writer,
    tmp_path: Path
) -> None:  # fmt: skip
    folder = str(write_checkpoint(family))
    by_hand = family(folder)
    for layer, (first, second) in halves(family).items():
        by_hand.network.get_submodule(layer).weight += ALPHA / RANK * second @ first
    write(tmp_path, family, original)
    adapted = family(folder, adapter=Adapter(str(tmp_path), merge=merge))
    prompt, response = make_prompt(2, 5), make_response(2, 6)
    found, expected = adapted.logits(prompt, response), by_hand.logits(prompt, response)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    assert (found - family(folder).logits(prompt, response))[..., 1:].abs().max() > 0.1
    assert not any(weight.requires_grad for weight in adapted.parameters())
    assert not any(module.training for module in adapted.modules())


def test_ranks_and_scaling_may_differ_between_layers(
    write_checkpoint: Writer, tmp_path: Path
) -> None:
    folder = str(write_checkpoint(Dream))
    write(tmp_path, Dream, False, r=8, rank_pattern={"v_proj": RANK, "down_proj": RANK},
          use_rslora=True)  # fmt: skip
    by_hand = Dream(folder)
    for layer, (first, second) in halves(Dream).items():
        by_hand.network.get_submodule(layer).weight += ALPHA / RANK**0.5 * second @ first
    adapted = Dream(folder, adapter=Adapter(str(tmp_path)))
    prompt, response = make_prompt(2, 5), make_response(2, 6)
    torch.testing.assert_close(
        adapted.logits(prompt, response), by_hand.logits(prompt, response), atol=2e-5, rtol=0
    )


def test_identity_tells_adapters_apart(write_checkpoint: Writer, tmp_path: Path) -> None:
    folder = str(write_checkpoint(Dream))
    plain = Dream(folder)
    first = Dream(folder, adapter=Adapter(str(write(tmp_path / "a", Dream, False))))
    write(tmp_path / "b", Dream, False, lora_alpha=7)
    second = Dream(folder, adapter=Adapter(str(tmp_path / "b")))
    assert "adapter" not in plain.identity
    assert first.identity["adapter"] == str(tmp_path / "a")
    assert first.identity["adapter_revision"] is None
    assert first.identity["adapter_hash"] != second.identity["adapter_hash"]
    assert len({denoiser_name(one) for one in (plain, first, second)}) == 3


Edit = Callable[[dict[str, Tensor]], None]


def rename(old: str, new: str) -> Edit:
    def edit(tensors: dict[str, Tensor]) -> None:
        for key in [key for key in tensors if old in key]:
            tensors[key.replace(old, new)] = tensors.pop(key)

    return edit


def drop_half(tensors: dict[str, Tensor]) -> None:
    del tensors[f"{PREFIX}{LAYERS[0]}.lora_B.weight"]


def misshape(tensors: dict[str, Tensor]) -> None:
    tensors[f"{PREFIX}{LAYERS[0]}.lora_A.weight"] = torch.ones(RANK, 5)


def rerank(tensors: dict[str, Tensor]) -> None:
    for key in tensors:
        tensors[key] = torch.ones(3, 16) if "lora_A" in key else torch.ones(16, 3)
    tensors[f"{PREFIX}{LAYERS[1]}.lora_A.weight"] = torch.ones(3, 24)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (rename("layers.1", "layers.7"), r"does not fit .*layers\.7\.mlp\.down_proj\.lora_A"),
        (rename("lora_A", "lora_embedding_A"), r"does not fit .*v_proj\.lora_embedding_A"),
        (rename("mlp.down_proj", "input_layernorm"), r"does not fit .*input_layernorm\.lora_A"),
        (drop_half, r"v_proj\.lora_A\.weight without its other half"),
        (misshape, r"v_proj: \[16, 2\] times \[2, 5\] on a layer of \[16, 16\]"),
        (rerank, r"says r=2, but its weights have ranks \[3\]"),
        (dict.clear, "it has no weights"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_by_name(
    edit: Edit, said: str, tmp_path: Path, write_checkpoint: Writer
) -> None:
    file = write(tmp_path, Dream, False) / "adapter_model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)
    with pytest.raises(ValueError, match=said):
        Dream(str(write_checkpoint(Dream)), adapter=Adapter(str(tmp_path)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type='IA3' is not supported; it must be LORA"),
        ({"use_dora": True}, "use_dora=True is not supported; merge"),
        ({"alpha_pattern": {"v_proj": 3}}, "alpha_pattern=.* is not supported"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa' changed the weights"),
    ],
)
def test_other_kinds_of_adapters_are_refused(
    changes: dict[str, Any], said: str, tmp_path: Path, write_checkpoint: Writer
) -> None:
    file = write(tmp_path, Dream, False) / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ValueError, match=said):
        Dream(str(write_checkpoint(Dream)), adapter=Adapter(str(tmp_path)))


def test_a_missing_part_of_an_adapter_is_named(tmp_path: Path, write_checkpoint: Writer) -> None:
    (write(tmp_path, Dream, False) / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks adapter_model\.safetensors"):
        Dream(str(write_checkpoint(Dream)), adapter=Adapter(str(tmp_path)))
