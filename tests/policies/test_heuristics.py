"""Every rule under one suite of laws, then each against numbers by hand and a slow twin."""

from dataclasses import replace

import oracles
import pytest
import torch
from toy_observations import LENGTH, ROWS, learned, noise, observe, one_row, opened

from lit_unmask.policies import (
    KLASS,
    Ancestral,
    ConfidenceThreshold,
    ConfidenceTransformer,
    Dilated,
    EarlyExit,
    EntropyBound,
    Factor,
    LearnedPolicy,
    LeftToRight,
    LowConfidence,
    LowEntropy,
    Margin,
    Policy,
    Random,
)
from lit_unmask.policies.heuristics.top_k import top_positions
from lit_unmask.types import Observation, Signals

HEURISTICS = {
    "random": lambda: Random(2),
    "low-confidence": lambda: LowConfidence(2),
    "margin": lambda: Margin(2),
    "left-to-right": lambda: LeftToRight(2),
    "threshold": lambda: ConfidenceThreshold(0.9),
    "entropy-bound": lambda: EntropyBound(0.1),
    "entropy-bound-confidence": lambda: EntropyBound(0.1, "confidence"),
    "entropy-bound-margin": lambda: EntropyBound(0.1, "margin"),
    "low-entropy": lambda: LowEntropy(2),
    "factor": lambda: Factor(1.0),
    "klass": lambda: KLASS(0.6, 0.015),
    "dilated": lambda: Dilated(block_length=7),
    "dilated-random": lambda: Dilated(Random(2), block_length=7),
    "early-exit": lambda: EarlyExit(LowConfidence(1), (0.3, 0.2, 0.1)),
}
POLICIES = HEURISTICS | {
    "ancestral": lambda: Ancestral(20),
    "learned": learned,
    "dilated-learned": lambda: Dilated(learned(), 4),
    "early-exit-learned": lambda: EarlyExit(learned(), (0.3, 0.2, 0.1)),
}


@pytest.fixture(params=POLICIES)
def policy(request):
    return POLICIES[request.param]().eval()


@pytest.fixture(params=HEURISTICS)
def heuristic(request):
    return HEURISTICS[request.param]()


@torch.no_grad()
def test_actions_are_eligible_and_possible(policy):
    observation = observe()
    distribution = policy(observation)
    for action in (distribution.sample(noise()), distribution.mode()):
        opened = distribution.positions(action)
        assert opened.dtype == torch.bool and opened.shape == (ROWS, LENGTH)
        assert not (opened & ~observation.eligible).any()
        assert distribution.log_prob(action).isfinite().all()


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch(policy):
    observation = observe()
    together = policy(observation)
    for row in range(ROWS):
        alone = policy(observation.select(torch.tensor([row])))
        torch.testing.assert_close(alone.probability()[0], together.probability()[row])
        torch.testing.assert_close(alone.ranking()[0], together.ranking()[row])
        sampled = opened(together, noise())[row]
        assert torch.equal(opened(alone, noise()[row, None])[0], sampled)


@torch.no_grad()
def test_what_is_not_eligible_does_not_matter_to_a_heuristic(heuristic):
    observation = observe()
    hidden = ~observation.eligible
    changed = Observation(
        observation.masked,
        observation.eligible,
        observation.confidence.masked_fill(hidden[..., None], 1.0),
        observation.time,
        {name: value.masked_fill(hidden, 0.0) for name, value in observation.signals.items()},
    )
    expected = opened(heuristic(observation), noise())
    assert torch.equal(opened(heuristic(changed), noise()), expected)


def test_heuristics_always_open_something(heuristic):
    observation = observe()
    action = opened(heuristic(observation), noise())
    assert torch.equal(action.any(-1), observation.eligible.any(-1))


def test_the_best_ranked_position_is_opened(heuristic):
    observation = observe()
    distribution = heuristic(observation)
    live = observation.eligible.any(-1)
    best = distribution.ranking().argmax(-1)
    mode = distribution.positions(distribution.mode())
    assert mode[torch.arange(ROWS), best][live].all()


def test_parameters_and_signals(policy):
    parts = [part for part in policy.modules() if isinstance(part, Policy)]
    assert policy.has_parameters == any(isinstance(part, LearnedPolicy) for part in parts)
    drawing = LearnedPolicy | Random | Ancestral
    assert policy.draws == any(isinstance(part, drawing) for part in parts)
    expected = {
        Margin: Signals(2),
        LearnedPolicy: Signals(2),
        EarlyExit: Signals(2),
        EntropyBound: Signals(names={"entropy"}),
        LowEntropy: Signals(names={"entropy"}),
        KLASS: Signals(names={"change"}),
    }
    found = Signals()
    for part in parts:
        found |= expected.get(type(part), Signals())
    margin = Signals(2 if getattr(policy, "proxy", "") == "margin" else 1)
    assert policy.signals == found | margin


