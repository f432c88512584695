"""Laws of action distributions, by enumeration where it is possible."""

import math

import oracles
import pytest
import torch

from lit_unmask.distributions import Bernoulli, Deterministic, UniformSubset, rank_descending

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

DISTRIBUTIONS = {
    "bernoulli": lambda: Bernoulli(LOGITS, ELIGIBLE),
    "bernoulli-cold": lambda: Bernoulli(LOGITS, ELIGIBLE, temperature=0.5),
    "deterministic": lambda: Deterministic(ELIGIBLE & (SCORES > 0.15), ELIGIBLE, SCORES),
    "subset-1": lambda: UniformSubset(ELIGIBLE, 1),
    "subset-2": lambda: UniformSubset(ELIGIBLE, 2),
    "subset-9": lambda: UniformSubset(ELIGIBLE, 9),
}


@pytest.fixture(params=DISTRIBUTIONS)
def distribution(request):
    return DISTRIBUTIONS[request.param]()


def enumerate_log_probs(distribution):
    """Return all actions ``[A, L]`` and their log-probabilities ``[A, B]``."""
    actions = oracles.all_actions(LENGTH)
    rows = len(ELIGIBLE)
    return actions, torch.stack([distribution.log_prob(a.expand(rows, -1)) for a in actions])


def test_probabilities_of_all_actions_sum_to_one(distribution):
    _, log_probs = enumerate_log_probs(distribution)
    assert log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs.exp().sum(0), torch.ones(4))


def test_actions_outside_eligible_are_impossible(distribution):
    actions, log_probs = enumerate_log_probs(distribution)
    outside = (actions[:, None] & ~ELIGIBLE).any(-1)
    assert outside.any()
    assert (log_probs[outside] == -math.inf).all()


def test_a_row_without_eligible_positions_is_certain_to_be_empty(distribution):
    empty = torch.zeros(4, LENGTH, dtype=torch.bool)
    assert distribution.log_prob(empty)[3] == 0
    assert distribution.entropy()[3] == 0
    assert not distribution.sample(torch.zeros(4, LENGTH))[3].any()
    assert not distribution.mode()[3].any()


def test_entropy_is_the_mean_of_minus_log_prob(distribution):
    _, log_probs = enumerate_log_probs(distribution)
    expected = -torch.where(log_probs.isinf(), 0.0, log_probs.exp() * log_probs).sum(0)
    torch.testing.assert_close(distribution.entropy(), expected)


def test_probability_is_the_marginal(distribution):
    actions, log_probs = enumerate_log_probs(distribution)
    expected = torch.einsum("ab,al->bl", log_probs.exp(), actions.float())
    torch.testing.assert_close(distribution.probability(), expected)
    assert (distribution.probability()[~ELIGIBLE] == 0).all()


def test_mode_is_a_most_probable_action(distribution):
    _, log_probs = enumerate_log_probs(distribution)
    torch.testing.assert_close(distribution.log_prob(distribution.mode()), log_probs.amax(0))


def test_ranking_is_finite_exactly_where_eligible(distribution):
    assert torch.equal(distribution.ranking() > -math.inf, ELIGIBLE)
    assert not distribution.ranking().isnan().any()


def test_frequencies_follow_the_probabilities(distribution):
    generator = torch.Generator().manual_seed(5)
    noise = torch.rand(2_000, 4, LENGTH, generator=generator)
    samples = torch.stack([distribution.sample(each) for each in noise])
    codes = (samples.long() * torch.tensor([8, 4, 2, 1])).sum(-1)
    _, log_probs = enumerate_log_probs(distribution)
    for row in range(4):
        share = torch.bincount(codes[:, row], minlength=16) / len(samples)
        chance = log_probs[:, row].exp()
        assert (share[chance == 0] == 0).all()
        assert ((share - chance).abs() <= 5 * (chance * (1 - chance) / 2_000).sqrt() + 1e-6).all()


def test_rows_do_not_depend_on_their_batch():
    noise = torch.rand(4, LENGTH, generator=torch.Generator().manual_seed(0))
    for make in (Bernoulli, lambda logits, eligible: UniformSubset(eligible, 2)):
        together = make(LOGITS, ELIGIBLE).sample(noise)
        alone = [make(LOGITS[i, None], ELIGIBLE[i, None]).sample(noise[i, None]) for i in range(4)]
        assert torch.equal(together, torch.cat(alone))


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
