from __future__ import annotations

import pytest
import torch
from torch import Tensor
from toys import small_policy

from lit_unmask.denoisers import Dream, LLaDA
from lit_unmask.policies.actions import Bernoulli
from lit_unmask.preflight.memory import (
    Shape,
    cache_bytes,
    change_bytes,
    logits_bytes,
    observed,
    row_bytes,
    saved_bytes,
    step_bytes,
)
from lit_unmask.preflight.spec import Spec
from lit_unmask.types import Observation, Signals

BF16 = 2


@pytest.fixture(scope="module")
def llada() -> Spec:
    return Spec(LLaDA, {"path": "GSAI-ML/LLaDA-8B-Instruct", "dtype": "bfloat16"})


def test_a_row_of_llada_takes_what_its_feed_forward_part_holds(llada: Spec) -> None:
    # 456 tokens, residual stream and its copy, and three times the feed-forward width.
    assert row_bytes(llada.sizes, 456, BF16) == 456 * 2 * (2 * 4096 + 3 * 12288)
    assert row_bytes(llada.sizes, 456, BF16) / 1e6 == pytest.approx(41, abs=1)


def test_logits_are_bounded_by_their_limit_and_by_what_there_is(llada: Spec) -> None:
    many, one = Shape(16, 200, 256), Shape(1, 0, 8)
    positions = 2**26 // 126_464
    assert logits_bytes(llada, many, Signals(), False) == positions * 126_464 * (2 + 4)
    assert logits_bytes(llada, many, Signals(names={"entropy"}), False) == positions * 126_464 * 8
    assert logits_bytes(llada, one, Signals(), False) == 8 * 126_464 * 6
    small = Spec(LLaDA, dict(llada.arguments, max_logits=126_464))
    assert logits_bytes(small, many, Signals(), False) == 126_464 * 6


def test_a_cache_is_small_with_few_key_value_heads(llada: Spec) -> None:
    dream = Spec(Dream, {"path": "Dream-org/Dream-v0-Instruct-7B", "dtype": "bfloat16"})
    shape = Shape(16, 200, 256)
    assert cache_bytes(llada.sizes, shape, 1, BF16) == 2 * 32 * 4096 * 456 * 2
    assert cache_bytes(dream.sizes, shape, 1, BF16) == 2 * 28 * 4 * 128 * 456 * 2


def test_changes_keep_two_states_a_position(llada: Spec) -> None:
    what = Signals(names={"change"})
    assert change_bytes(llada.sizes, what, 256, 1, BF16) == 256 * (2 * 4096 * 2 + 8)
    assert change_bytes(llada.sizes, what, 256, 16, BF16) / 1e6 == pytest.approx(67, abs=1)
    assert change_bytes(llada.sizes, Signals(), 256, 16, BF16) == 0
    plain = step_bytes(llada.sizes, Signals(), 256, BF16)
    assert step_bytes(llada.sizes, what, 256, BF16) - plain == 2 * 256 * 4


def test_a_recorded_step_is_mostly_confidences(llada: Spec) -> None:
    assert step_bytes(llada.sizes, Signals(), 256, BF16) == 2 * (256 * 8 + 32)
    hidden = step_bytes(llada.sizes, Signals(names={"hidden"}), 256, BF16)
    assert hidden == 2 * (256 * (8 + 4096 * 2) + 32)


class Scale(torch.nn.Module):
    """A policy whose backward pass needs its input, 4 bytes a position, and what log_prob keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, observation: Observation) -> Tensor:
        return Product(observation.confidence[..., 0] * self.weight)


class Product:
    def __init__(self, value: Tensor) -> None:
        self.value = value

    def mode(self) -> Tensor:
        return self.value

    def log_prob(self, action: Tensor) -> Tensor:
        return self.value.sum()


def test_saved_bytes_of_a_step_are_counted_by_hand() -> None:
    # The product keeps the confidences, and a weight that does not grow with the steps.
    assert saved_bytes(Scale(), Signals(), 32, 16) == 32 * 4


def test_saved_bytes_grow_with_the_length() -> None:
    policy = small_policy()
    short, long = (saved_bytes(policy, policy.signals, n, 16) for n in (32, 64))
    assert 0 < short < long
    distribution = policy(observed(policy.signals, Shape(2, 0, 8), 16))
    assert isinstance(distribution, Bernoulli)
