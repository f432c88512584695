"""Every rule under one suite of laws, then each against numbers by hand and a slow twin."""

import oracles
import pytest
import torch

from lit_unmask.policies import (
    ConfidenceThreshold,
    ConfidenceTransformer,
    EntropyBound,
    LearnedPolicy,
    LeftToRight,
    LowConfidence,
    Margin,
    Random,
)
from lit_unmask.policies.heuristics.top_k import top_positions
from lit_unmask.types import Observation, Signals

ROWS, LENGTH = 12, 10


def observe(seed=0, levels=0):
    """Return random observations; ``levels`` > 0 rounds scores so that ties occur."""
    generator = torch.Generator().manual_seed(seed)
    masked = torch.rand(ROWS, LENGTH, generator=generator) < 0.6
    eligible = masked & (torch.arange(LENGTH) < 7)
    eligible[0] = False
    confidence = torch.rand(ROWS, LENGTH, 3, generator=generator)
    entropy = 0.3 * torch.rand(ROWS, LENGTH, generator=generator)
    if levels:
        confidence, entropy = (x.mul(levels).round() / levels for x in (confidence, entropy))
    confidence = confidence.sort(-1, descending=True).values
    return Observation(
        masked, eligible, confidence, torch.linspace(0, 1, ROWS), {"entropy": entropy}
    )


def learned():
    torch.manual_seed(0)
    return LearnedPolicy(ConfidenceTransformer(width=16, heads=2, feed_forward=32, top_p=2))


HEURISTICS = {
    "random": lambda: Random(2),
    "low-confidence": lambda: LowConfidence(2),
    "margin": lambda: Margin(2),
    "left-to-right": lambda: LeftToRight(2),
    "threshold": lambda: ConfidenceThreshold(0.9),
    "entropy-bound": lambda: EntropyBound(0.1),
}
POLICIES = HEURISTICS | {"learned": learned}


@pytest.fixture(params=POLICIES)
def policy(request):
    return POLICIES[request.param]().eval()


@pytest.fixture(params=HEURISTICS)
def heuristic(request):
    return HEURISTICS[request.param]()


def noise(seed=0):
    return torch.rand(ROWS, LENGTH, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_actions_are_eligible_and_possible(policy):
    observation = observe()
    distribution = policy(observation)
    for action in (distribution.sample(noise()), distribution.mode()):
        assert action.dtype == torch.bool and action.shape == (ROWS, LENGTH)
        assert not (action & ~observation.eligible).any()
        assert distribution.log_prob(action).isfinite().all()


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch(policy):
    observation = observe()
    together = policy(observation)
    for row in range(ROWS):
        alone = policy(observation.select(torch.tensor([row])))
        torch.testing.assert_close(alone.probability()[0], together.probability()[row])
        torch.testing.assert_close(alone.ranking()[0], together.ranking()[row])
        sampled = together.sample(noise())[row]
        assert torch.equal(alone.sample(noise()[row, None])[0], sampled)


@torch.no_grad()
def test_what_is_not_eligible_does_not_matter_to_a_heuristic(heuristic):
    observation = observe()
    hidden = ~observation.eligible
    changed = Observation(
        observation.masked,
        observation.eligible,
        observation.confidence.masked_fill(hidden[..., None], 1.0),
        observation.time,
        {"entropy": observation.signals["entropy"].masked_fill(hidden, 0.0)},
    )
    expected = heuristic(observation).sample(noise())
    assert torch.equal(heuristic(changed).sample(noise()), expected)


def test_heuristics_always_open_something(heuristic):
    observation = observe()
    action = heuristic(observation).sample(noise())
    assert torch.equal(action.any(-1), observation.eligible.any(-1))


def test_the_best_ranked_position_is_opened(heuristic):
    observation = observe()
    distribution = heuristic(observation)
    live = observation.eligible.any(-1)
    best = distribution.ranking().argmax(-1)
    assert distribution.mode()[torch.arange(ROWS), best][live].all()


def test_parameters_and_signals(policy):
    assert policy.has_parameters == isinstance(policy, LearnedPolicy)
    expected = {
        Margin: Signals(2),
        LearnedPolicy: Signals(2),
        EntropyBound: Signals(names={"entropy"}),
    }
    assert policy.signals == expected.get(type(policy), Signals())


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
def test_entropy_bound_equals_its_slow_twin(gamma, levels):
    observation = observe(levels=levels)
    # Away from ties of the bound itself, which rounding decides.
    gamma += 1e-4
    slow = map(
        oracles.entropy_bound,
        observation.signals["entropy"].tolist(),
        observation.eligible.tolist(),
        [gamma] * ROWS,
    )
    assert EntropyBound(gamma)(observation).mode().tolist() == list(slow)


def one_row(confidence, eligible=None, entropy=None):
    values = torch.tensor([confidence])
    masked = torch.ones(values.shape[:2], dtype=torch.bool)
    eligible = masked if eligible is None else torch.tensor([eligible]).bool()
    signals = {} if entropy is None else {"entropy": torch.tensor([entropy])}
    return Observation(masked, eligible, values, torch.zeros(1), signals)


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


def test_random_is_uniform_over_eligible_positions():
    observation = one_row([[0.9], [0.1], [0.5], [0.5]], eligible=[1, 0, 1, 1])
    generator = torch.Generator().manual_seed(0)
    draws = [
        Random(1)(observation).sample(torch.rand(1, 4, generator=generator)) for _ in range(900)
    ]
    counts = torch.stack(draws).sum(0)[0]
    assert counts[1] == 0 and counts.sum() == 900
    assert (counts[[0, 2, 3]] - 300).abs().max() < 60


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
    with pytest.raises(ValueError, match="the margin needs 2"):
        Margin()(one_row([[0.5], [0.5]]))
    with pytest.raises(ValueError, match=r"no signal 'entropy'"):
        EntropyBound()(one_row([[0.5], [0.5]]))
    with pytest.raises(ValueError, match="temperature=0"):
        LearnedPolicy(ConfidenceTransformer(width=16, feed_forward=8), temperature=0)
