"""Heads: distributions of a network's logits and features, in rollouts and in replays."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from toy_rollouts import decode

from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import (
    BernoulliArgmaxHead,
    BernoulliHead,
    BlockThresholdHead,
    Conditioned,
    ConfidenceThreshold,
    ConfidenceTransformer,
    CountHead,
    IntensityHead,
    LearnedPolicy,
    LogitCountHead,
    LowConfidence,
    PlackettLuceHead,
    Scaled,
    ThresholdHead,
)
from lit_unmask.policies.actions import BetaIntensity, BetaThreshold, DynamicPlackettLuce
from lit_unmask.rollout import Decoding
from lit_unmask.types import Observation, Signals

ROWS, LENGTH = 64, 8
HEADS = {
    "none": lambda: None,
    "bernoulli": BernoulliHead,
    "argmax": BernoulliArgmaxHead,
    "dpls": PlackettLuceHead,
    "intensity": IntensityHead,
    "threshold": lambda: ThresholdHead(initial=0.6),
    "count": lambda: CountHead([0, 1, 2, 4]),
    "count-by-logits": lambda: LogitCountHead([1, 2, 4]),
    "block": lambda: BlockThresholdHead([2, 8], [0.3, 0.6]),
}
NEVER_EMPTY = ["argmax", "dpls", "count-by-logits", "block"]
DECODING = Decoding(LENGTH, 4)


def make_policy(name, **settings):
    """Return a policy whose every weight is away from its start."""
    torch.manual_seed(0)
    network = ConfidenceTransformer(16, 2, 16, output_bias=-1.0)
    policy = LearnedPolicy(network, head=HEADS[name](), **settings)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return policy


def observe(rows=ROWS):
    generator = torch.Generator().manual_seed(1)
    masked = torch.rand(rows, LENGTH, generator=generator) < 0.8
    confidence = torch.rand(rows, LENGTH, 1, generator=generator)
    return Observation(masked, masked, confidence, torch.rand(rows, generator=generator))


def noise(rows=ROWS):
    return torch.rand(rows, LENGTH, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("on_empty", ["force", "wait"])
def test_a_rollout_is_that_of_its_rows_and_its_actions_replay(name, on_empty):
    policy, decoding = make_policy(name), replace(DECODING, on_empty=on_empty)
    together = decode(policy, decoding, record=True)
    alone = torch.cat([decode(policy, decoding, slice(i, i + 1)).response for i in range(6)])
    assert torch.equal(together.response, alone)
    steps = together.steps
    with torch.no_grad():
        distribution = policy(steps.observation)
    # Densities sum terms of either sign, each rounded in float32.
    torch.testing.assert_close(
        distribution.log_prob(steps.action), steps.log_prob, atol=1e-4, rtol=1e-5
    )
    assert torch.equal(distribution.positions(steps.action), steps.chosen)
    assert not (steps.chosen & ~steps.observation.eligible).any()
    if name in NEVER_EMPTY:
        assert steps.chosen.any(1).all() and not together.still_masked.any()


@pytest.mark.parametrize("name", HEADS)
def test_gradients_reach_all_that_is_trained_and_nothing_else(name):
    policy, observation = make_policy(name), observe()
    action = policy(observation).sample(noise())
    distribution = policy(observation)
    (distribution.log_prob(action).sum() + distribution.entropy().sum()).backward()
    for weight_name, weight in policy.named_parameters():
        trained = weight.grad is not None and weight.grad.abs().max() > 1e-6
        # A constant shift of all keys leaves attention as it is.
        assert trained == weight.requires_grad or "k_proj.bias" in weight_name, weight_name


def test_heads_of_rows_keep_from_training_what_they_do_not_use():
    for name in ("threshold", "count", "block"):
        fixed = {n for n, w in make_policy(name).named_parameters() if not w.requires_grad}
        assert fixed == {"network.output_proj.weight", "network.output_proj.bias"}
    by_logits = make_policy("count-by-logits")
    assert {n for n, w in by_logits.named_parameters() if w.requires_grad} == {
        "head.row_proj.weight", "head.row_proj.bias",
    }  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_a_larger_scale_opens_more_and_a_scale_of_one_changes_nothing(name):
    observation = observe(512)
    opened = [
        make_policy(name, scale=scale)(observation).probability().sum(1).mean().item()
        for scale in (0.3, 1.0, 3.0, 30.0)
    ]
    assert opened == sorted(opened) and opened[-1] > 1.3 * opened[0]
    plain, one = make_policy(name), make_policy(name, scale=1.0)
    assert torch.equal(plain(observation).probability(), one(observation).probability())


@pytest.mark.parametrize("name", HEADS)
def test_a_small_temperature_is_near_the_mode(name):
    policy, observation = make_policy(name), observe(256)
    shares = []
    for temperature in (1.0, 1e-4):
        policy = policy.at(temperature=temperature)
        distribution = policy(observation)
        drawn = distribution.positions(distribution.sample(noise(256)))
        likely = distribution.positions(distribution.mode())
        shares.append((drawn == likely).all(1).float().mean().item())
    assert shares[1] > 0.97 and shares[1] > shares[0]


def test_temperature_and_scale_by_hand():
    observation = observe(1)
    center = make_policy("intensity")(observation).center
    turned = make_policy("intensity", temperature=0.5, scale=2.0)(observation)
    assert isinstance(turned, BetaIntensity)
    torch.testing.assert_close(turned.toward_one, 40 * center)
    half = torch.full((1, LENGTH), 0.5)
    expected = (2 * 0.5 > 1 - observation.confidence[..., 0]) & observation.eligible
    assert torch.equal(turned.positions(half), expected)
    threshold = make_policy("threshold", scale=2.0)(observation)
    assert isinstance(threshold, BetaThreshold)
    expected = (2 * observation.confidence[..., 0] > 0.5) & observation.eligible
    assert torch.equal(threshold.positions(half[:, 0]), expected)
    picks = make_policy("dpls", scale=2.0)(observation)
    assert isinstance(picks, DynamicPlackettLuce)
    plain = make_policy("dpls")(observation)
    live = observation.eligible
    torch.testing.assert_close(picks.scores[live], plain.scores[live] + math.log(2))
    assert make_policy("count", scale=1.5)(observation).counts.tolist() == [0, 2, 3, 6]


@pytest.mark.parametrize("block", [2, 4])
def test_one_pair_of_block_and_threshold_is_the_threshold_rule_in_blocks(block):
    policy = LearnedPolicy(
        ConfidenceTransformer(16, 2, 16), head=BlockThresholdHead([block], [0.4])
    )
    found = decode(policy, Decoding(LENGTH, LENGTH))
    expected = decode(ConfidenceThreshold(0.4), Decoding(LENGTH, block))
    assert torch.equal(found.response, expected.response)
    assert torch.equal(found.committed_at, expected.committed_at)


def test_one_count_is_low_confidence_remasking():
    policy = LearnedPolicy(ConfidenceTransformer(16, 2, 16), head=CountHead([3]))
    found, expected = decode(policy, DECODING), decode(LowConfidence(3), DECODING)
    assert torch.equal(found.committed_at, expected.committed_at)


def test_counts_rank_by_confidence_or_by_logits():
    observation = observe()
    by_logits, by_confidence = make_policy("count-by-logits"), make_policy("count")
    logits = by_logits.network(observation)
    eligible = observation.eligible
    assert torch.equal(by_logits(observation).ranking()[eligible], logits[eligible])
    confidence = observation.confidence[..., 0]
    assert torch.equal(by_confidence(observation).ranking()[eligible], confidence[eligible])


def test_an_untrained_head_of_rows_does_the_same_in_every_row():
    torch.manual_seed(0)
    network = ConfidenceTransformer(16, 2, 16)
    observation = replace(observe(), eligible=torch.ones(ROWS, LENGTH, dtype=torch.bool))
    chances = LearnedPolicy(network, head=CountHead([1, 2, 4]))(observation).log_chances.exp()
    torch.testing.assert_close(chances, torch.tensor([4 / 7, 2 / 7, 1 / 7]).expand(ROWS, 3))
    thresholds = LearnedPolicy(network, head=ThresholdHead(initial=0.8))(observation).mode()
    torch.testing.assert_close(thresholds, torch.full((ROWS,), 0.8))


def test_a_copy_has_its_own_head():
    policy = make_policy("count")
    other = copy.deepcopy(policy)
    with torch.no_grad():
        other.head.row_proj.bias[0] += 5
    observation = observe()
    assert not torch.equal(other(observation).probability(), policy(observation).probability())


@pytest.mark.parametrize("name", HEADS)
def test_waiting_with_actions_that_are_never_empty_is_refused(name):
    policies = [make_policy(name), Scaled(2.0, make_policy(name))]
    for policy in policies:
        policy.check_decoding("force")
        if name not in NEVER_EMPTY:
            policy.check_decoding("wait")
            continue
        with pytest.raises(ConfigurationError, match=r"on_empty=wait .* use on_empty=force"):
            policy.check_decoding("wait")


def test_a_policy_made_of_others_is_checked_as_they_are():
    network = ConfidenceTransformer(16, 2, 16, speed=True)
    with pytest.raises(ConfigurationError, match="PlackettLuceHead"):
        Conditioned(1.0, LearnedPolicy(network, head=PlackettLuceHead())).check_decoding("wait")
    ConfidenceThreshold().check_decoding("wait")


class Plain(nn.Module):
    signals = Signals()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"CountHead decides on rows and needs .* not Plain"):
        LearnedPolicy(Plain(), head=CountHead())
    head = CountHead()
    LearnedPolicy(ConfidenceTransformer(16, 2, 16), head=head)
    with pytest.raises(ValueError, match="width 16, not 32"):
        LearnedPolicy(ConfidenceTransformer(32, 2, 16), head=head)
    for counts in ([], [2, 1], [1, 1], [-1, 2], [0]):
        with pytest.raises(ValueError, match="must ascend"):
            CountHead(counts)
    with pytest.raises(ValueError, match=r"block_lengths=\[0\]"):
        BlockThresholdHead([0])
    with pytest.raises(ValueError, match=r"thresholds=\[2.0\]"):
        BlockThresholdHead([8], [2.0])
    with pytest.raises(ValueError, match="initial=1"):
        ThresholdHead(initial=1)
    with pytest.raises(ValueError, match="concentration=0"):
        IntensityHead(0)
    with pytest.raises(ValueError, match="scale=0"):
        LearnedPolicy(ConfidenceTransformer(16, 2, 16), scale=0)
