"""The loss of a round, against definitions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from toys import DECODING, make_data, make_module, small_policy

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
    return update(policy, batch, GRPO(), rounds, Counts(30, 24)).loss


def means(batch: Experience, values: torch.Tensor) -> torch.Tensor:
    """Return the mean over the policy's rollouts of the mean over their steps."""
    own = [values[batch.steps.rollout == rollout].mean() for rollout in range(24)]
    return torch.stack(own).mean()


def test_the_divergence_is_from_the_reference(tiny_llada: LLaDA) -> None:
    rounds, reference = Rounds(group_size=4, kl_weight=0.5), small_policy(7)
    torch.nn.init.normal_(reference.network.output_proj.weight)
    policy, batch = play(tiny_llada, rounds=rounds, reference=reference)
    distribution = reference(batch.steps.observation)
    log_ratio = distribution.log_prob(batch.steps.action) - policy(
        batch.steps.observation
    ).log_prob(batch.steps.action)
    kl = log_ratio.exp() - 1 - log_ratio
    found = update(policy, batch, GRPO(), rounds, Counts(30, 24))
    torch.testing.assert_close(
        found.loss - loss(batch, policy, replace(rounds, kl_weight=0.0)), 0.5 * means(batch, kl)
    )
    own = batch.steps.rollout < 24
    torch.testing.assert_close(found.readings["kl_reference"], kl[own].mean())


def test_without_advantages_the_divergence_alone_pulls_back(tiny_llada: LLaDA) -> None:
    rounds, reference = Rounds(group_size=4, kl_weight=1.0), small_policy(7)
    torch.nn.init.normal_(reference.network.output_proj.weight)
    policy, batch = play(tiny_llada, rounds=rounds, reference=reference)
    quiet = replace(batch, advantage=torch.zeros_like(batch.advantage))
    optimizer, seen = torch.optim.Adam(policy.parameters(), lr=3e-3), []
    for _ in range(12):
        found = update(policy, quiet, GRPO(), rounds, Counts(30, 24))
        seen.append(float(found.readings["kl_reference"]))
        optimizer.zero_grad()
        found.loss.backward()
        optimizer.step()
    assert seen[-1] < 0.6 * seen[0]


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
    rounds = Rounds(group_size=4, kl_weight=0.2)
    experts = {"threshold": Expert(ConfidenceThreshold(0.3), 2)}
    module = make_module(
        tiny_llada, decoding=FULL, experts=experts, rounds=rounds, reference=small_policy(7)
    )
    problems = list(make_data().train)[:6]
    whole, *halves = (
        update(
            module.policy, module.collector.play(part, 3), grpo, rounds, Counts(30, 24, world)
        ).loss
        for part, world in ((problems, 1), (problems[::2], 2), (problems[1::2], 2))
    )
    torch.testing.assert_close(sum(halves) / 2, whole)
    sums = [
        torch.autograd.grad(part, list(module.policy.parameters()), allow_unused=True)
        for part in (whole, sum(halves) / 2)
    ]
    for one, two in zip(*sums, strict=True):
        torch.testing.assert_close(one, two, atol=1e-7, rtol=1e-4)
