"""Policies around others: rounds of dilated positions, and leaving early."""

import math
from dataclasses import replace

import oracles
import pytest
import torch
from torch.export import Dim, export
from toy_observations import LENGTH, ROWS, learned, noise, observe
from toy_rollouts import decode

from lit_unmask.policies import (
    BernoulliArgmaxHead,
    BernoulliHead,
    BlockThresholdHead,
    ConfidenceTransformer,
    CountHead,
    Dilated,
    EarlyExit,
    IntensityHead,
    LearnedPolicy,
    LowConfidence,
    PlackettLuceHead,
    Plain,
    ThresholdHead,
)
from lit_unmask.rollout import Decoding
from lit_unmask.types import Observation


def rounds(policy, length):
    """Return the sets that are opened, step by step, from masks alone."""
    masked, steps = torch.ones(1, length, dtype=torch.bool), []
    while masked.any():
        seen = Observation(masked, masked, torch.full((1, length, 1), 0.5), torch.zeros(1))
        opened = policy(seen).mode()
        steps.append((opened[0].nonzero()[:, 0] + 1).tolist())
        masked = masked & ~opened
    return steps


def test_dilation_by_hand():
    assert rounds(Dilated(block_length=8), 8) == [[1, 5], [3, 7], [2, 4, 6, 8]]
    assert rounds(Dilated(block_length=9, base=3), 9) == [[1, 4, 7], [2, 3, 5, 6, 8, 9]]
    # 10 is no power: strides 5, 2, 1.
    assert rounds(Dilated(block_length=10), 10) == [[1, 6], [3, 5, 7, 9], [2, 4, 8, 10]]
    assert rounds(Dilated(block_length=4), 8) == [[1, 3, 5, 7], [2, 4, 6, 8]]
    assert rounds(Dilated(block_length=6, strides=[3, 1]), 6) == [[1, 4], [2, 3, 5, 6]]


@pytest.mark.parametrize("base", [2, 3, 5])
def test_dilation_covers_every_position_of_a_block_once(base):
    for length in range(1, 40):
        steps = rounds(Dilated(block_length=length, base=base), length)
        assert sorted(place for step in steps for place in step) == list(range(1, length + 1))
        assert len(steps) <= max(1, math.ceil(math.log(length, base) - 1e-9))


def test_strides_that_leave_positions_out_are_refused():
    with pytest.raises(ValueError, match=r"strides=\[4, 2\] never open position 1 of a block of 8"):
        Dilated(strides=[4, 2], block_length=8)
    with pytest.raises(ValueError, match=r"strides=\[4, 0\] must be at least 1"):
        Dilated(strides=[4, 0])
    with pytest.raises(ValueError, match="base=1 at least 2"):
        Dilated(base=1)


@torch.no_grad()
def test_a_dilated_policy_acts_as_itself_on_the_round_alone():
    inner, observation = learned().eval(), observe()
    policy = Dilated(inner, block_length=7)
    restricted = policy.round(observation.eligible)
    live = observation.eligible.any(1)
    assert torch.equal(restricted.any(1), live) and (restricted <= observation.eligible).all()
    expected = inner(replace(observation, eligible=restricted))
    found = policy(observation)
    actions = oracles.all_actions(7)
    for row in range(ROWS):
        wide = torch.zeros(len(actions), LENGTH, dtype=torch.bool)
        wide[:, :7] = actions
        one = policy(observation.select(torch.full((len(actions),), row)))
        assert one.log_prob(wide).exp().sum() == pytest.approx(1, abs=1e-5)
    action = found.sample(noise())
    assert torch.equal(found.log_prob(action), expected.log_prob(action))
    faster = policy.at(scale=2.0)
    assert (faster.policy.scale, faster.block_length) == (2.0, 7)


