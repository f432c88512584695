"""Speed rewards, by hand and by their laws."""

import pytest
import torch

from lit_unmask.training.rewards import (
    AdditiveSpeed,
    AllAdvantages,
    MultiplicativeSpeed,
    NearTarget,
    WinnersOnly,
)


def test_multiplicative_by_hand():
    correct = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.5])
    nfe = torch.tensor([1, 4, 9, 2, 3])
    reward = MultiplicativeSpeed(2.0)(correct, nfe, length=4)
    torch.testing.assert_close(reward, torch.tensor([1.0, 1 / 16, 1 / 16, 0.0, 0.125]))


def test_additive_by_hand():
    correct = torch.tensor([1.0, 0.0, 0.0])
    reward = AdditiveSpeed(2.0)(correct, torch.tensor([4, 1, 4]), length=4)
    torch.testing.assert_close(reward, torch.tensor([-1.0, -0.5, -2.0]))


@pytest.mark.parametrize("reward", [MultiplicativeSpeed(0), AdditiveSpeed(0)])
def test_without_alpha_the_reward_is_correctness(reward):
    correct = torch.tensor([1.0, 0.0, 0.25])
    assert torch.equal(reward(correct, torch.tensor([1, 7, 99]), length=8), correct)


@pytest.mark.parametrize("alpha", [0.3, 1, 10])
@pytest.mark.parametrize("kind", [MultiplicativeSpeed, AdditiveSpeed])
def test_fewer_steps_earn_more(kind, alpha):
    reward = kind(alpha)(torch.ones(64), torch.arange(1, 65), length=64)
    assert (reward.diff() < 0).all()
    assert reward.isfinite().all()


def test_only_the_multiplicative_reward_ignores_the_speed_of_wrong_answers():
    wrong, nfe = torch.zeros(2), torch.tensor([1, 50])
    assert MultiplicativeSpeed(3.0)(wrong, nfe, 64).tolist() == [0.0, 0.0]
    assert AdditiveSpeed(3.0)(wrong, nfe, 64).diff() < 0


@pytest.mark.parametrize("kind", [MultiplicativeSpeed, AdditiveSpeed])
def test_negative_alpha_is_refused(kind):
    with pytest.raises(ValueError, match="alpha=-1"):
        kind(-1)
    assert repr(kind(2)) == f"{kind.__name__}(alpha=2)"


def test_near_a_target_by_hand():
    reward = NearTarget(4, alpha=0.5)
    scores = reward(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([4, 6, 1]), length=64)
    torch.testing.assert_close(scores, torch.tensor([1.0, 0.75, -0.375]))
    assert repr(reward) == "NearTarget(target=4, alpha=0.5)"


@pytest.mark.parametrize("kind", [MultiplicativeSpeed, AdditiveSpeed, NearTarget])
def test_each_rollout_may_have_a_speed_of_its_own(kind):
    correct, nfe = torch.tensor([1.0, 0.5, 1.0]), torch.tensor([2, 5, 9])
    wanted = [1.0, 3.0, 7.5]
    each = [kind(w)(correct[i : i + 1], nfe[i : i + 1], 16) for i, w in enumerate(wanted)]
    together = kind(2.0)(correct, nfe, 16, torch.tensor(wanted))
    torch.testing.assert_close(together, torch.cat(each))
    assert kind(2.0).condition == 2.0


def test_a_target_below_one_forward_is_refused():
    with pytest.raises(ValueError, match="target=0 must be at least 1"):
        NearTarget(0)


def test_only_winners_teach_by_hand():
    advantage = torch.tensor([0.5, 0.1, 0.0999, 0.0, -0.5])
    assert WinnersOnly(0.1)(advantage).tolist() == pytest.approx([0.5, 0.1, 0, 0, 0])
    assert torch.equal(AllAdvantages()(advantage), advantage)
    with pytest.raises(ValueError, match="threshold=0 must be positive"):
        WinnersOnly(0)
