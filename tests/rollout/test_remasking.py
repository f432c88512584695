"""Policies that take tokens back: exact likelihoods, bounded rollouts, rows of their own."""

from dataclasses import replace

import oracles
import pytest
import torch

from lit_unmask.policies import (
    ConfidenceTransformer,
    EarlyExit,
    LearnedPolicy,
    RemaskingHead,
    Thresholded,
)
from lit_unmask.policies.actions import Bernoulli, Remasking
from lit_unmask.rollout import Decoding, Noise, rollout
from lit_unmask.rollout.checks import check_remasking
from tests.toy_rollouts import LENGTH, MASK, NUMBERS, SEED, ToyDenoiser, make_prompts
from tests.toy_systems import SCHEDULES, Even, assert_same, decode

SETS = oracles.all_actions(4)
ELIGIBLE = torch.tensor([[True, False, True, False], [False, True, False, False]])
REMOVABLE = torch.tensor([[False, True, False, False], [True, False, True, True]])
OPENING = torch.tensor([[0.3, 9.0, -1.0, 9.0], [9.0, 0.5, 9.0, 9.0]])
REMOVAL = torch.tensor([[9.0, -0.7, 9.0, 9.0], [1.0, 9.0, -2.0, 0.2]])


def make_policy(initial=0.3, output_bias=-1.0):
    torch.manual_seed(0)
    network = ConfidenceTransformer(16, 2, 16, output_bias=output_bias)
    policy = LearnedPolicy(network, head=RemaskingHead(initial))
    if initial > 0.1:  # away from the start, so that every weight matters
        with torch.no_grad():
            for weight in policy.parameters():
                weight.add_(0.2 * torch.randn_like(weight))
    return policy.eval()


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_actions_are_a_distribution_with_the_marginals_that_it_says(temperature):
    draws = Remasking(Bernoulli(OPENING, ELIGIBLE, temperature), REMOVAL / temperature, REMOVABLE)
    log_prob = torch.stack([draws.log_prob(action.expand(2, 4)) for action in SETS])
    chance = log_prob.exp()
    torch.testing.assert_close(chance.sum(0), torch.ones(2))
    opened = torch.stack([draws.positions(action.expand(2, 4)) for action in SETS])
    back = torch.stack([draws.taken_back(action.expand(2, 4)) for action in SETS])
    assert not (opened & ~ELIGIBLE).any() and not (back & ~REMOVABLE).any()
    marginal = (chance[..., None] * opened).sum(0), (chance[..., None] * back).sum(0)
    torch.testing.assert_close(marginal[0], draws.probability())
    torch.testing.assert_close(marginal[1], draws.removal_probability())
    entropy = -torch.special.xlogy(chance, chance).sum(0)
    torch.testing.assert_close(draws.entropy(), entropy)
    # By hand: opening 0 and taking 1 back, in the first row.
    action = torch.tensor([[True, True, False, False]]).expand(2, 4)
    hand = [0.3 / temperature, -0.7 / temperature, 1.0 / temperature]
    expected = sum(torch.tensor(logit).sigmoid().log() for logit in hand)
    torch.testing.assert_close(draws.log_prob(action)[0], expected)
    assert torch.equal(
        draws.forced(torch.zeros_like(ELIGIBLE)).int().argmax(1), torch.tensor([0, 1])
    )
    assert (draws.forced(torch.zeros_like(ELIGIBLE)) & ~ELIGIBLE).sum() == 0


@pytest.mark.parametrize("on_empty", ["force", "wait"])
def test_what_takes_nothing_back_is_the_policy_without_the_head(on_empty):
    with_head = make_policy(initial=1e-30, output_bias=-0.5)
    without = LearnedPolicy(with_head.network).eval()
    ways = {"max_block_steps": 6, "on_empty": on_empty}
    found, wanted = decode(with_head, **ways), decode(without, **ways)
    assert_same(found, wanted)
    torch.testing.assert_close(found.steps.log_prob, wanted.steps.log_prob)


