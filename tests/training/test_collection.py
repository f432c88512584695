"""Rounds with experts: what they are made of, against definitions and a slow loop."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import DECODING, make_data, make_module

from lit_unmask.denoisers import LLaDA
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.policies import (
    ConfidenceThreshold,
    EntropyBound,
    LearnedPolicy,
    LowConfidence,
    Margin,
    Random,
)
from lit_unmask.policies.actions import Bernoulli, DynamicPlackettLuce
from lit_unmask.training.collection import Collector
from lit_unmask.training.experts import Expert
from lit_unmask.training.grpo import GRPO
from lit_unmask.training.objective import Counts, update
from lit_unmask.training.settings import Rounds
from lit_unmask.types import Experience

FULL = replace(DECODING, block_length=8)
GROUP = 4
SEED = 3
# Two probabilities a position and entropies, of which the learner looks at neither.
EXPERTS = {
    "threshold": Expert(ConfidenceThreshold(0.3), block_length=2),
    "margin": Expert(Margin(2), block_length=4, count=2),
    "entropy": Expert(EntropyBound(0.5), block_length=8),
}


def collector(denoiser: LLaDA, experts: dict[str, Expert], **rounds: Any) -> Collector:
    module = make_module(
        denoiser, decoding=FULL, rounds=Rounds(group_size=GROUP, **rounds), experts=experts
    )
    return module.collector


def problems() -> list:
    return list(make_data().train)[:6]


@pytest.fixture(scope="module")
def steered(tiny_llada: LLaDA) -> tuple[Collector, Experience]:
    """A round of six groups of four rollouts and four of experts."""
    players = collector(tiny_llada, EXPERTS)
    return players, players.play(problems(), SEED)


def in_groups(values: Tensor) -> list[Tensor]:
    """Return what belongs to each problem: four rollouts, then one, two and one of experts."""
    parts = values.split([6 * GROUP, 6, 12, 6])
    return [torch.cat([part.view(6, -1)[group] for part in parts]) for group in range(6)]


def test_advantages_are_relative_to_the_whole_group(steered) -> None:
    batch = steered[1]
    mixed = 0
    for rewards, advantage in zip(
        in_groups(batch.rewards), in_groups(batch.advantage), strict=True
    ):
        assert len(rewards) == 8
        expected = rewards - sum(rewards.tolist()) / 8
        torch.testing.assert_close(advantage, expected, atol=1e-6, rtol=0)
        mixed += bool(expected.any())
    assert mixed > 1
    assert batch.expert.tolist() == [False] * 24 + [True] * 24


def test_experts_leave_the_rollouts_of_the_policy_as_they_are(steered, tiny_llada: LLaDA) -> None:
    alone = collector(tiny_llada, {}).play(problems(), SEED)
    batch = steered[1]
    mine = batch.steps.select(batch.steps.rollout < 24)
    for name in ("rollout", "index", "action", "log_prob"):
        assert torch.equal(getattr(mine, name), getattr(alone.steps, name)), name
    for name in ("masked", "confidence"):
        seen = (getattr(steps.observation, name) for steps in (mine, alone.steps))
        assert torch.equal(*seen), name
    assert torch.equal(batch.rewards[:24], alone.rewards)
    logged = {name for name in alone.diagnostics if name not in ("row_forwards", "rollout_seconds",
                                                                 "rollouts_per_s")}  # fmt: skip
    assert all(batch.diagnostics[name] == alone.diagnostics[name] for name in logged)
    assert batch.diagnostics["row_forwards"] > alone.diagnostics["row_forwards"]


def test_experts_decode_as_they_do_alone(tiny_llada: LLaDA) -> None:
    # At temperature 0, where the place in the group does not matter.
    greedy = replace(FULL, temperature=0.0)
    module = make_module(
        tiny_llada, decoding=greedy, rounds=Rounds(group_size=GROUP), experts=EXPERTS
    )
    batch = module.collector.play(problems(), SEED)
    rows = {"threshold": slice(24, 30), "margin": slice(30, 42), "entropy": slice(42, 48)}
    for name, expert in EXPERTS.items():
        alone = evaluate(tiny_llada, expert.policy, problems(), expert.decoding(greedy))
        nfe = alone.nfe.repeat_interleave(expert.count)
        correct = alone.correct.repeat_interleave(expert.count)
        assert torch.equal(batch.decisions[rows[name]], nfe)
        assert torch.equal(batch.correct[rows[name]], correct)
        read = {
            "accuracy": float(correct.mean()),
            "nfe": float(nfe.float().mean()),
            "reward": float(batch.rewards[rows[name]].mean()),
            "advantage": float(batch.advantage[rows[name]].mean()),
        }
        for metric, value in read.items():
            assert batch.diagnostics[f"expert/{name}/{metric}"] == pytest.approx(value), metric


def test_expert_steps_are_likely_by_the_mixture_over_all_masked_positions(steered) -> None:
    players, batch = steered
    steps = batch.steps
    theirs = batch.expert[steps.rollout].nonzero().squeeze(1).tolist()
    assert len(theirs) > 50
    outside = 0
    for row in theirs:
        one = steps.select(torch.tensor([row]))
        seen, log_p = one.observation, 0.0
        logits = players.policy.network(seen)[0].tolist()
        for logit, masked, opened in zip(logits, seen.masked[0], one.chosen[0], strict=True):
            if masked:
                log_p += -math.log1p(math.exp(-logit if opened else logit))
        expected = math.log(4 / 8 * math.exp(log_p) + 1 / 8)
        assert float(one.log_prob) == pytest.approx(expected, abs=1e-5)
        outside += int(one.observation.masked.sum()) > 4
        assert one.observation.confidence.shape[-1] == 1 and not one.observation.signals
    assert outside  # positions count that no expert in blocks might have opened


@pytest.mark.parametrize("moved", [False, True])
def test_ratios_are_those_of_the_mixture(steered, moved: bool) -> None:
    players, batch = steered
    batch = replace(batch, advantage=torch.where(batch.expert, batch.advantage + 0.1, 0.0))
    policy = players.policy
    if moved:
        torch.manual_seed(1)
        policy = LearnedPolicy(type(policy.network)(width=16, heads=2, feed_forward=16))
    counts = Counts(48)
    # An interval that clips nothing, so that the loss shows the ratios.
    found = update(policy, batch, GRPO(clip=1.0, clip_high=1e9), players.rounds, counts)
    policy.requires_grad_(False)
    total = 0.0
    for row in batch.expert[batch.steps.rollout].nonzero().squeeze(1).tolist():
        one = batch.steps.select(torch.tensor([row]))
        seen = one.observation
        new = Bernoulli(policy.network(seen), seen.masked).log_prob(one.chosen)
        ratio = (0.5 * new.exp() + 1 / 8) / one.log_prob.exp()
        assert moved or float(ratio) == pytest.approx(1, abs=1e-5)
        rollout = int(one.rollout)
        total -= float(batch.advantage[rollout] * ratio / batch.decisions[rollout] / 48)
    policy.requires_grad_(True)
    assert float(found.loss.detach()) == pytest.approx(total, rel=1e-4)


def test_what_is_logged_is_about_the_policys_own_steps(steered) -> None:
    players, batch = steered
    found = update(players.policy, batch, GRPO(), players.rounds, Counts(48))
    rows = (batch.advantage[batch.steps.rollout] != 0) & ~batch.expert[batch.steps.rollout]
    steps = batch.steps.select(rows)
    entropy = players.policy(steps.observation).entropy().mean()
    torch.testing.assert_close(found.readings["entropy"], entropy)
    assert float(found.surrogate.ratio_mean) == pytest.approx(1, abs=1e-5)


def test_a_forced_position_is_shown_and_an_empty_action_is_not(tiny_llada: LLaDA) -> None:
    shy = make_module(tiny_llada).policy
    torch.nn.init.constant_(shy.network.output_proj.bias, -30.0)
    batch = collector(tiny_llada, {"shy": Expert(shy, 8)}).play(problems(), SEED)
    theirs = batch.steps.select(batch.expert[batch.steps.rollout])
    assert (theirs.chosen.sum(1) == 1).all()


def test_ordered_actions_learn_from_sets(tiny_llada: LLaDA) -> None:
    class Ordered(LearnedPolicy):
        def forward(self, observation):
            return DynamicPlackettLuce(self.network(observation), observation.eligible)

    policy = Ordered(make_module(tiny_llada).policy.network)
    module = make_module(
        tiny_llada, policy, decoding=FULL, rounds=Rounds(group_size=GROUP),
        experts={"two": Expert(LowConfidence(2), 4), "any": Expert(Random(3), 8, count=2)},
    )  # fmt: skip
    batch = module.collector.play(problems(), SEED)
    found = update(policy, batch, GRPO(), module.rounds, Counts(42))
    theirs = batch.steps.select(batch.expert[batch.steps.rollout])
    assert torch.equal(theirs.action > 0, theirs.chosen)
    assert found.loss.isfinite() and float(found.surrogate.ratio_mean) == pytest.approx(1, abs=1e-5)
