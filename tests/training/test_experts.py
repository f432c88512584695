"""Experts that cannot be learned from are named before any forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from toys import DECODING, make_module, small_policy

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import (
    ConfidenceThreshold,
    ConfidenceTransformer,
    LearnedPolicy,
    LowConfidence,
)
from lit_unmask.policies.actions.count import CountHead
from lit_unmask.training.experts import Expert
from lit_unmask.types import Signals

FULL = replace(DECODING, block_length=8)
GOOD = Expert(ConfidenceThreshold(), 4)


class Curious(ConfidenceThreshold):
    """Looks at more probabilities than there are tokens."""

    signals = Signals(top_k=10_000)


def told() -> LearnedPolicy:
    return LearnedPolicy(ConfidenceTransformer(width=16, heads=2, feed_forward=16, speed=True))


MISTAKES: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "blocks of the policy": (
        lambda: {"decoding": DECODING},
        r"block_length=4 keeps the policy from acting.*block_length=8",
    ),
    "blocks of the expert": (
        lambda: {"experts": {"three": Expert(ConfidenceThreshold(), 3)}},
        r"model\.experts\.three: block_length=3 must divide gen_length=8",
    ),
    "actions": (
        lambda: {"policy": LearnedPolicy(small_policy().network, head=CountHead())},
        r"policy LearnedPolicy acts by TopKCount.*Bernoulli",
    ),
    "signals": (
        lambda: {"experts": {"curious": Expert(Curious(), 8)}},
        r"model\.experts\.curious: Curious looks at the 10000",
    ),
    "speed": (
        lambda: {"experts": {"told": Expert(told(), 8)}},
        r"model\.experts\.told: LearnedPolicy is conditioned on a speed.*Conditioned",
    ),
    "nothing to train": (lambda: {"policy": LowConfidence()}, "LowConfidence has no parameters"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_work_is_one_sentence(tiny_llada: LLaDA, mistake: str) -> None:
    make, message = MISTAKES[mistake]
    settings = {"decoding": FULL, "experts": {"good": GOOD}} | make()
    with pytest.raises(ConfigurationError, match=message):
        make_module(tiny_llada, **settings).check_trainable(1)


def test_good_settings_pass(tiny_llada: LLaDA) -> None:
    settings = {"experts": {"good": GOOD, "learned": Expert(small_policy(1), 8)}}
    make_module(tiny_llada, decoding=FULL, **settings).check_trainable(1)


def test_an_expert_without_rollouts_is_refused() -> None:
    with pytest.raises(ValueError, match="count=0"):
        Expert(ConfidenceThreshold(), 4, count=0)