@pytest.mark.parametrize("on_empty", ["force", "wait"])
@pytest.mark.parametrize("scheduling", SCHEDULES)
def test_rows_and_schedules_change_nothing(on_empty, scheduling):
    policy, ways = make_policy(), {"max_block_steps": 9, "on_empty": on_empty}
    wanted = decode(policy, **ways)
    assert_same(decode(policy, scheduling=scheduling, **ways), wanted)
    for row in range(len(NUMBERS)):
        alone = decode(policy, torch.tensor([row]), scheduling=scheduling, **ways)
        assert torch.equal(alone.response[0], wanted.response[row])
        assert alone.nfe[0] == wanted.nfe[row]


@pytest.mark.parametrize("most", [3, 9])
def test_tokens_are_taken_back_and_the_log_tells_the_whole_story(most):
    result = decode(make_policy(), max_block_steps=most)
    removals = result.log.where & (result.log.tokens == MASK)
    assert removals.any(1).sum() > 2
    assert most == 9 or result.still_masked.any()
    for row in range(len(NUMBERS)):
        buffer, at = torch.full((LENGTH,), MASK), torch.full((LENGTH,), -1)
        mine = result.log.select((result.log.rollout == row).nonzero()[:, 0])
        for index in mine.step.argsort().tolist():
            where, tokens = mine.where[index], mine.tokens[index]
            gone = where & (tokens == MASK)
            assert (buffer[gone] != MASK).all() and (buffer[where & ~gone] == MASK).all()
            buffer = torch.where(where, tokens, buffer)
            at = torch.where(where, mine.step[index].where(~gone, -1), at)
        assert torch.equal(buffer, result.response[row])
        assert torch.equal(at, result.committed_at[row])
    assert torch.equal(result.still_masked, (result.response == MASK).any(1))
    # Two blocks of at most so many steps each.
    assert result.decisions.max() <= 2 * most


def test_recorded_actions_replay_and_all_weights_learn():
    policy = make_policy()
    steps = decode(policy, max_block_steps=9).steps
    distribution = policy(steps.observation)
    torch.testing.assert_close(distribution.log_prob(steps.action), steps.log_prob)
    assert torch.equal(distribution.positions(steps.action), steps.chosen)
    distribution.log_prob(steps.action).sum().backward()
    assert policy.head.removal_proj.weight.grad.abs().min() > 1e-6
    assert policy.network.output_proj.weight.grad.abs().max() > 1e-6


def test_a_temperature_divides_the_logits_of_both_kinds():
    policy = make_policy()
    seen = decode(policy, max_block_steps=9).steps.observation
    with torch.no_grad():
        warm, cold = policy(seen), policy.at(temperature=0.5)(seen)
    torch.testing.assert_close(cold.logits, 2 * warm.logits)
    assert warm.removable.any()


def test_behind_a_threshold_what_is_likely_is_taken_back():
    policy = make_policy(initial=0.6)
    greedy = Thresholded(0.4, policy)
    assert greedy.takes_back
    result = decode(greedy, max_block_steps=9)
    seen = result.steps.observation
    with torch.no_grad():
        likely, said = policy(seen).removal_probability() > 0.4, greedy(seen)
    assert likely.any() and (result.log.tokens == MASK)[result.log.where].any()
    assert torch.equal(said.taken_back(said.mode()), likely)


def test_an_early_exit_that_never_comes_changes_nothing():
    policy = make_policy()
    found, wanted = (decode(one, max_block_steps=9) for one in (EarlyExit(policy, [1e4]), policy))
    assert_same(found, wanted)
    assert (wanted.log.where & (wanted.log.tokens == MASK)).any()


def test_rollouts_without_an_end_are_refused():
    decoding, policy = Decoding(LENGTH, 4, max_block_steps=8), make_policy()
    check_remasking(policy, decoding)
    prompt, noise = make_prompts(), Noise(SEED, NUMBERS)
    for wrong in ({"max_block_steps": None}, {"resampler": Even(2)}):
        with pytest.raises(ValueError, match="needs a bound on its steps and no resampler"):
            rollout(ToyDenoiser(), policy, prompt, replace(decoding, **wrong), noise)
    with pytest.raises(ValueError, match=r"initial=0 must lie in \(0, 1\)"):
        RemaskingHead(0)
