"""Device maps and quantisation: the same numbers from wherever the weights are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import torch
from transformers.quantizers import HfQuantizer
from transformers.quantizers.auto import (
    AUTO_QUANTIZATION_CONFIG_MAPPING,
    AUTO_QUANTIZER_MAPPING,
    register_quantization_config,
    register_quantizer,
)
from transformers.utils.quantization_config import QuantizationConfigMixin

from lit_unmask.denoisers import Adapter, Denoiser, LLaDA, Placement, Qwen3Diffusion
from lit_unmask.denoisers.running.cache import Kept, KeyValues, Span
from lit_unmask.evaluation.drift import denoiser_drift
from lit_unmask.evaluation.fingerprints import denoiser_name
from lit_unmask.policies import ConfidenceThreshold
from lit_unmask.rollout import Decoding
from lit_unmask.tasks import ShoppingSums
from lit_unmask.types import Signals
from tests.denoisers.conftest import Writer, make_prompt, make_response

ON_DISK = {
    "model.embed_tokens": "disk",
    "model.rotary_emb": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.norm": "cpu",
    "lm_head": "disk",
}
MAPS: dict[str, Any] = {
    "automatic": "auto",
    "one device": {"": "cpu"},
    "body and head apart": {"model": "cpu", "lm_head": "cpu"},
    "partly on disk": ON_DISK,
}


@pytest.mark.parametrize("family", [LLaDA, Qwen3Diffusion])
@pytest.mark.parametrize("name", MAPS)
def test_a_device_map_changes_no_number(
    name: str, family: type, write_checkpoint: Writer, tmp_path: Path
) -> None:
    folder = str(write_checkpoint(family))
    plain = family(folder)
    placed = family(folder, placement=Placement(MAPS[name], offload_folder=str(tmp_path)))
    assert placed.device == torch.device("cpu")
    prompt, response = make_prompt(2, 4), make_response(2, 5)
    assert torch.equal(placed.logits(prompt, response), plain.logits(prompt, response))
    kept = [KeyValues(9), KeyValues(9)]
    for denoiser, store in zip((plain, placed), kept, strict=True):
        store.slots = 2
        denoiser(prompt, response, Signals(), kept=Kept(store, torch.arange(2)))
    span = Span(torch.tensor([1, 3]), 2)
    parts = [
        denoiser(
            prompt, response, Signals(names={"hidden"}), kept=Kept(store, torch.arange(2), span)
        )
        for denoiser, store in zip((plain, placed), kept, strict=True)
    ]
    assert torch.equal(parts[0].signals["hidden"], parts[1].signals["hidden"])
    assert denoiser_name(placed) == denoiser_name(plain)


def test_placed_weights_stay_where_they_are(write_checkpoint: Writer, tmp_path: Path) -> None:
    placement = Placement(ON_DISK, offload_folder=str(tmp_path))
    denoiser = LLaDA(str(write_checkpoint(LLaDA)), placement=placement)
    prompt, response = make_prompt(2, 4), make_response(2, 5)
    before = denoiser.logits(prompt, response)
    assert denoiser.to("cpu") is denoiser and denoiser.cpu() is denoiser
    assert torch.equal(denoiser.logits(prompt, response), before)
    with pytest.raises(RuntimeError, match=r"first layer on cpu, but this process runs on meta"):
        denoiser.to("meta")
    with pytest.raises(RuntimeError, match="keep their type; choose it with the denoiser's dtype"):
        denoiser.double()


def test_without_a_device_map_the_denoiser_moves(write_checkpoint: Writer) -> None:
    denoiser = LLaDA(str(write_checkpoint(LLaDA)))
    assert denoiser.to("meta").device.type == "meta"


def test_settings_that_need_a_device_map_are_refused_without_one() -> None:
    with pytest.raises(ValueError, match=r"placement\.max_memory needs placement\.device_map"):
        Placement(max_memory={0: "20GiB"})
    with pytest.raises(ValueError, match=r"placement\.offload_folder needs"):
        Placement(offload_folder="somewhere")


@pytest.fixture
def rounding() -> Iterator[type[QuantizationConfigMixin]]:
    """A quantisation method that rounds the layers' weights to halves once they are loaded."""

    @register_quantization_config("halves")
    class HalvesConfig(QuantizationConfigMixin):
        def __init__(self, step: float = 0.5) -> None:
            self.quant_method, self.step = "halves", step

    @register_quantizer("halves")
    class Halves(HfQuantizer):
        requires_calibration = False
        is_trainable = is_serializable = True

        def _process_model_after_weight_loading(self, model: Any, **options: Any) -> None:
            step = self.quantization_config.step
            for weight in model.model.layers.parameters():
                weight.data = (weight.data / step).round() * step

    yield HalvesConfig
    del AUTO_QUANTIZATION_CONFIG_MAPPING["halves"], AUTO_QUANTIZER_MAPPING["halves"]


