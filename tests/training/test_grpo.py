"""The policy-gradient loss: numbers by hand, and the laws that make it one."""

import math

import pytest
import torch

from lit_unmask.training.grpo import (
    GRPO,
    MeanOverSteps,
    SumOverSteps,
    group_advantages,
    mixture_log_prob,
)


def ratios_to_log_probs(ratios):
    old = torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0])[: len(ratios)]
    new = (old + torch.tensor(ratios).log()).requires_grad_()
    return new, old


def test_group_advantages_by_hand():
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.5, 0.5, 0.5, 0.5])
    expected = torch.tensor([0.5, -0.5, -0.5, 0.5, 0.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(group_advantages(rewards, 4), expected)
    scaled = group_advantages(torch.tensor([0.0, 0.0, 0.0, 4.0]), 4, scale_by_std=True)
    torch.testing.assert_close(scaled, torch.tensor([-1.0, -1.0, -1.0, 3.0]) / math.sqrt(3))


@pytest.mark.parametrize("scale_by_std", [False, True])
def test_advantages_sum_to_zero_in_each_group(scale_by_std):
    rewards = torch.rand(24, generator=torch.Generator().manual_seed(1))
    advantage = group_advantages(rewards, 8, scale_by_std).reshape(3, 8)
    torch.testing.assert_close(advantage.sum(1), torch.zeros(3), atol=1e-5, rtol=0)
    assert (advantage.abs().sum(1) > 0.1).all()
    if scale_by_std:
        torch.testing.assert_close(advantage.square().mean(1), torch.ones(3))


@pytest.mark.parametrize("scale_by_std", [False, True])
@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3])
def test_equal_rewards_have_exactly_no_advantage(value, scale_by_std):
    rewards = torch.full((7,), value)
    assert group_advantages(rewards, 7, scale_by_std).tolist() == [0.0] * 7


def test_step_weights_are_a_mean_over_steps_then_rollouts():
    nfe, rollout = torch.tensor([2, 3]), torch.tensor([0, 0, 1, 1, 1])
    values = torch.tensor([1.0, 3.0, 10.0, 20.0, 60.0])
    weights = MeanOverSteps()(nfe, rollout, total_rollouts=2)
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    torch.testing.assert_close((weights * values).sum(), torch.tensor((2.0 + 30.0) / 2))
    weights = SumOverSteps(4.0)(nfe, rollout, total_rollouts=2)
    torch.testing.assert_close((weights * values).sum(), torch.tensor((4.0 + 90.0) / 4 / 2))


def trajectories(logit):
    """Yield probability, log-probabilities of the steps and reward of all ways to open two masks.

    Each masked position opens by a coin, in two steps at most; it is right to be done.
    """
    log_p, log_q = torch.nn.functional.logsigmoid(torch.stack([logit, -logit]))

    def step(masked, opened):
        return opened * log_p + (masked - opened) * log_q

    for first in range(3):
        if first == 2:
            yield step(2, 2).exp(), step(2, 2)[None], 1.0
            continue
        for second in range(3 - first):
            steps = torch.stack([step(2, first), step(2 - first, second)])
            ways = math.comb(2, first) * math.comb(2 - first, second)
            yield ways * steps.sum().exp(), steps, 0.5 if first + second == 2 else 0.0


@pytest.mark.parametrize(("weights", "exact"), [(SumOverSteps(), True), (MeanOverSteps(), False)])
def test_only_the_sum_over_steps_is_the_gradient_of_the_expected_reward(weights, exact):
    logit = torch.tensor(0.3, requires_grad=True)
    every = list(trajectories(logit))
    assert float(sum(p.detach() for p, _, _ in every)) == pytest.approx(1)
    (wanted,) = torch.autograd.grad(sum(p * r for p, _, r in every), logit, retain_graph=True)
    mean = float(sum(p * r for p, _, r in every))
    loss = torch.zeros(())
    for p, steps, reward in every:
        index = torch.zeros(len(steps), dtype=torch.long)
        weight = weights(torch.tensor([len(steps)]), index, 1) * p.detach()
        advantage = torch.full((len(steps),), reward - mean)
        loss = loss + GRPO()(steps, steps.detach(), advantage, weight).loss
    (found,) = torch.autograd.grad(-loss, logit)
    assert (float(found) == pytest.approx(float(wanted), rel=1e-4)) == exact