@pytest.mark.parametrize("levels", [0, 3])
@pytest.mark.parametrize("k", [1, 2, 5, 99])
def test_top_k_rules_equal_their_slow_twin(k, levels):
    observation = observe(levels=levels)
    values = observation.confidence
    scores = {
        LowConfidence: values[..., 0],
        Margin: values[..., 0] - values[..., 1],
        LeftToRight: -torch.arange(LENGTH).expand(ROWS, -1),
    }
    for rule, score in scores.items():
        slow = map(oracles.top_k, score.tolist(), observation.eligible.tolist(), [k] * ROWS)
        assert rule(k)(observation).mode().tolist() == list(slow)


@pytest.mark.parametrize("levels", [0, 3])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 1.0])
def test_threshold_equals_its_slow_twin(threshold, levels):
    observation = observe(levels=levels)
    slow = map(
        oracles.confidence_threshold,
        observation.confidence[..., 0].tolist(),
        observation.eligible.tolist(),
        [threshold] * ROWS,
    )
    assert ConfidenceThreshold(threshold)(observation).mode().tolist() == list(slow)


@pytest.mark.parametrize("levels", [0, 20])
@pytest.mark.parametrize("gamma", [0.0, 0.05, 0.1, 0.4, 9.0])
@pytest.mark.parametrize("proxy", ["entropy", "confidence", "margin"])
def test_entropy_bound_equals_its_slow_twin(proxy, gamma, levels):
    observation = observe(levels=levels)
    # Away from ties of the bound itself, which rounding decides.
    gamma += 1e-4
    first, second, _ = observation.confidence.unbind(-1)
    entropy = observation.signals["entropy"]
    errors = {"entropy": entropy, "confidence": -first, "margin": second - first}[proxy]
    rows = entropy.tolist(), errors.tolist(), observation.eligible.tolist(), [gamma] * ROWS
    slow = map(oracles.entropy_bound, *rows)
    assert EntropyBound(gamma, proxy)(observation).mode().tolist() == list(slow)


@pytest.mark.parametrize("levels", [0, 5])
@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 3.0, 99.0])
def test_factor_equals_its_slow_twin(factor, levels):
    observation = observe(levels=levels)
    factor += 1e-4
    confidence = observation.confidence[..., 0]
    slow = map(oracles.factor, confidence.tolist(), observation.eligible.tolist(), [factor] * ROWS)
    assert Factor(factor)(observation).mode().tolist() == list(slow)


def test_threshold_by_hand():
    observation = one_row([[0.95], [0.9], [0.91], [0.99]], eligible=[1, 1, 1, 0])
    assert ConfidenceThreshold(0.9)(observation).mode().int().tolist() == [[1, 0, 1, 0]]
    assert ConfidenceThreshold(0.97)(observation).mode().int().tolist() == [[1, 0, 0, 0]]


def test_threshold_opens_one_position_in_every_row_by_itself():
    eligible = torch.ones(2, 3, dtype=torch.bool)
    confidence = torch.tensor([[0.95, 0.1, 0.1], [0.2, 0.3, 0.3]])[..., None]
    observation = Observation(eligible, eligible, confidence, torch.zeros(2))
    action = ConfidenceThreshold(0.9)(observation).mode()
    assert action.int().tolist() == [[1, 0, 0], [0, 1, 0]]


def test_margin_by_hand():
    observation = one_row([[0.6, 0.4], [0.5, 0.1], [0.9, 0.1]], eligible=[1, 1, 1])
    assert Margin(1)(observation).mode().int().tolist() == [[0, 0, 1]]
    assert Margin(2)(observation).mode().int().tolist() == [[0, 1, 1]]


def test_entropy_bound_by_hand():
    # Sorted 0.02, 0.05, 0.06, 0.5: bounds of the prefixes are 0, 0.02, 0.07, 0.13.
    observation = one_row([[0.5]] * 5, [1, 1, 1, 0, 1], entropy=[0.06, 0.5, 0.02, 0.0, 0.05])
    by_gamma = {0.0: [0, 0, 1, 0, 0], 0.03: [0, 0, 1, 0, 1], 0.1: [1, 0, 1, 0, 1]}
    by_gamma[0.14] = [1, 1, 1, 0, 1]
    for gamma, expected in by_gamma.items():
        assert EntropyBound(gamma)(observation).mode().int().tolist() == [expected]


def test_entropy_bound_counts_entropies_in_the_order_of_its_proxy():
    # By confidence the entropies are 0.5, 0.1, 0.02: bounds 0, 0.1, 0.12. By margin they are 0.1,
    # 0.02, 0.5: 0, 0.02, 0.12.
    seen = one_row([[0.5, 0.2], [0.7, 0.6], [0.6, 0.2]], entropy=[0.02, 0.5, 0.1])
    for proxy, gamma, expected in [
        ("confidence", 0.05, [0, 1, 0]), ("confidence", 0.11, [0, 1, 1]),
        ("margin", 0.01, [0, 0, 1]), ("margin", 0.11, [1, 0, 1]), ("margin", 0.13, [1, 1, 1]),
    ]:  # fmt: skip
        assert EntropyBound(gamma, proxy)(seen).mode().int().tolist() == [expected]