@pytest.mark.parametrize("device_map", [None, "cpu"])
def test_quantisation_is_passed_on(
    device_map: str | None, rounding: Any, write_checkpoint: Writer
) -> None:
    folder = str(write_checkpoint(LLaDA))
    by_hand = LLaDA(folder)
    for weight in by_hand.network.model.layers.parameters():
        weight.data = (weight.data / 0.25).round() * 0.25
    placement = Placement(device_map, quantization=rounding(step=0.25))
    found = LLaDA(folder, placement=placement)
    prompt, response = make_prompt(2, 4), make_response(2, 5)
    assert torch.equal(found.logits(prompt, response), by_hand.logits(prompt, response))


@pytest.mark.parametrize("kind", ["Int8WeightOnlyConfig", "Float8WeightOnlyConfig"])
def test_weights_are_kept_in_eight_bits_by_torchao(kind: str) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    chosen = {
        "class_path": "transformers.TorchAoConfig",
        "init_args": {"quant_type": {"class_path": f"torchao.quantization.{kind}"}},
    }
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Denoiser, "denoiser")
    arguments = {"path": "tiny-llada", "placement": {"quantization": chosen}}
    asked = {"class_path": "lit_unmask.denoisers.LLaDA", "init_args": arguments}
    small = parser.instantiate(parser.parse_object({"denoiser": asked})).denoiser
    whole = LLaDA("tiny-llada")
    layer = small.network.model.layers[0].mlp.up_proj.weight
    assert type(layer).__name__ == kind.replace("WeightOnlyConfig", "Tensor")
    assert quantization and type(small.network.lm_head.weight) is torch.nn.Parameter
    assert denoiser_name(small) != denoiser_name(whole)
    problems = list(ShoppingSums("test", 3))
    policy, decoding = ConfidenceThreshold(0.9), Decoding(16, 16)
    found = denoiser_drift(small, whole, policy, problems, decoding).masked
    assert 0.8 < found.same_proposal <= 1 and 0 < found.confidence_difference < 0.1


def test_an_adapter_is_not_merged_into_quantised_weights(rounding: Any) -> None:
    with pytest.raises(ValueError, match="merge=True would round it to the quantised"):
        LLaDA("tiny-llada", placement=Placement(quantization=rounding()), adapter=Adapter("a/b"))


def test_placement_and_adapter_are_chosen_in_yaml() -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Denoiser, "denoiser")
    quantization = {
        "class_path": "transformers.BitsAndBytesConfig",
        "init_args": {"load_in_8bit": True},
    }
    placement = {"device_map": {"model": 0, "lm_head": "cpu"}, "quantization": quantization}
    arguments = {
        "path": "GSAI-ML/LLaDA-8B-Instruct",
        "placement": placement | {"max_memory": {0: "20GiB"}},
        "adapter": {"path": "someone/adapter", "merge": False},
    }
    chosen = {"class_path": "lit_unmask.denoisers.LLaDA", "init_args": arguments}
    parsed = parser.parse_object({"denoiser": chosen}).denoiser.init_args
    assert parsed.placement.quantization.class_path == "transformers.BitsAndBytesConfig"
    assert parsed.placement.device_map == {"model": 0, "lm_head": "cpu"}
    assert parsed.adapter.merge is False
    placement["quantization"] = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.1}}
    with pytest.raises(Exception, match="does not implement protocol Quantization"):
        parser.parse_object(
            {"denoiser": chosen | {"init_args": {"path": "x", "placement": placement}}}
        )