def test_loss_by_hand():
    # A > 0: 2 is clipped to 1.5, 0.2 is kept. A < 0: 2 is kept, 0.2 is clipped to 0.5. A = 0.
    new, old = ratios_to_log_probs([2.0, 0.2, 2.0, 0.2, 3.0])
    advantage = torch.tensor([1.0, 1.0, -1.0, -1.0, 0.0])
    weight = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    result = GRPO(clip=0.5)(new, old, advantage, weight)
    expected = -(0.1 * 1.5 + 0.2 * 0.2 - 0.3 * 2.0 - 0.4 * 0.5)
    torch.testing.assert_close(result.loss, torch.tensor(expected))
    torch.testing.assert_close(result.ratio_mean, torch.tensor(7.4 / 5))
    torch.testing.assert_close(result.clip_low, torch.tensor(0.2))
    torch.testing.assert_close(result.clip_high, torch.tensor(0.2))
    logs = math.log(2.0) * 2 + math.log(0.2) * 2 + math.log(3.0)
    torch.testing.assert_close(result.kl, torch.tensor((7.4 - 5 - logs) / 5))


def test_parts_of_an_action_are_clipped_each_for_itself_and_count_as_their_mean():
    ratios = torch.tensor([[2.0, 0.2], [2.0, 0.2]])
    advantage, weight = torch.tensor([1.0, -1.0]), torch.tensor([0.5, 0.25])
    counted = torch.tensor([True, False])
    result = GRPO(clip=0.5)(ratios.log(), torch.zeros(2, 2), advantage, weight, counted)
    expected = -(0.5 * (1.5 + 0.2) / 2 - 0.25 * (2.0 + 0.5) / 2)
    torch.testing.assert_close(result.loss, torch.tensor(expected))
    torch.testing.assert_close(result.clip_high, torch.tensor(0.5))  # one of two that are counted
    with pytest.raises(ValueError, match=r"all must be \[N\], the first two \[N, C\]"):
        GRPO()(ratios.log(), torch.zeros(2), advantage, weight)


def test_loss_is_the_minimum_of_the_two_surrogates():
    generator = torch.Generator().manual_seed(2)
    new, old, advantage = torch.randn(3, 500, generator=generator)
    weight = torch.rand(500, generator=generator)
    for clip in (0.1, 0.5, 1.0):
        ratio = (new - old).exp()
        kept = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
        result = GRPO(clip)(new, old, advantage, weight)
        torch.testing.assert_close(result.loss, -(weight * kept).sum())


def test_the_upper_bound_may_lie_further_away():
    new, old = ratios_to_log_probs([2.0, 0.2, 4.0, 0.2])
    advantage = torch.tensor([1.0, 1.0, 1.0, -1.0])
    result = GRPO(0.5, clip_high=2.0)(new, old, advantage, torch.ones(4))
    torch.testing.assert_close(result.loss, torch.tensor(-(2.0 + 0.2 + 3.0 - 0.5)))
    assert (result.clip_low, result.clip_high) == (0.25, 0.25)
    result.loss.backward()
    torch.testing.assert_close(new.grad, torch.tensor([-2.0, -0.2, 0.0, 0.0]))


def test_readings_are_about_the_steps_that_count():
    new, old = ratios_to_log_probs([2.0, 0.2, 2.0, 0.2, 3.0])
    advantage, weight = torch.tensor([1.0, 1.0, -1.0, -1.0, 0.0]), torch.ones(5)
    some = torch.tensor([True, False, True, False, False])
    part, whole = GRPO()(new, old, advantage, weight, some), GRPO()(new, old, advantage, weight)
    assert torch.equal(part.loss, whole.loss)
    torch.testing.assert_close(part.ratio_mean, torch.tensor(2.0))
    assert (part.clip_low, part.clip_high) == (0.0, 0.5)


