"""Imitation by teacher forcing."""

from __future__ import annotations

from dataclasses import replace

import torch

from lit_unmask.distributions import Bernoulli
from lit_unmask.imitation import imitation_loss, teach_without_blocks
from lit_unmask.types import Steps


def make_steps() -> Steps:
    masked = torch.tensor([[True, True, True], [False, True, True], [True, True, True]])
    eligible = masked & torch.tensor([True, True, False])
    chosen = torch.tensor([[True, False, False], [False, True, False], [True, True, False]])
    return Steps(
        rollout=torch.tensor([0, 0, 1]),
        index=torch.tensor([0, 1, 0]),
        masked=masked,
        eligible=eligible,
        confidence=torch.rand(3, 3, 1),
        time=torch.zeros(3),
        action=chosen,
        chosen=chosen,
        log_prob=torch.zeros(3),
    )


def test_only_correct_rollouts_are_taught_and_blocks_are_lifted() -> None:
    steps = teach_without_blocks(make_steps(), torch.tensor([1.0, 0.0]))
    assert steps.rollout.tolist() == [0, 0]
    assert torch.equal(steps.eligible, steps.masked)
    assert not torch.equal(steps.eligible, make_steps().eligible[:2])


def test_the_loss_is_the_mean_of_log_probabilities_by_hand() -> None:
    eligible = torch.tensor([[True, True]])
    logits = torch.tensor([[0.0, 1.0]])
    loss = imitation_loss(Bernoulli(logits, eligible), torch.tensor([[True, False]]))
    opened = torch.tensor(1.0).sigmoid()
    assert torch.isclose(loss, -(torch.tensor(0.5).log() + (1 - opened).log()))


def test_the_loss_falls_to_zero_for_a_policy_that_does_as_the_expert() -> None:
    steps = replace(make_steps(), eligible=make_steps().masked)
    logits = torch.where(steps.chosen, 30.0, -30.0)
    assert float(imitation_loss(Bernoulli(logits, steps.eligible), steps.chosen)) < 1e-6
