"""Probabilities and draws of the learned distributions, by hand."""

import math

import pytest
import torch

from lit_unmask.policies.actions import (
    Bernoulli,
    BernoulliArgmax,
    BetaIntensity,
    BetaThreshold,
    BlockThreshold,
    DynamicPlackettLuce,
    Spread,
    TopKCount,
)

ALL = torch.ones(1, 3, dtype=torch.bool)
WEIGHTS = torch.tensor([[3.0, 2.0, 0.5]])


def logarithm(value):
    return torch.tensor([math.log(value)])


def test_plackett_luce_by_hand():
    distribution = DynamicPlackettLuce(WEIGHTS.log(), ALL)
    # Second, first, STOP: 2/5.5, then 3 of 3 + 0.5 + 1, then STOP against 0.5.
    chance = 2 / 5.5 * 3 / 4.5 * 1 / 1.5
    log_prob = distribution.log_prob(torch.tensor([[2, 1, 0]]))
    torch.testing.assert_close(log_prob, logarithm(chance))
    everything = distribution.log_prob(torch.tensor([[3, 1, 2]]))
    torch.testing.assert_close(everything, logarithm(2 / 5.5 * 0.5 / 4.5 * 3 / 4))
    for impossible in ([0, 0, 0], [1, 1, 0], [2, 0, 0], [1, 3, 0], [-1, 1, 0]):
        assert distribution.log_prob(torch.tensor([impossible])).item() == -math.inf


def test_plackett_luce_draws_by_hand():
    distribution = DynamicPlackettLuce(WEIGHTS.log(), ALL)
    # Rings at 0.3 / 3, 0.4 / 2 and 0.4 / 0.5; STOP comes at 0.1 * (1 + 5.5) = 0.65.
    uniform = torch.tensor([[-0.3, -0.4, -0.4]]).exp()
    assert distribution.sample(uniform).tolist() == [[1, 2, 0]]
    # The third at 0.3 / 0.5 is in time.
    assert distribution.sample(torch.tensor([[-0.3, -0.4, -0.3]]).exp()).tolist() == [[1, 2, 3]]


def test_plackett_luce_imitates_by_the_best_first():
    distribution = DynamicPlackettLuce(WEIGHTS.log(), ALL)
    action = distribution.action_of(torch.tensor([[True, False, True]]))
    assert action.tolist() == [[1, 0, 2]]
    nothing = distribution.action_of(torch.zeros(1, 3, dtype=torch.bool))
    assert distribution.log_prob(nothing).item() == -math.inf


def test_many_positions_are_opened_as_often_as_the_marginals_say():
    torch.manual_seed(0)
    eligible = torch.ones(20_000, 64, dtype=torch.bool)
    distribution = DynamicPlackettLuce((2 * torch.randn(64) - 3).expand(20_000, -1), eligible)
    share = (distribution.sample(torch.rand(20_000, 64)) > 0).float().mean(0)
    chance = distribution.probability()[0]
    assert ((share - chance).abs() < 5 * (chance * (1 - chance) / 20_000).sqrt()).all()


def test_argmax_by_hand():
    logits = torch.tensor([[0.25, 0.2, 0.1]]).logit()
    distribution = BernoulliArgmax(logits, ALL)
    alone = torch.tensor([[True, False, False]])
    torch.testing.assert_close(distribution.log_prob(alone), logarithm(0.8 * 0.9))
    other = torch.tensor([[False, True, False]])
    torch.testing.assert_close(distribution.log_prob(other), logarithm(0.75 * 0.2 * 0.9))
    assert distribution.sample(torch.full((1, 3), 0.99)).tolist() == alone.tolist()


@pytest.mark.parametrize(("scale", "expected"), [(0.5, [0.4, 0.1]), (1.2, [0.96, 0.24]),
                                                 (2.0, [1.0, 0.4])])  # fmt: skip
def test_scaled_probabilities_by_hand(scale, expected):
    logits = torch.tensor([[0.8, 0.2]]).logit()
    distribution = Bernoulli(logits, torch.ones(1, 2, dtype=torch.bool), scale=scale)
    torch.testing.assert_close(distribution.probability(), torch.tensor([expected]))
    assert distribution.sample(torch.full((1, 2), 1 - 2**-24))[0, 0].item() == (scale == 2.0)