def test_clipping_stops_the_gradient():
    new, old = ratios_to_log_probs([2.0, 0.2, 2.0, 0.2])
    advantage = torch.tensor([1.0, 1.0, -1.0, -1.0])
    GRPO(0.5)(new, old, advantage, torch.ones(4)).loss.backward()
    torch.testing.assert_close(new.grad, torch.tensor([0.0, -0.2, 2.0, 0.0]))


def test_ratio_one_gives_the_reinforce_gradient():
    generator = torch.Generator().manual_seed(3)
    advantage, weight = torch.randn(6, generator=generator), torch.rand(6, generator=generator)
    logits = torch.randn(6, generator=generator, requires_grad=True)
    log_prob = torch.nn.functional.logsigmoid(logits)
    result = GRPO()(log_prob, log_prob, advantage, weight)
    (clipped,) = torch.autograd.grad(result.loss, logits, retain_graph=True)
    (plain,) = torch.autograd.grad(-(weight * advantage * log_prob).sum(), logits)
    torch.testing.assert_close(clipped, plain)
    assert (result.clip_low, result.clip_high, result.kl) == (0, 0, 0)


def test_huge_ratios_do_not_poison_the_gradient():
    new = torch.tensor([0.0, 0.0, -500.0], requires_grad=True)
    old = torch.tensor([-500.0, -500.0, 0.0])
    result = GRPO()(new, old, torch.tensor([1.0, 0.0, -1.0]), torch.ones(3))
    result.loss.backward()
    torch.testing.assert_close(result.loss.detach(), torch.tensor(-1.5 + 0.5))
    assert new.grad.tolist() == [0.0, 0.0, 0.0]


def test_no_steps_are_no_loss():
    nothing = torch.zeros(0)
    result = GRPO()(nothing.clone().requires_grad_(), nothing, nothing, nothing)
    assert (result.loss, result.ratio_mean, result.kl) == (0, 0, 0)
    result.loss.backward()


def test_slices_of_the_steps_add_up():
    generator = torch.Generator().manual_seed(4)
    arguments = torch.randn(4, 10, generator=generator)
    whole = GRPO()(*arguments).loss
    parts = GRPO()(*arguments[:, :3]).loss + GRPO()(*arguments[:, 3:]).loss
    torch.testing.assert_close(whole, parts)


def test_mixture_log_prob_by_hand():
    log_prob = torch.tensor([math.log(0.25), -math.inf, 0.0], requires_grad=True)
    mixed = mixture_log_prob(log_prob, policy_count=8, expert_count=1)
    expected = torch.tensor([8 / 9 * 0.25 + 1 / 9, 1 / 9, 1.0]).log()
    torch.testing.assert_close(mixed, expected)
    mixed.sum().backward()
    torch.testing.assert_close(log_prob.grad, torch.tensor([2 / 3, 0.0, 8 / 9]))


def test_mixture_bounds_the_ratio_of_unlikely_expert_actions():
    ratio = mixture_log_prob(torch.tensor(-50.0), 8, 1) - mixture_log_prob(
        torch.tensor(-500.0), 8, 1
    )
    assert abs(ratio) < 1e-6


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="group_size=3"):
        group_advantages(torch.zeros(8), 3)
    with pytest.raises(ValueError, match=r"must be \[B\]"):
        group_advantages(torch.zeros(2, 4), 4)
    with pytest.raises(ValueError, match="total_rollouts=0"):
        MeanOverSteps()(torch.ones(1), torch.zeros(1, dtype=torch.long), 0)
    with pytest.raises(ValueError, match="normaliser=0"):
        SumOverSteps(0)
    with pytest.raises(ValueError, match="clip_high=0"):
        GRPO(clip_high=0)
    with pytest.raises(ValueError, match="expert_count=0"):
        mixture_log_prob(torch.zeros(1), 8, 0)
    with pytest.raises(ValueError, match=r"clip=1\.5"):
        GRPO(1.5)
    with pytest.raises(ValueError, match=r"all must be \[N\]"):
        GRPO()(torch.zeros(2), torch.zeros(2), torch.zeros(1), torch.zeros(2))