def test_factor_by_hand():
    # Descending 0.9, 0.8, 0.7: (n + 1)(1 - c) is 0.2, 0.6, 1.2.
    seen = one_row([[0.8], [0.99], [0.7], [0.9]], eligible=[1, 0, 1, 1])
    for factor, expected in {
        0.1: [0, 0, 0, 1], 0.3: [0, 0, 0, 1], 0.7: [1, 0, 0, 1], 1.3: [1, 0, 1, 1]
    }.items():  # fmt: skip
        assert Factor(factor)(seen).mode().int().tolist() == [expected]


def test_klass_by_hand():
    seen = one_row([[0.7], [0.95], [0.8], [0.5]], change=[0.001, torch.inf, 0.01, 0.0])
    # The surest position is not stable, and the most stable one not sure.
    assert KLASS(0.6, 0.015)(seen).mode().int().tolist() == [[1, 0, 1, 0]]
    assert KLASS(0.6, 0.002)(seen).mode().int().tolist() == [[1, 0, 0, 0]]
    assert KLASS(0.9, 0.015)(seen).mode().int().tolist() == [[0, 1, 0, 0]]
    distribution = KLASS(0.6, 0.002)(seen)
    assert distribution.ranking().argmax() == 0


def test_random_is_uniform_over_eligible_positions():
    observation = one_row([[0.9], [0.1], [0.5], [0.5]], eligible=[1, 0, 1, 1])
    generator = torch.Generator().manual_seed(0)
    draws = [
        Random(1)(observation).sample(torch.rand(1, 4, generator=generator)) for _ in range(900)
    ]
    counts = torch.stack(draws).sum(0)[0]
    assert counts[1] == 0 and counts.sum() == 900
    assert (counts[[0, 2, 3]] - 300).abs().max() < 60


def test_ancestral_positions_are_opened_at_a_uniform_step():
    # With two of five steps taken, one of the three that are left; at the last one for sure.
    seen = one_row([[0.5]] * LENGTH, [1] * 9 + [0])
    for taken, chance in {0: 1 / 5, 2: 1 / 3, 4: 1.0, 7: 1.0}.items():
        distribution = Ancestral(5)(replace(seen, time=torch.tensor([taken / LENGTH])))
        expected = torch.tensor([[chance] * 9 + [0.0]])
        torch.testing.assert_close(distribution.probability(), expected)
    with pytest.raises(ValueError, match="steps=0 must be at least 1"):
        Ancestral(0)


def test_top_positions_handles_empty_and_short_rows():
    eligible = torch.tensor([[0, 0, 0], [0, 1, 0], [1, 1, 1]]).bool()
    for k in (1, 2):
        chosen = top_positions(torch.zeros(3, 3), eligible, k)
        assert chosen.int().tolist() == [[0, 0, 0], [0, 1, 0], [1, int(k == 2), 0]]


def test_bad_arguments_are_named():
    for rule in (Random, LowConfidence, Margin, LeftToRight):
        with pytest.raises(ValueError, match="k=0 must be at least 1"):
            rule(0)
    with pytest.raises(ValueError, match=r"threshold=1\.5 must lie in \[0, 1\]"):
        ConfidenceThreshold(1.5)
    with pytest.raises(ValueError, match=r"gamma=-0\.1"):
        EntropyBound(-0.1)
    for policy in (Margin(), EntropyBound(proxy="margin")):
        with pytest.raises(ValueError, match="the margin needs 2"):
            policy(one_row([[0.5], [0.5]], entropy=[0.1, 0.1]))
    with pytest.raises(ValueError, match="the gap needs 2"):
        EarlyExit(Random())(one_row([[0.5], [0.5]]))
    with pytest.raises(ValueError, match="proxy='luck' must be 'entropy'"):
        EntropyBound(proxy="luck")
    with pytest.raises(ValueError, match="factor=0 must be positive"):
        Factor(0)
    with pytest.raises(ValueError, match=r"threshold=0.6 .* change=0 be positive"):
        KLASS(change=0)
    for gaps in ([], [-1.0]):
        with pytest.raises(ValueError, match=r"gaps=.* must be at least one number"):
            EarlyExit(Random(), gaps)
    with pytest.raises(ValueError, match=r"no signal 'entropy'"):
        EntropyBound()(one_row([[0.5], [0.5]]))
    with pytest.raises(ValueError, match="temperature=0"):
        LearnedPolicy(ConfidenceTransformer(width=16, feed_forward=8), temperature=0)
