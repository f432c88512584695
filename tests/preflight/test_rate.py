from __future__ import annotations

import pytest
import torch
from toys import make_module

from lit_unmask.denoisers import Dream, LLaDA, Qwen3Diffusion
from lit_unmask.preflight.blueprint import Blueprint
from lit_unmask.preflight.devices import Devices
from lit_unmask.preflight.memory import Shape
from lit_unmask.preflight.rate import _affordable, _part, measure

CPU = Devices("cpu", True, 1, 1, 2, "CPU", None)
ABSENT = Devices("cuda", True, 8, 1, 0, "CPU", None)


@pytest.fixture
def tiny(tiny_llada: LLaDA) -> Blueprint:
    return Blueprint(LLaDA, {"path": tiny_llada.identity["path"]})


def test_everything_of_a_small_denoiser_is_timed(tiny: Blueprint, tiny_llada: LLaDA) -> None:
    rate = measure(make_module(tiny_llada), tiny, Shape(4, 10, 8), CPU, None)
    assert rate.how.startswith("2 of 2 layers") and "4 rows of 18 tokens" in rate.how
    assert min(rate.row, rate.decide, rate.replay) > 0


@pytest.mark.parametrize("kind", [LLaDA, Dream, Qwen3Diffusion])
def test_the_part_that_is_timed_is_a_working_network(kind: type, tiny_llada: LLaDA) -> None:
    blueprint = Blueprint(kind, {"path": "nobody/has-this"})
    blueprint.config.hidden_size, blueprint.config.head_dim = 32, 8
    blueprint.config.intermediate_size, blueprint.config.num_attention_heads = 32, 4
    blueprint.config.num_key_value_heads = 2
    network, _ = _part(blueprint, torch.device("cpu"))
    states = network.model(input_ids=torch.zeros(2, 5, dtype=torch.int64)).last_hidden_state
    assert states.shape == (2, 5, 32) and states.isfinite().all()
    assert not any(weight.requires_grad for weight in network.parameters())


def test_a_large_call_is_cut_to_a_few_tokens_on_a_cpu() -> None:
    llada = Blueprint(LLaDA, {"path": "nobody/has-this"})
    shape = Shape(16, 200, 256)
    small = _affordable(llada, shape, 1, torch.device("cpu"))
    assert small.rows == 1 and 16 <= small.tokens < 456
    assert _affordable(llada, shape, 1, torch.device("cuda")) == shape


def test_a_rate_that_is_given_is_taken(tiny: Blueprint, tiny_llada: LLaDA) -> None:
    model, shape = make_module(tiny_llada), Shape(4, 10, 8)
    here, elsewhere = (measure(model, tiny, shape, found, 12.0) for found in (CPU, ABSENT))
    assert here.row == elsewhere.row == 0.012
    assert here.decide > 0 and elsewhere.decide == 0