def test_counts_by_hand():
    confidence = torch.tensor([[0.2, 0.9, 0.9]])
    counts = torch.tensor([1, 2, 4, 8])
    distribution = TopKCount(torch.zeros(1, 4), ALL, confidence, counts)
    # 4 takes all three, and 8 would be no other set.
    torch.testing.assert_close(distribution.log_prob(torch.tensor([2])), logarithm(1 / 3))
    assert distribution.log_prob(torch.tensor([3])).item() == -math.inf
    opened = [distribution.positions(torch.tensor([index])).tolist()[0] for index in range(3)]
    assert opened == [[False, True, False], [False, True, True], [True, True, True]]
    assert distribution.sample(torch.full((1, 3), 0.34)).tolist() == [1]


def test_blocks_and_thresholds_by_hand():
    eligible = torch.tensor([[False, True, True, True, True, True]])
    confidence = torch.tensor([[0.9, 0.3, 0.6, 0.8, 0.7, 0.5]])
    lengths, thresholds = torch.tensor([2, 4, 4, 6]), torch.tensor([0.5, 0.5, 0.95, 0.5])
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    distribution = BlockThreshold(logits, eligible, confidence, lengths, thresholds)
    opened = [distribution.positions(torch.tensor([index]))[0] for index in range(4)]
    # The block of two has one masked position, which is opened although it is not sure.
    assert [found.nonzero().flatten().tolist() for found in opened] == [[1], [2, 3], [3], [2, 3, 4]]
    expected = torch.tensor([[0.0, 0.4, 0.4, 0.6, 0.1, 0.0]])
    torch.testing.assert_close(distribution.probability(), expected)
    torch.testing.assert_close(distribution.log_prob(torch.tensor([1])), logarithm(0.3))


def test_betas_by_hand():
    # m = 1/2 and kappa = 2: a = b = 2, of density 6 x (1 - x).
    confidence = torch.tensor([[0.1, 0.5, 0.9]])
    threshold = BetaThreshold(torch.zeros(1), ALL, confidence, Spread(concentration=2.0))
    torch.testing.assert_close(threshold.log_prob(torch.tensor([0.3])), logarithm(6 * 0.3 * 0.7))
    drawn = threshold.sample(torch.tensor([[0.5, 0.9, 0.9]]))
    torch.testing.assert_close(drawn, torch.tensor([0.5]))
    assert threshold.positions(drawn).tolist() == [[False, False, True]]
    eligible = torch.tensor([[True, True, False]])
    intensity = BetaIntensity(torch.zeros(1, 3), eligible, confidence, Spread(concentration=2.0))
    action = torch.tensor([[0.3, 0.6, 0.0]])
    expected = logarithm(6 * 0.3 * 0.7 * 6 * 0.6 * 0.4)
    torch.testing.assert_close(intensity.log_prob(action), expected)
    assert intensity.positions(action).tolist() == [[False, True, False]]


def test_any_set_has_intensities_even_of_sure_tokens():
    confidence = torch.tensor([[1.0, 0.0, 1.0]])
    for scale in (0.1, 1.0, 10.0):
        spread = Spread(scale=scale)
        distribution = BetaIntensity(torch.zeros(1, 3), ALL, confidence, spread)
        for wanted in ([False, True, True], [True, False, False]):
            action = distribution.action_of(torch.tensor([wanted]))
            assert distribution.positions(action).tolist() == [wanted]
            assert distribution.log_prob(action).isfinite().all()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"scale=0 must be positive"):
        Bernoulli(WEIGHTS, ALL, scale=0)
    with pytest.raises(ValueError, match=r"temperature=-1"):
        DynamicPlackettLuce(WEIGHTS, ALL, temperature=-1)
    with pytest.raises(ValueError, match=r"concentration=0"):
        Spread(0)
    with pytest.raises(ValueError, match=r"logits \(1, 2\) must be \[B, C\]"):
        TopKCount(torch.zeros(1, 2), ALL, WEIGHTS, torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match=r"logits \(1, 3\) must have the shape \(1,\)"):
        BetaThreshold(WEIGHTS, ALL, WEIGHTS)
    with pytest.raises(ValueError, match=r"confidence \(1, 2\)"):
        BetaIntensity(WEIGHTS, ALL, WEIGHTS[:, :2])
