"""Bernoulli draws and the distributions of heuristics, by hand and against slow twins."""

import math

import oracles
import pytest
import torch

from lit_unmask.policies.actions import Bernoulli, Deterministic, UniformSubset, rank_descending

LENGTH = 4
ELIGIBLE = torch.tensor(
    [
        [True, True, True, True],
        [False, True, True, False],
        [True, False, False, False],
        [False, False, False, False],
    ]
)
LOGITS = torch.tensor([[0.3, -1.2, 2.0, 0.0]]).repeat(4, 1)
SCORES = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).repeat(4, 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_bernoulli_log_prob_equals_its_slow_twin(temperature):
    for action in oracles.all_actions(LENGTH):
        fast = Bernoulli(LOGITS, ELIGIBLE, temperature).log_prob(action.expand(4, -1))
        slow = [
            oracles.bernoulli_log_prob(LOGITS[i].tolist(), row, action.tolist(), temperature)
            for i, row in enumerate(ELIGIBLE.tolist())
        ]
        torch.testing.assert_close(fast, torch.tensor(slow))


def test_bernoulli_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0, -math.log(4.0)]])
    eligible = torch.tensor([[True, True, True]])
    action = torch.tensor([[True, False, False]])
    expected = math.log(3 / 4 * 1 / 2 * 4 / 5)
    distribution = Bernoulli(logits, eligible)
    torch.testing.assert_close(distribution.log_prob(action), torch.tensor([expected]))
    assert distribution.sample(torch.tensor([[0.74, 0.5, 0.21]])).tolist() == [[True, False, False]]


def test_bernoulli_gradient_equals_finite_differences():
    logits = LOGITS.double().requires_grad_()
    action = ELIGIBLE & torch.tensor([True, False, True, False])

    def total(values):
        distribution = Bernoulli(values, ELIGIBLE, 0.7)
        return distribution.log_prob(action), distribution.entropy(), distribution.probability()

    # Row 0 has a zero logit, where |b| has a kink and the entropy has none: shift it slightly.
    assert torch.autograd.gradcheck(total, (logits + 0.01).detach().requires_grad_())


def test_bernoulli_score_is_action_minus_probability():
    logits = LOGITS.clone().requires_grad_()
    action = ELIGIBLE & torch.tensor([True, False, True, False])
    distribution = Bernoulli(logits, ELIGIBLE, 0.5)
    distribution.log_prob(action).sum().backward()
    expected = (action.float() - distribution.probability()).detach() * ELIGIBLE / 0.5
    torch.testing.assert_close(logits.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [40.0, 1000.0])
def test_bernoulli_is_finite_at_extremes(size, dtype):
    logits = torch.tensor([[size, -size, size, -size]], dtype=dtype, requires_grad=True)
    eligible = torch.ones(1, 4, dtype=torch.bool)
    action = torch.tensor([[True, False, False, True]])
    distribution = Bernoulli(logits, eligible)
    log_prob, entropy = distribution.log_prob(action), distribution.entropy()
    assert log_prob.dtype == torch.float32
    torch.testing.assert_close(log_prob, torch.tensor([-2 * size]))
    assert 0 <= entropy.item() < 1e-12
    (log_prob + entropy).sum().backward()
    assert logits.grad.isfinite().all()
    assert distribution.sample(torch.full((1, 4), 1 - 2**-24)).tolist() == [[True, False] * 2]


def test_subset_log_prob_by_hand():
    eligible = torch.tensor([[True, True, False, True, True, True]])
    action = torch.tensor([[True, False, False, False, True, False]])
    expected = torch.tensor([-math.log(10)])
    torch.testing.assert_close(UniformSubset(eligible, 2).log_prob(action), expected)
    assert UniformSubset(eligible, 3).log_prob(action).item() == -math.inf


def test_subset_has_exactly_k_positions_even_with_equal_noise():
    eligible = torch.tensor([[False, True, True, True]])
    picked = UniformSubset(eligible, 2).sample(torch.zeros(1, 4))
    assert picked.tolist() == [[False, True, True, False]]


def test_rank_descending_breaks_ties_to_the_left():
    scores = torch.tensor([[1.0, 3.0, 1.0, 3.0, -math.inf]])
    assert rank_descending(scores).tolist() == [[2, 0, 3, 1, 4]]
    # Sorting of short rows happens to be stable anyway.
    assert torch.equal(rank_descending(torch.zeros(3, 4096)), torch.arange(4096).expand(3, -1))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="temperature=0"):
        Bernoulli(LOGITS, ELIGIBLE, temperature=0)
    with pytest.raises(ValueError, match=r"logits \(4, 3\)"):
        Bernoulli(LOGITS[:, :3], ELIGIBLE)
    with pytest.raises(ValueError, match=r"eligible .* bool"):
        Bernoulli(LOGITS, ELIGIBLE.long())
    with pytest.raises(ValueError, match=r"ranking \(1, 4\)"):
        Deterministic(ELIGIBLE, ELIGIBLE, SCORES[:1])
    with pytest.raises(ValueError, match="k=0"):
        UniformSubset(ELIGIBLE, 0)
