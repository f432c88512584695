"""Imitation by teacher forcing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lit_unmask.policies.actions import Bernoulli, DynamicPlackettLuce
from lit_unmask.training.imitation import (
    agreement,
    as_committed,
    behaviour_cloning_loss,
    cautious_log_prob,
    imitation_loss,
    in_view,
)
from lit_unmask.types import Observation, Signals, Steps


def make_steps() -> Steps:
    """Return steps of two rollouts of four positions, in blocks of two."""
    masked = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]]).bool()
    eligible = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0]]).bool()
    chosen = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 0, 0]]).bool()
    forced = torch.zeros_like(chosen)
    forced[1, 1] = True
    return Steps(
        rollout=torch.tensor([0, 0, 0, 1]),
        index=torch.tensor([0, 1, 2, 0]),
        observation=Observation(
            masked, eligible, torch.rand(4, 4, 3), torch.zeros(4), {"entropy": torch.rand(4, 4)}
        ),
        action=chosen,
        chosen=chosen,
        log_prob=torch.zeros(4),
        committed=chosen | forced,
    )


def test_a_forced_position_is_what_is_shown() -> None:
    steps = as_committed(make_steps())
    assert steps.chosen.int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [1, 1, 0, 0]]


def test_another_policy_sees_what_it_looks_at_and_its_own_blocks() -> None:
    steps = make_steps()
    full = in_view(steps, Signals(top_k=2), 4)
    assert torch.equal(full.observation.eligible, steps.observation.masked)
    assert torch.equal(full.observation.confidence, steps.observation.confidence[..., :2])
    assert not full.observation.signals
    entropies = in_view(steps, Signals(names={"entropy"}), 2).observation
    assert torch.equal(entropies.eligible, steps.observation.eligible)
    assert list(entropies.signals) == ["entropy"]
    # A block was left with masks: what was opened tells which block is the current one.
    whole = replace(steps.observation, masked=torch.ones(4, 4).bool())
    chosen = torch.tensor([[0, 0, 1, 0]] * 4).bool()
    left = replace(steps, observation=whole, chosen=chosen)
    assert in_view(left, Signals(), 2).observation.eligible.int().tolist() == [[0, 0, 1, 1]] * 4


def test_the_loss_is_the_mean_of_log_probabilities_by_hand() -> None:
    eligible = torch.tensor([[True, True]])
    logits = torch.tensor([[0.0, 1.0]])
    loss = imitation_loss(Bernoulli(logits, eligible), torch.tensor([[True, False]]))
    opened = torch.tensor(1.0).sigmoid()
    assert torch.isclose(loss, -(torch.tensor(0.5).log() + (1 - opened).log()))


def test_the_loss_falls_to_zero_for_a_policy_that_does_as_the_expert() -> None:
    steps = make_steps()
    good = Bernoulli(torch.where(steps.chosen, 30.0, -30.0), steps.observation.masked)
    assert float(imitation_loss(good, steps.chosen)) < 1e-6
    assert float(agreement(good, steps.chosen)) == 1
    steps.chosen[0, 3] = True
    assert float(agreement(good, steps.chosen)) == 0.75


def test_impossible_actions_are_counted_and_have_no_gradient() -> None:
    steps, scores = make_steps(), torch.zeros(4, requires_grad=True)

    def policy(seen: Observation) -> DynamicPlackettLuce:  # it never opens nothing
        return DynamicPlackettLuce(scores.expand(len(seen), 4), seen.eligible)

    loss, readings = behaviour_cloning_loss(policy, steps, total=4)
    assert float(readings["imitation/impossible"]) == 0.25
    some = steps.select(steps.chosen.any(1))
    alone = behaviour_cloning_loss(policy, some, total=4)[0]
    torch.testing.assert_close(loss, alone)
    loss.backward()
    assert scores.grad.isfinite().all() and scores.grad.any()


@pytest.mark.parametrize("caution", [1.0, 4.0])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_caution_moves_where_a_policy_commits(share: float, caution: float) -> None:
    positions = (torch.arange(10) < 10 * share)[:, None]
    chances = torch.arange(1, 1000) / 1000
    logits = torch.logit(chances)[:, None, None].expand(-1, 10, 1)
    values = torch.stack(
        [
            cautious_log_prob(Bernoulli(row, torch.ones(10, 1).bool()), positions, caution).sum()
            for row in logits
        ]
    )
    best = float(chances[values.argmax()])
    assert best == pytest.approx(share / (share + caution * (1 - share)), abs=1e-3)
