"""Laws that hold for every action distribution, by enumeration where actions can be counted."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import oracles
import pytest
import torch
from scipy import integrate, stats

from lit_unmask.policies.actions import (
    Bernoulli,
    BernoulliArgmax,
    BetaIntensity,
    BetaThreshold,
    BlockThreshold,
    Deterministic,
    DynamicPlackettLuce,
    Spread,
    TopKCount,
    UniformSubset,
)

LENGTH, DRAWS = 4, 100_000
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
COUNTS = torch.tensor([0, 1, 3, 4])
LENGTHS, THRESHOLDS = torch.tensor([2, 2, 4, 4]), torch.tensor([0.05, 0.35, 0.25, 0.9])
SPREAD = Spread(concentration=6.0)

SETS = oracles.all_actions(LENGTH)
# All numberings, of which most are no picks at all.
ORDERS = torch.tensor(list(itertools.product(range(LENGTH + 1), repeat=LENGTH)))
NUMBERS = torch.arange(-1, 5)


@dataclass(frozen=True)
class Case:
    """How to make a distribution of logits ``[B, 4]`` for rows of the tables above."""

    make: Callable
    actions: torch.Tensor | None = SETS
    exact_entropy: bool = True

    def __call__(self, logits=LOGITS, rows=slice(None)):
        return self.make(logits[rows], ELIGIBLE[rows], SCORES[rows])


CASES = {
    "bernoulli": Case(lambda b, e, c: Bernoulli(b, e)),
    "bernoulli-cold": Case(lambda b, e, c: Bernoulli(b, e, temperature=0.5)),
    "bernoulli-slow": Case(lambda b, e, c: Bernoulli(b, e, scale=0.6)),
    "bernoulli-fast": Case(lambda b, e, c: Bernoulli(b, e, 2.0, scale=1.4)),
    "argmax": Case(lambda b, e, c: BernoulliArgmax(b, e)),
    "argmax-slow": Case(lambda b, e, c: BernoulliArgmax(b - 1, e, 0.7, scale=0.5)),
    "dpls": Case(lambda b, e, c: DynamicPlackettLuce(b, e), ORDERS, False),
    "dpls-fast": Case(lambda b, e, c: DynamicPlackettLuce(b, e, 0.5, 2.0), ORDERS, False),
    "count": Case(lambda b, e, c: TopKCount(b, e, c, COUNTS), NUMBERS),
    "block": Case(lambda b, e, c: BlockThreshold(b, e, c, LENGTHS, THRESHOLDS), NUMBERS),
    "beta-threshold": Case(lambda b, e, c: BetaThreshold(b[:, 0], e, c, SPREAD), None),
    "beta-intensity": Case(lambda b, e, c: BetaIntensity(b, e, c, SPREAD), None),
    "deterministic": Case(lambda b, e, c: Deterministic(e & (c > 0.15), e, c)),
    "subset-1": Case(lambda b, e, c: UniformSubset(e, 1)),
    "subset-2": Case(lambda b, e, c: UniformSubset(e, 2)),
    "subset-9": Case(lambda b, e, c: UniformSubset(e, 9)),
}
COUNTABLE = [name for name, case in CASES.items() if case.actions is not None]
BETAS = [name for name in CASES if name.startswith("beta")]
LEARNED = [name for name in CASES if not name.startswith(("deterministic", "subset"))]


def noise(rows=4, seed=5):
    return torch.rand(rows, LENGTH, generator=torch.Generator().manual_seed(seed))


def enumerate_log_probs(name, logits=LOGITS):
    """Return all actions ``[A, ...]`` and their log-probabilities ``[A, B]``."""
    actions = CASES[name].actions
    distribution = CASES[name](logits, torch.arange(4).repeat(len(actions)))
    return actions, distribution.log_prob(actions.repeat_interleave(4, 0)).view(-1, 4)


def spread_positions(name):
    """Return what every action opens in each row, ``[A, B, L]`` bool."""
    actions = CASES[name].actions
    if actions is NUMBERS:  # numbers outside of the list open nothing that could be looked up
        actions = NUMBERS.clamp(0, 3)
    distribution = CASES[name](rows=torch.arange(4).repeat(len(actions)))
    return distribution.positions(actions.repeat_interleave(4, 0)).view(-1, 4, LENGTH)


@pytest.mark.parametrize("name", COUNTABLE)
def test_probabilities_of_all_actions_sum_to_one(name):
    _, log_probs = enumerate_log_probs(name)
    assert log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs.exp().sum(0), torch.ones(4))


@pytest.mark.parametrize("name", COUNTABLE)
def test_what_can_happen_opens_eligible_positions_alone(name):
    actions, log_probs = enumerate_log_probs(name)
    assert not (spread_positions(name) & ~ELIGIBLE).any()
    if actions is SETS or actions is ORDERS:
        outside = ((actions > 0)[:, None] & ~ELIGIBLE).any(-1)
        assert outside.any() and (log_probs[outside] == -math.inf).all()


@pytest.mark.parametrize("name", COUNTABLE)
def test_frequencies_follow_the_probabilities(name):
    actions, log_probs = enumerate_log_probs(name)
    rows = torch.arange(4).repeat_interleave(DRAWS)
    drawn = CASES[name](rows=rows).sample(noise(4 * DRAWS)).long()
    base = 5 ** torch.arange(LENGTH)
    codes = [(a.long() * base).sum(-1) if a.ndim > 1 else a.long() + 1 for a in (drawn, actions)]
    assert torch.isin(codes[0], codes[1]).all()
    for row, code in enumerate(codes[0].view(4, DRAWS)):
        share = torch.bincount(code, minlength=625)[codes[1]] / DRAWS
        chance = log_probs[:, row].exp()
        assert (share[chance == 0] == 0).all()
        assert ((share - chance).abs() <= 5 * (chance * (1 - chance) / DRAWS).sqrt() + 1e-6).all()


@pytest.mark.parametrize("name", COUNTABLE)
def test_probability_is_the_marginal(name):
    _, log_probs = enumerate_log_probs(name)
    expected = torch.einsum("ab,abl->bl", log_probs.exp(), spread_positions(name).float())
    torch.testing.assert_close(CASES[name]().probability(), expected)


@pytest.mark.parametrize("name", COUNTABLE)
def test_entropy_is_the_mean_of_minus_log_prob_or_below_where_it_is_a_bound(name):
    _, log_probs = enumerate_log_probs(name)
    expected = -torch.where(log_probs.isinf(), 0.0, log_probs.exp() * log_probs).sum(0)
    entropy = CASES[name]().entropy()
    if not CASES[name].exact_entropy:  # exact up to two eligible positions
        assert 0.5 * expected[0] < entropy[0] < expected[0]
        entropy, expected = entropy[1:], expected[1:]
    torch.testing.assert_close(entropy, expected)


@pytest.mark.parametrize("name", COUNTABLE)
@pytest.mark.parametrize("shift", [-4.0, -1.0, 0.0, 2.0])
def test_mode_is_a_most_probable_action(name, shift):
    _, log_probs = enumerate_log_probs(name, LOGITS + shift)
    distribution = CASES[name](LOGITS + shift)
    torch.testing.assert_close(distribution.log_prob(distribution.mode()), log_probs.amax(0))


@pytest.mark.parametrize("name", CASES)
def test_a_row_without_eligible_positions_is_certain_to_be_empty(name):
    distribution = CASES[name]()
    for action in (distribution.sample(noise()), distribution.mode()):
        assert distribution.log_prob(action)[3] == 0
        assert not distribution.positions(action)[3].any()
    assert distribution.entropy()[3] == 0
    assert not distribution.probability()[3].any()


@pytest.mark.parametrize("name", CASES)
def test_ranking_is_finite_exactly_where_eligible(name):
    ranking = CASES[name]().ranking()
    assert torch.equal(ranking > -math.inf, ELIGIBLE)
    assert not ranking.isnan().any() and (CASES[name]().probability()[~ELIGIBLE] == 0).all()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("fault", [math.nan, math.inf])
def test_a_row_whose_logits_are_not_finite_is_broken_and_no_other(name, fault):
    logits = LOGITS.clone()
    logits[0] = fault
    assert not CASES[name]().broken().any()
    assert CASES[name](logits).broken().tolist() == [name in LEARNED, False, False, False]
    # Nobody asks about positions that may not be opened.
    logits[0], logits[3] = 0.0, fault
    assert not CASES[name](logits).broken().any()


@pytest.mark.parametrize("name", CASES)
def test_rows_do_not_depend_on_their_batch(name):
    together, numbers = CASES[name](), noise()
    action = together.sample(numbers)
    for row in range(4):
        alone = CASES[name](rows=[row])
        assert torch.equal(alone.sample(numbers[row, None])[0], action[row])
        assert torch.equal(alone.log_prob(action[row, None])[0], together.log_prob(action)[row])
        assert torch.equal(alone.positions(action[row, None])[0], together.positions(action)[row])


@pytest.mark.parametrize("name", LEARNED)
def test_what_a_recorded_action_opens_does_not_depend_on_the_weights(name):
    acting, learning = CASES[name](), CASES[name](LOGITS.flip(1) - 0.5)
    action = acting.sample(noise())
    assert torch.equal(acting.positions(action), learning.positions(action))
    assert learning.log_prob(action).isfinite().all()


@pytest.mark.parametrize("name", CASES)
def test_what_others_opened_is_imitated_by_the_most_probable_action(name):
    distribution = CASES[name]()
    if not distribution.opens_any_set:
        with pytest.raises(TypeError, match="cannot open any set"):
            distribution.action_of(ELIGIBLE)
        return
    log_probs, opened = None, None
    if name not in BETAS:
        log_probs, opened = enumerate_log_probs(name)[1], spread_positions(name)
    for wanted in SETS[1:, None] & ELIGIBLE:
        action = distribution.action_of(wanted)
        assert torch.equal(distribution.positions(action), wanted)
        if log_probs is not None:
            same = (opened == wanted).all(-1)
            best = log_probs.masked_fill(~same, -math.inf).amax(0)
            torch.testing.assert_close(distribution.log_prob(action), best)


@pytest.mark.parametrize("name", LEARNED)
def test_gradients_equal_finite_differences(name):
    case = CASES[name]
    action = case().sample(noise())
    if action.dtype == torch.float32:
        action = action.double()

    def outputs(logits):
        distribution = case(logits)
        found = [distribution.log_prob(action), distribution.entropy()]
        return (*found, distribution.probability()) if name not in BETAS else tuple(found)

    # Away from a zero logit, where |b| has a kink and the entropy has none.
    logits = (LOGITS.double() + 0.01).requires_grad_()
    assert torch.autograd.gradcheck(outputs, logits)


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_give_finite_values(name, dtype):
    signs = torch.tensor(list(itertools.product([40.0, -40.0], repeat=4)), dtype=dtype)
    for row in range(3):
        logits = signs.clone().requires_grad_()
        distribution = CASES[name].make(
            logits, ELIGIBLE[row].expand(16, -1), SCORES[row].expand(16, -1)
        )
        action = distribution.sample(noise(16))
        values = [distribution.log_prob(action), distribution.entropy()]
        values.append(distribution.log_prob(distribution.mode()))
        assert all(value.isfinite().all() and value.dtype == torch.float32 for value in values)
        sum(value.sum() for value in values).backward()
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("number", [0.0, 1 - 2**-24])
def test_noise_at_its_ends_gives_possible_actions(name, number):
    distribution = CASES[name]()
    action = distribution.sample(torch.full((4, LENGTH), number))
    assert distribution.log_prob(action).isfinite().all()


@pytest.mark.parametrize("name", BETAS)
@pytest.mark.parametrize("logit", [-3.0, 0.4, 40.0])
def test_a_density_integrates_to_one_and_its_mode_is_highest(name, logit):
    distribution = CASES[name](torch.full((4, 4), logit, dtype=torch.float64), [2])

    def density(x):
        action = torch.full_like(distribution.mode(), x)
        return distribution.log_prob(action).exp().item()

    total, _ = integrate.quad(density, 0, 1)
    assert total == pytest.approx(1, abs=1e-6)
    highest = distribution.log_prob(distribution.mode()).exp().item()
    assert all(density(x) <= highest + 1e-6 for x in torch.linspace(0.01, 0.99, 99).tolist())
    mean, _ = integrate.quad(
        lambda x: -density(x) * math.log(density(x)) if x else 0.0, 1e-9, 1 - 1e-9
    )
    assert distribution.entropy().item() == pytest.approx(mean, abs=1e-4)
    assert density(-0.1) == density(1.0) == density(0.0) == 0


@pytest.mark.parametrize("name", BETAS)
def test_draws_follow_the_density_and_open_as_often_as_they_say(name):
    rows = torch.ones(DRAWS, dtype=torch.int64)
    distribution = CASES[name](rows=rows)
    drawn = distribution.sample(noise(DRAWS))
    first, logit = (drawn, LOGITS[1, 0]) if drawn.ndim == 1 else (drawn[:, 1], LOGITS[1, 1])
    a, b = 1 + 6 * logit.sigmoid().item(), 1 + 6 * (-logit).sigmoid().item()
    assert stats.kstest(first.numpy(), stats.beta(a, b).cdf).pvalue > 1e-4
    share, chance = distribution.positions(drawn).float().mean(0), distribution.probability()[0]
    assert ((share - chance).abs() <= 5 * (chance * (1 - chance) / DRAWS).sqrt() + 1e-5).all()