def test_leaving_early_by_hand():
    # Gaps log(0.8 / 0.1) = 2.08 and log(0.6 / 0.3) = 0.69; the third position is committed.
    values = torch.tensor([[[0.8, 0.1], [0.6, 0.3], [0.5, 0.5]]])
    masked = torch.tensor([[True, True, False]])
    seen = Observation(masked, masked, values, torch.zeros(1))
    for gaps, expected in {(9.0, 0.6, 9.0): [1, 1, 0], (0.1, 0.7, 0.1): [1, 0, 0]}.items():
        distribution = EarlyExit(LowConfidence(1), gaps)(seen)
        action = distribution.mode()
        assert distribution.positions(action).int().tolist() == [expected]
        assert distribution.probability().int().tolist() == [expected]
        assert distribution.log_prob(action) == 0
    # A second probability that underflows is a gap without end, not a missing number.
    sure = replace(seen, confidence=torch.tensor([[[1.0, 0.0], [1.0, 1e-44], [0.5, 0.5]]]))
    distribution = EarlyExit(LowConfidence(1), (50.0,))(sure)
    assert distribution.positions(distribution.mode()).int().tolist() == [[1, 1, 0]]


@torch.no_grad()
def test_likelihoods_of_who_leaves_early_are_those_of_the_others():
    inner, observation = learned().eval(), observe()
    distribution = EarlyExit(inner, (0.05, 0.2, 0.1))(observation)
    leaves = distribution.sure.any(1)
    assert leaves.any() and (observation.eligible.any(1) & ~leaves).any()
    assert torch.equal(distribution.positions(distribution.sample(noise()))[leaves],
                       observation.eligible[leaves])  # fmt: skip
    action = distribution.sample(noise())
    expected = inner(observation)
    for found, wanted in [
        (distribution.log_prob(action), expected.log_prob(action)),
        (distribution.entropy(), expected.entropy()),
    ]:
        assert torch.equal(found[~leaves], wanted[~leaves]) and (found[leaves] == 0).all()


HEADS = {
    "bernoulli": BernoulliHead,
    "argmax": BernoulliArgmaxHead,
    "dpls": PlackettLuceHead,
    "intensity": IntensityHead,
    "threshold": lambda: ThresholdHead(initial=0.4),
    "count": lambda: CountHead([1, 2, 4]),
    "block": lambda: BlockThresholdHead([2, 8], [0.2, 0.5]),
}


@pytest.mark.parametrize("around", [
    lambda inner: Dilated(inner, block_length=4),
    lambda inner: EarlyExit(inner, (1.0, 0.5, 0.2)),
    lambda inner: EarlyExit(Dilated(inner, 8), (1.0, 0.5, 0.2)),
], ids=["dilated", "early-exit", "both"])  # fmt: skip
@pytest.mark.parametrize("head", HEADS)
def test_actions_of_any_head_replay_with_their_likelihoods(head, around):
    torch.manual_seed(0)
    network = ConfidenceTransformer(16, 2, 16, output_bias=-1.0)
    policy = around(LearnedPolicy(network, head=HEADS[head]())).eval()
    steps = decode(policy, Decoding(8, 8), record=True).steps
    distribution = policy(steps.observation)
    log_prob = distribution.log_prob(steps.action)
    torch.testing.assert_close(log_prob, steps.log_prob)
    assert torch.equal(distribution.positions(steps.action), steps.chosen)
    assert (steps.log_prob != 0).any()
    log_prob.sum().backward()
    trained = [weight for weight in policy.parameters() if weight.requires_grad]
    assert any(weight.grad is not None and weight.grad.any() for weight in trained)


@pytest.mark.parametrize("head", ["dpls", "count"])
def test_a_policy_is_exported_for_any_number_of_rows(head):
    torch.manual_seed(0)
    inner = LearnedPolicy(ConfidenceTransformer(16, 2, 16), head=HEADS[head]())
    policy, rows = Plain(EarlyExit(Dilated(inner, 4), (0.3, 0.2, 0.1))).eval(), {0: Dim("rows")}

    def inputs(observation):
        seen = observation.confidence, observation.masked, observation.eligible, observation.time
        return (*seen, noise()) if head == "dpls" else seen

    first = inputs(observe(1))
    graph = export(policy, first, dynamic_shapes=tuple(rows for _ in first)).module()
    seen = tuple(value[:5] for value in inputs(observe(2)))
    assert torch.equal(graph(*seen), policy(*seen))
