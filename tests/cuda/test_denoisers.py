"""Denoisers on the device say what they say on the CPU, compiled and out of memory too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_unmask.denoisers import Compile, Denoiser, LLaDA
from lit_unmask.denoisers.running.memory import RowLimit
from lit_unmask.evaluation.decode import encode_groups
from lit_unmask.policies import ConfidenceThreshold
from lit_unmask.rollout import Decoding, Scheduling
from lit_unmask.types import Prompt, Reading, Signals
from tests.cuda.conftest import LENGTH, assert_same, decode, placed

pytestmark = pytest.mark.gpu

ALL = Signals(3, {"entropy", "hidden"})
# Of the hidden states, relative to those in float64 on the CPU, and of a probability.
TOLERANCES = {torch.float32: (1e-5, 1e-4), torch.bfloat16: (3e-2, 0.2)}
MANY = {"cuda": 4096, "cpu": 24}
PROMPT = 96


def half_masked(denoiser: Denoiser, rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(10, denoiser.vocab_size, (rows, LENGTH), generator=generator)
    hidden = torch.rand(rows, LENGTH, generator=generator) < 0.5
    return tokens.masked_fill(hidden, denoiser.mask_id)


def ask(denoiser: Denoiser, prompt: Prompt, response: Tensor) -> Reading:
    return denoiser(prompt.to(denoiser.device), response.to(denoiser.device), ALL).to("cpu")


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_a_denoiser_says_what_it_says_on_the_cpu(
    bundled: Denoiser, problems: list, device: torch.device, dtype: torch.dtype,
    record_property: Callable[[str, Any], None],
) -> None:  # fmt: skip
    prompt, response = encode_groups(bundled, problems, 1), half_masked(bundled, len(problems))
    exact = ask(placed(bundled, torch.device("cpu"), torch.float64), prompt, response)
    found = ask(placed(bundled, device, dtype), prompt, response)
    hidden, probability = TOLERANCES[dtype]
    states = exact.signals["hidden"]
    error = float((found.signals["hidden"].double() - states).norm() / states.norm())
    record_property("relative error of the hidden states", error)
    assert error < hidden
    assert float((found.confidence - exact.confidence).abs().max()) < probability
    sure = exact.confidence[..., 0] - exact.confidence[..., 1] > 2 * probability
    assert bool(sure.any())
    assert torch.equal(found.proposal[sure], exact.proposal[sure])


def test_a_call_that_runs_out_of_memory_is_halved_and_says_the_same(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser, rows = LLaDA("tiny-llada").to(device), MANY[device.type]
    prompt = Prompt(torch.full((rows, PROMPT), 9), torch.ones(rows, PROMPT, dtype=torch.bool))
    response = half_masked(denoiser, rows)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    whole = ask(denoiser, prompt, response)
    assert denoiser.row_limit.rows is None
    denoiser.row_limit = RowLimit()
    if device.type == "cuda":
        split = _under_a_cap(denoiser, prompt, response)
    else:
        _scarce(monkeypatch, rows // 3)
        split = ask(denoiser, prompt, response)
    assert denoiser.row_limit.rows is not None and denoiser.row_limit.rows < rows
    torch.testing.assert_close(split.confidence, whole.confidence, atol=1e-4, rtol=1e-4)


def _under_a_cap(denoiser: Denoiser, prompt: Prompt, response: Tensor) -> Reading:
    """Ask with room for the answers and for half of what the whole call took beside them."""
    total = torch.cuda.get_device_properties(denoiser.device).total_memory
    there, peak = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
    answers = 4 * response.numel() * (denoiser.width + 8)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((there + answers + (peak - there) / 2) / total)
    try:
        return ask(denoiser, prompt, response)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def _scarce(monkeypatch: pytest.MonkeyPatch, fits: int) -> None:
    """Let calls of more rows fail as they do where memory runs out."""
    states = LLaDA.states

    def scarce(self: Any, prompt: Prompt, response: Tensor, kept: Any) -> Tensor:
        if len(response) > fits:
            raise torch.OutOfMemoryError("out of memory")
        return states(self, prompt, response, kept)

    monkeypatch.setattr(LLaDA, "states", scarce)


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Leave no compiled code behind."""
    yield
    torch.compiler.reset()


class Traced(Compile):
    """On the CPU the layers are traced and run as they are: generating code takes a minute."""

    def arguments(self) -> dict[str, Any]:
        return {"backend": "aot_eager", "fullgraph": True, "dynamic": False}


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_layers_of_fixed_shapes_decode_alike(
    mode: Any, tiny_checkpoint: Any, problems: list, device: torch.device, forgotten: None
) -> None:
    if mode == "reduce-overhead" and device.type == "cpu":
        pytest.skip("CUDA graphs are recorded on CUDA alone")
    fixed = Scheduling(deterministic=True, static_rows=4, static_tokens=128)
    decoding = Decoding(16, 8, scheduling=fixed)
    how = Traced() if device.type == "cpu" else Compile(mode)
    plain = LLaDA(str(tiny_checkpoint)).to(device)
    compiled = LLaDA(str(tiny_checkpoint), compile=how).to(device)
    policy = ConfidenceThreshold(0.3)
    expected = decode(plain, policy, problems, decoding)
    found = decode(compiled, policy, problems, decoding)
    assert_same(found, expected)
    # Replays of a recorded graph, which must not write into what was returned.
    assert_same(decode(compiled, policy, problems, decoding), expected)
