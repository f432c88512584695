"""The loss of a round, against definitions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from toys import DECODING, make_data, make_module

from lit_unmask.denoisers import LLaDA
from lit_unmask.policies import ConfidenceThreshold, LearnedPolicy
from lit_unmask.training.experts import Expert
from lit_unmask.training.grpo import GRPO, SumOverSteps
from lit_unmask.training.objective import Counts, update
from lit_unmask.training.settings import Rounds
from lit_unmask.types import Experience

FULL = replace(DECODING, block_length=8)


def play(denoiser: LLaDA, **settings: Any) -> tuple[LearnedPolicy, Experience]:
    """Play six problems with four rollouts each and one of an expert."""
    experts = {"threshold": Expert(ConfidenceThreshold(0.3), 2)}
    module = make_module(denoiser, decoding=FULL, experts=experts, **settings)
    return module.policy, module.collector.play(list(make_data().train)[:6], 3)


def loss(batch: Experience, policy: LearnedPolicy, rounds: Rounds) -> Any:
    return update(policy, batch, GRPO(), rounds, Counts(30)).loss


def test_steps_that_add_nothing_are_not_replayed_and_a_round_of_them_has_zero_gradients(
    tiny_llada: LLaDA,
) -> None:
    policy, batch = play(tiny_llada)
    quiet = replace(batch, advantage=torch.zeros_like(batch.advantage))
    found = loss(quiet, policy, Rounds(group_size=4, replay_chunk=5))
    found.backward()
    assert found == 0
    assert all(not weight.grad.any() for weight in policy.parameters())


@pytest.mark.parametrize("grpo", [GRPO(), GRPO(weights=SumOverSteps(8.0))])
def test_ranks_with_half_the_problems_have_half_the_loss_each(
    tiny_llada: LLaDA, grpo: GRPO
) -> None:
    rounds = Rounds(group_size=4)
    experts = {"threshold": Expert(ConfidenceThreshold(0.3), 2)}
    module = make_module(tiny_llada, decoding=FULL, experts=experts, rounds=rounds)
    problems = list(make_data().train)[:6]
    whole, *halves = (
        update(module.policy, module.collector.play(part, 3), grpo, rounds, Counts(30, world)).loss
        for part, world in ((problems, 1), (problems[::2], 2), (problems[1::2], 2))
    )
    torch.testing.assert_close(sum(halves) / 2, whole)
    sums = [
        torch.autograd.grad(part, list(module.policy.parameters()), allow_unused=True)
        for part in (whole, sum(halves) / 2)
    ]
    for one, two in zip(*sums, strict=True):
        torch.testing.assert_close(one, two, atol=1e-7, rtol=1e-4)
