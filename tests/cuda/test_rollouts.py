"""Rollouts on the device are those of the plain loop, of the CPU, and of themselves again."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lit_unmask.denoisers import Denoiser
from lit_unmask.evaluation.decode import encode_groups, rollout_numbers
from lit_unmask.policies import (
    BernoulliArgmaxHead,
    BernoulliHead,
    BlockThresholdHead,
    ConfidenceThreshold,
    ConfidenceTransformer,
    CountHead,
    EntropyBound,
    HiddenTransformer,
    IntensityHead,
    LearnedPolicy,
    LeftToRight,
    LogitCountHead,
    LowConfidence,
    Margin,
    PlackettLuceHead,
    Random,
    ThresholdHead,
)
from lit_unmask.randomness import ACTION, uniform
from lit_unmask.rollout import Decoding, Noise, Rollout, Scheduling
from lit_unmask.tasks import ShoppingSums
from tests.cuda.conftest import LENGTH, assert_same, decode, placed

pytestmark = pytest.mark.gpu

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
plain_loop = importlib.import_module("plain_loop")

HEADS = {
    "bernoulli": BernoulliHead,
    "argmax": BernoulliArgmaxHead,
    "dpls": PlackettLuceHead,
    "intensity": IntensityHead,
    "threshold head": lambda: ThresholdHead(initial=0.6),
    "count": lambda: CountHead([1, 2, 4]),
    "count by logits": lambda: LogitCountHead([1, 2, 4]),
    "block": lambda: BlockThresholdHead([2, 8], [0.3, 0.6]),
}
HEURISTICS = {
    "random": lambda: Random(4),
    "low confidence": lambda: LowConfidence(4),
    "margin": lambda: Margin(4),
    "left to right": lambda: LeftToRight(4),
    "threshold": lambda: ConfidenceThreshold(0.6),
    "entropy bound": lambda: EntropyBound(0.5),
}
NOTHING_SAVED = Scheduling(skip=False, share=False, lookahead=1, call_tokens=None)
FIXED = Scheduling(deterministic=True, static_rows=4, static_tokens=32)
MOST_FLIPS = 0.75
"""Share of rows that rounding in bfloat16 may carry elsewhere; beyond it something is wrong."""


def learned(head: Any = None, network: Any = ConfidenceTransformer, **settings: Any) -> Any:
    torch.manual_seed(0)
    made = network(width=16, heads=2, feed_forward=16, output_bias=-1.0, **settings)
    policy = LearnedPolicy(made, head=head)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return policy


def policies() -> dict[str, Callable[[], Any]]:
    heads = {name: (lambda make=make: learned(make())) for name, make in HEADS.items()}
    return HEURISTICS | heads


def test_noise_is_the_same_to_the_last_bit(device: torch.device) -> None:
    rollouts, steps = torch.tensor([0, 5, 2**40, 2**62]), torch.tensor([0, 1, 63, 255])
    here = uniform(2**33 + 1, rollouts.to(device), steps.to(device), 256, ACTION)
    assert torch.equal(here.cpu(), uniform(2**33 + 1, rollouts, steps, 256, ACTION))


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_the_engine_decodes_as_the_plain_loop(
    bundled: Denoiser, problems: list, device: torch.device, temperature: float
) -> None:
    exact = placed(bundled, device, torch.float64)
    decoding = Decoding(LENGTH, 16, temperature, "wait", Scheduling(max_rows=3))
    for policy in (learned(), ConfidenceThreshold(0.6)):
        noise = Noise(7, rollout_numbers(problems, 2).to(device))
        prompt = encode_groups(exact, problems, 2)
        plain = plain_loop.plain_rollout(exact, policy.to(device), prompt, decoding, noise)
        assert_same(decode(exact, policy, problems, decoding), plain)


@pytest.mark.parametrize("name", policies())
def test_every_policy_decodes_as_on_the_cpu_and_its_actions_replay(
    name: str, tiny_llada: Denoiser, problems: list, device: torch.device
) -> None:
    policy, decoding = policies()[name](), Decoding(LENGTH, 16)
    there = placed(tiny_llada, device, torch.float64)
    here = placed(tiny_llada, torch.device("cpu"), torch.float64)
    found, expected = (decode(denoiser, policy, problems, decoding) for denoiser in (there, here))
    assert_same(found, expected)
    assert found.steps is not None and expected.steps is not None
    assert found.steps.log_prob.device.type == device.type
    torch.testing.assert_close(
        found.steps.log_prob.cpu(), expected.steps.log_prob, atol=1e-4, rtol=1e-4
    )
    if name in HEADS:
        acting = policy.to(device)
        replayed = acting(found.steps.observation).log_prob(found.steps.action)
        torch.testing.assert_close(replayed, found.steps.log_prob, atol=1e-4, rtol=1e-4)
        replayed.sum().backward()
        assert all(w.grad is None or bool(w.grad.isfinite().all()) for w in acting.parameters())


def test_a_policy_of_hidden_states_decodes_as_on_the_cpu(
    bundled: Denoiser, problems: list, device: torch.device
) -> None:
    policy = learned(network=HiddenTransformer, hidden_width=bundled.width)
    homes = (device, torch.device("cpu"))
    found, expected = (
        decode(placed(bundled, home, torch.float64), policy, problems, Decoding(LENGTH, 16))
        for home in homes
    )
    assert_same(found, expected)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_what_is_saved_changes_no_trajectory(
    bundled: Denoiser, problems: list, device: torch.device, temperature: float
) -> None:
    exact = placed(bundled, device, torch.float64)
    decoding = Decoding(LENGTH, LENGTH, temperature, "wait")
    saved = decode(exact, learned(), problems, decoding, group=4)
    whole = decode(exact, learned(), problems, replace(decoding, scheduling=NOTHING_SAVED), 4)
    assert saved.ledger.computed < whole.ledger.computed
    assert_same(saved, whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_fixed_shapes_give_the_same_bits_twice_and_in_other_company(
    bundled: Denoiser, problems: list, device: torch.device, dtype: torch.dtype
) -> None:
    denoiser = placed(bundled, device, dtype)
    decoding = Decoding(LENGTH, 16, 0.5, "wait", FIXED)
    runs = [
        decode(denoiser, learned(), problems, replace(decoding, scheduling=scheduling))
        for scheduling in (FIXED, FIXED, replace(FIXED, max_rows=3))
    ]
    for other in runs[1:]:
        assert_same(other, runs[0])
        assert torch.equal(_readings(other), _readings(runs[0]))


def _readings(result: Rollout) -> torch.Tensor:
    """Return confidences in the order of rollouts and steps."""
    assert result.steps is not None
    order = (result.steps.rollout * 1000 + result.steps.index).argsort()
    return result.steps.observation.confidence[order].cpu()


def test_the_company_of_a_row_seldom_flips_it_in_bfloat16(
    bundled: Denoiser, device: torch.device, record_property: Callable[[str, Any], None]
) -> None:
    many = list(ShoppingSums("test", 32, seed=1))
    half, policy = placed(bundled, device, torch.bfloat16), ConfidenceThreshold(0.9)
    decoding = Decoding(LENGTH, 16)
    noise = Noise(7, rollout_numbers(many, 1).to(device))
    prompt = encode_groups(half, many, 1)
    plain = plain_loop.plain_rollout(half, policy, prompt, decoding, noise)
    engine = decode(half, policy, many, decoding, group=1)
    other = (plain.response != engine.response).any(1) | (plain.nfe != engine.nfe)
    share = float(other.float().mean())
    record_property("rows of 32 that the plain loop decodes otherwise, share", share)
    assert share < MOST_FLIPS
