from __future__ import annotations

from typing import Any

import pytest
import torch
from toys import make_data, make_module

from lit_unmask.denoisers import Dream, LLaDA, Qwen3Diffusion
from lit_unmask.preflight.assumptions import Assumptions
from lit_unmask.preflight.devices import Devices
from lit_unmask.preflight.dry_run import Request
from lit_unmask.preflight.memory import Shape
from lit_unmask.preflight.rate import _affordable, _part, measure
from lit_unmask.preflight.spec import Spec

CPU = Devices("cpu", True, 1, 1, 2, "CPU", None)
ABSENT = Devices("cuda", True, 8, 1, 0, "CPU", None)


def request_of(denoiser: LLaDA, rate: float | None = None) -> Request:
    model: Any = make_module(denoiser)
    model._denoiser.value = Spec(LLaDA, {"path": denoiser.identity["path"]})
    return Request("fit", {}, model, make_data(), assumptions=Assumptions(rate=rate))


def test_everything_of_a_small_denoiser_is_timed(tiny_llada: LLaDA) -> None:
    rate = measure(request_of(tiny_llada), Shape(4, 10, 8), CPU)
    assert rate.how.startswith("2 of 2 layers") and "4 rows of 18 tokens" in rate.how
    assert min(rate.row, rate.decide, rate.replay) > 0


@pytest.mark.parametrize("kind", [LLaDA, Dream, Qwen3Diffusion])
def test_the_part_that_is_timed_is_a_working_network(kind: type, tiny_llada: LLaDA) -> None:
    spec = Spec(kind, {"path": "nobody/has-this"})
    spec.config.hidden_size, spec.config.head_dim = 32, 8
    spec.config.intermediate_size, spec.config.num_attention_heads = 32, 4
    spec.config.num_key_value_heads = 2
    network, _ = _part(spec, torch.device("cpu"))
    states = network.model(input_ids=torch.zeros(2, 5, dtype=torch.int64)).last_hidden_state
    assert states.shape == (2, 5, 32) and states.isfinite().all()
    assert not any(weight.requires_grad for weight in network.parameters())


def test_a_large_call_is_cut_to_a_few_tokens_on_a_cpu() -> None:
    llada = Spec(LLaDA, {"path": "nobody/has-this"})
    shape = Shape(16, 200, 256)
    small = _affordable(llada, shape, 1, torch.device("cpu"))
    assert small.rows == 1 and 16 <= small.tokens < 456
    assert _affordable(llada, shape, 1, torch.device("cuda")) == shape


def test_a_rate_that_is_given_is_taken(tiny_llada: LLaDA) -> None:
    request = request_of(tiny_llada, 12.0)
    here, elsewhere = (measure(request, Shape(4, 10, 8), found) for found in (CPU, ABSENT))
    assert here.row == elsewhere.row == 0.012
    assert here.decide > 0 and elsewhere.decide == 0
