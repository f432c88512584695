"""Dream's original layout, and its shift by one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lit_unmask.denoisers import Dream
from lit_unmask.types import Prompt, Signals
from tests.denoisers.conftest import (
    EOS,
    IM_END,
    MASK,
    PAD,
    Writer,
    edit_config,
    edit_weights,
    make_prompt,
    make_response,
)


@pytest.fixture
def folder(write_checkpoint: Writer) -> Path:
    """A fresh checkpoint that a test may damage."""
    return write_checkpoint(Dream)


def test_shift_takes_the_stock_logits_one_position_earlier(dream: Dream) -> None:
    prompt, response = make_prompt(3, 5), make_response(3, 4)
    with torch.no_grad():
        stock = dream.network(torch.cat([prompt.tokens, response], 1)).logits[:, 4:8]
    found = dream.logits(prompt, response)
    torch.testing.assert_close(found[..., MASK + 1 :], stock[..., MASK + 1 :])
    output = dream(prompt, response, Signals())
    assert torch.equal(output.proposal, stock[..., MASK + 1 :].argmax(-1) + MASK + 1)


def test_logits_equal_the_stored_reference(dream: Dream) -> None:
    prompt = Prompt(torch.tensor([[6, 8, 9, 10]]), torch.ones(1, 4, dtype=torch.bool))
    found = dream.logits(prompt, torch.tensor([[MASK, 11, MASK]]))[0, :, [1, 8, 15, 22]]
    expected = [
        [0.6426, 0.0148, 0.7963, -0.9055],
        [2.2740, 0.2274, -1.0226, 0.2738],
        [1.8684, -0.1128, -1.6042, -0.0406],
    ]
    torch.testing.assert_close(found, torch.tensor(expected), atol=2e-4, rtol=0)


def test_a_shifted_model_needs_a_prompt(dream: Dream) -> None:
    empty = Prompt(torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.bool))
    with pytest.raises(ValueError, match="the prompt must hold at least one token"):
        dream(empty, make_response(1, 3), Signals())


def test_ends_are_end_padding_and_im_end(dream: Dream) -> None:
    assert dream.end_ids == (EOS, PAD, IM_END)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "gelu"),
        ("rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
        ("use_mrope", True),
        ("use_sliding_window", True),
    ],
)
def test_unsupported_config_is_refused_by_field(folder: Path, field: str, value: object) -> None:
    edit_config(folder, {field: value})
    with pytest.raises(ValueError, match=f"{field}=.* is not supported; it must be"):
        Dream(str(folder))


@pytest.mark.parametrize("field", ["hidden_size", "rope_theta", "pad_token_id"])
def test_a_missing_field_is_named(folder: Path, field: str) -> None:
    edit_config(folder, {field: None})
    with pytest.raises(ValueError, match=f"{field} is missing"):
        Dream(str(folder))


def test_a_missing_bias_is_refused_by_name(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.self_attn.q_proj.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"missing: model\.layers\.0\.self_attn\.q_proj\.bias"):
        Dream(str(folder))


def test_a_head_that_is_tied_and_yet_another_is_refused(folder: Path) -> None:
    edit_config(folder, {"tie_word_embeddings": True})
    with pytest.raises(ValueError, match=r"config\.json .* ties the vocabulary head"):
        Dream(str(folder))
    embedding = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    edit_weights(folder, {"lm_head.weight": embedding.clone()})
    network = Dream(str(folder)).network
    assert network.lm_head.weight is network.model.embed_tokens.weight
