"""LLaDA's original layout: the same logits, or a refusal that says why."""

from __future__ import annotations

import copy
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lit_unmask.denoisers import DenoiserShape, Dream, LLaDA, Qwen3Diffusion
from lit_unmask.types import Prompt, Signals
from tests.denoisers.conftest import (
    EOS,
    EOT,
    MASK,
    SHAPE,
    Writer,
    edit_config,
    edit_weights,
    make_prompt,
    make_response,
    make_tokenizer,
)


@pytest.fixture
def folder(write_checkpoint: Writer) -> Path:
    """A fresh checkpoint that a test may damage."""
    return write_checkpoint(LLaDA)


def test_logits_equal_the_stored_reference(llada: LLaDA) -> None:
    prompt = Prompt(torch.tensor([[6, 8, 9, 10]]), torch.ones(1, 4, dtype=torch.bool))
    found = llada.logits(prompt, torch.tensor([[MASK, 11, MASK]]))[0, :, [1, 8, 15, 22]]
    expected = [
        [-0.6137, -2.1302, 0.3677, -0.3539],
        [-1.7847, -2.0122, -1.3677, -0.8747],
        [-0.8003, -1.7830, 0.8448, -0.0665],
    ]
    torch.testing.assert_close(found, torch.tensor(expected), atol=2e-4, rtol=0)


def test_ends_are_the_config_end_and_eot(llada: LLaDA) -> None:
    assert llada.end_ids == (EOS, EOT)


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("family", [LLaDA, Dream, Qwen3Diffusion])
def test_save_and_load_change_nothing(family: type, tie: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = family.initialise(replace(SHAPE, tie=tie))
    family.save(network, make_tokenizer(), tmp_path / "first")
    first = family(str(tmp_path / "first"))
    family.save(first.network, first.tokenizer, tmp_path / "second")
    second = family(str(tmp_path / "second"))
    tokens = make_response(2, 9)
    expected = network.eval()(tokens).logits
    for loaded in (first, second):
        assert torch.equal(loaded.network(tokens).logits, expected)
    assert first.identity["config_hash"] == second.identity["config_hash"]
    assert ("lm_head" in str(list(load_file(tmp_path / "first/model.safetensors")))) == (
        family is not LLaDA and not tie
    )


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("missing", "model.transformer.blocks.1.attn_out.weight", None),
        ("missing", "model.transformer.wte.weight", None),
        ("unexpected", "model.transformer.blocks.0.q_norm.weight", torch.ones(16)),
        ("unexpected", "model.transformer.blocks.2.up_proj.weight", torch.ones(24, 16)),
        ("mismatched", "model.transformer.blocks.0.ff_out.weight", torch.ones(24, 16)),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    folder: Path, kind: str, name: str, value: torch.Tensor | None
) -> None:
    edit_weights(folder, {name: value})
    with pytest.raises(ValueError, match=kind) as error:
        LLaDA(str(folder))
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("block_type", "sequential"),
        ("layer_norm_type", "default"),
        ("activation_type", "swiglu"),
        ("rope", False),
        ("alibi", True),
        ("block_group_size", 2),
        ("scale_logits", True),
        ("attention_layer_norm", True),
        ("input_emb_norm", True),
        ("include_bias", True),
        ("include_qkv_bias", True),
        ("bias_for_layer_norm", True),
        ("layer_norm_with_affine", False),
        ("multi_query_attention", True),
        ("clip_qkv", 1.0),
        ("weight_tying", None),
        ("rope", 1),
    ],
)
def test_unsupported_config_is_refused_by_field_and_value(
    folder: Path, field: str, value: object
) -> None:
    edit_config(folder, {field: value})
    with pytest.raises(ValueError, match=f"{field}={value!r} is not supported; it must be"):
        LLaDA(str(folder))


@pytest.mark.parametrize("field", ["d_model", "mlp_hidden_size", "mask_token_id", "rope_theta"])
def test_a_missing_field_is_named(folder: Path, field: str) -> None:
    edit_config(folder, {field: None})
    with pytest.raises(ValueError, match=f"{field} is missing"):
        LLaDA(str(folder))


def test_half_precision_passes_its_probes(folder: Path) -> None:
    denoiser = LLaDA(str(folder), dtype="bfloat16")
    output = denoiser(make_prompt(2, 4), make_response(2, 3), Signals(names={"hidden"}))
    assert output.confidence.dtype == torch.float32
    assert output.signals["hidden"] is not None and output.signals["hidden"].dtype == torch.bfloat16


def test_unknown_paths_files_and_types_are_explained(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="a bundled name"):
        LLaDA("no-such-denoiser")
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        LLaDA(str(tmp_path))
    with pytest.raises(ValueError, match="only checkpoints on the hub have revisions"):
        LLaDA(str(folder), revision="main")
    with pytest.raises(ValueError, match="dtype='float8' must be one of"):
        LLaDA(str(folder), dtype="float8")  # type: ignore[arg-type]
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match="holds no tokenizer"):
        LLaDA(str(folder))


def test_a_hub_that_cannot_be_reached_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"cannot get path='nobody/nothing'.*network"):
        LLaDA("nobody/nothing", revision="abc")


def test_identity_tells_configs_apart(folder: Path, tmp_path: Path) -> None:
    first = LLaDA(str(folder)).identity
    other = shutil.copytree(folder, tmp_path / "other")
    edit_config(other, {"rope_theta": 500.0})
    second = LLaDA(str(other)).identity
    assert first["path"] == str(folder) and first["revision"] is None
    assert first["config_hash"] != second["config_hash"]


def test_copies_and_pickles_say_the_same(llada: LLaDA) -> None:
    prompt, response = make_prompt(2, 4), make_response(2, 5)
    expected = llada.logits(prompt, response)
    for twin in (copy.deepcopy(llada), pickle.loads(pickle.dumps(llada))):
        assert torch.equal(twin.logits(prompt, response), expected)


def test_the_denoiser_stays_frozen_and_in_evaluation_mode(llada: LLaDA) -> None:
    around = torch.nn.Sequential(llada).train()
    assert around.training and not any(module.training for module in llada.modules())
    assert not any(parameter.requires_grad for parameter in llada.parameters())


def test_a_fresh_network_trains_every_weight_the_padding_row_too() -> None:
    network = LLaDA.initialise(SHAPE)
    tokens = torch.arange(SHAPE.vocab_size)[None]
    network(tokens).logits.logsumexp(-1).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert network.training and all(gradient is not None for gradient in gradients)
    assert bool((network.model.embed_tokens.weight.grad.abs().sum(1) > 0).all())


@pytest.mark.parametrize("change", [{"heads": 3}, {"mask_id": 99}, {"pad_id": -1}])
def test_shapes_that_cannot_work_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must be divisible|must lie in"):
        replace(SHAPE, **change)


def test_shape_is_a_plain_record() -> None:
    assert DenoiserShape(16, 2, 2, 24, 23, 40, 0, 1, 4) == SHAPE
