"""Policies that are conditioned on speed: the input of the network, and the knob."""

from dataclasses import replace

import pytest
import torch
from jsonargparse import ArgumentParser
from toy_rollouts import LENGTH, ToyDenoiser, conditioned, decode, learned, make_prompts

from lit_unmask import load_policy, policies, save_policy
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.fingerprints import policy_hash
from lit_unmask.policies import (
    Choice,
    Conditioned,
    ConfidenceThreshold,
    ConfidenceTransformer,
    LearnedPolicy,
    Policy,
    Scaled,
)
from lit_unmask.randomness import Noise
from lit_unmask.rollout import Decoding, rollout
from lit_unmask.sharing import with_speed
from lit_unmask.sharing.description import describe
from lit_unmask.types import Observation

SPEEDS = torch.tensor([0.0, 0.3, 10.0, 64.0])


def observe(rows=4, kept=2):
    generator = torch.Generator().manual_seed(1)
    masked = torch.rand(rows, LENGTH, generator=generator) < 0.6
    confidence = torch.rand(rows, LENGTH, kept, generator=generator)
    return Observation(masked, masked, confidence.sort(-1, descending=True).values,
                       torch.linspace(0, 1, rows), {"speed": SPEEDS[:rows]})  # fmt: skip


def network(speed, **settings):
    torch.manual_seed(0)
    return ConfidenceTransformer(16, 2, 24, top_p=2, speed=speed, **settings)


def test_an_untrained_network_is_the_reference_bit_for_bit():
    fast, reference = network(True), network(False)
    assert torch.equal(fast(observe()), reference(observe()))
    added = fast.state_dict().keys() - reference.state_dict().keys()
    assert added and all(name.startswith("speed_mlp.") for name in added)
    with torch.no_grad():  # nor once the rest is trained
        for name, weight in fast.named_parameters():
            if not name.startswith("speed_mlp"):
                weight.add_(0.1)
        reference.load_state_dict(fast.state_dict(), strict=False)
    assert torch.equal(fast(observe()), reference(observe()))


def test_the_default_network_has_the_published_size():
    assert sum(p.numel() for p in ConfidenceTransformer().parameters()) == 331_265
    assert sum(p.numel() for p in ConfidenceTransformer(speed=True).parameters()) == 380_801


def test_the_speed_learns_from_the_first_update_on():
    fast = network(True)
    fast(observe()).sigmoid().sum().backward()
    last = fast.speed_mlp[-1]
    assert last.weight.grad.abs().max() > 1e-4
    with torch.no_grad():
        for weight in fast.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    fast.zero_grad()
    fast(observe()).sigmoid().sum().backward()
    assert all(weight.grad.abs().max() > 1e-5 for weight in fast.speed_mlp.parameters())
    logits = fast(observe())
    assert logits.isfinite().all()
    same = replace(observe(), signals={"speed": torch.full((4,), 3.0)})
    assert (fast(same) - logits).abs().amax(1).min() > 1e-3  # at 0 too


def test_the_setting_holds_where_nobody_says_another():
    policy, observation = conditioned(3.0), observe()
    fast = replace(observation, signals={"speed": torch.full((4,), 3.0)})
    silent = replace(observation, signals={})
    expected = policy.policy(fast).probability()
    assert torch.equal(policy(silent).probability(), expected)
    other = policy(observation).probability()
    assert not torch.equal(other, expected)
    assert torch.equal(other, policy.policy(observation).probability())
    assert torch.equal(Conditioned(3.0, policy.at(9.0))(silent).probability(), expected)
    assert torch.equal(policy.at(9.0).at(3.0)(silent).probability(), expected)


def test_the_knob_changes_a_decoding():
    decoding = Decoding(LENGTH, LENGTH)
    nfe = {speed: decode(conditioned(speed), decoding).nfe for speed in (0.0, 30.0)}
    assert not torch.equal(nfe[0.0], nfe[30.0])


def test_rows_of_a_loop_may_have_speeds_of_their_own():
    policy, seen = conditioned(3.0), observe()
    arguments = seen.confidence, seen.masked, seen.eligible, 0, LENGTH
    mixed = policy.select(*arguments, Choice(seed=1, signals={"speed": SPEEDS}))
    for row, speed in enumerate(SPEEDS.tolist()):
        alone = policy.at(speed).select(*arguments, Choice(seed=1))
        assert torch.equal(mixed[row], alone[row])
    one = policy.select(*arguments, Choice(seed=1, signals={"speed": 10}))
    assert torch.equal(one, policy.at(10).select(*arguments, Choice(seed=1)))
    with pytest.raises(ValueError, match=r"must be one number, or \[B\] of them, B=4"):
        policy.select(*arguments, Choice(signals={"speed": torch.ones(3)}))


def test_a_speed_that_is_missing_is_named_with_the_remedy():
    policy, silent = conditioned().policy, replace(observe(), signals={})
    with pytest.raises(
        ValueError, match=r"speed=True.* got none; .*Conditioned, or .*Choice\(signals"
    ):
        policy(silent)
    with pytest.raises(ValueError, match="LearnedPolicy looks at speed; pass Choice"):
        policy.select(silent.confidence, silent.masked, silent.eligible, 0, LENGTH)

    class Unasked(ToyDenoiser):
        def forward(self, *arguments):
            raise AssertionError("a forward ran")

    with pytest.raises(ValueError, match=r"prompt.speed is None; wrap it in .*Conditioned"):
        rollout(Unasked(), policy, make_prompts(), Decoding(LENGTH, LENGTH),
                Noise(0, torch.arange(6)))  # fmt: skip


@pytest.mark.parametrize("speed", [-1.0, float("nan"), float("inf")])
def test_a_speed_below_zero_is_refused(speed):
    with pytest.raises(ValueError, match="must be a number from 0"):
        conditioned(speed)


def test_a_speed_means_nothing_to_other_policies():
    for policy in (ConfidenceThreshold(), learned()):
        with pytest.raises(ValueError, match=f"nothing to policy {type(policy).__name__}"):
            Conditioned(1.0, policy)
    assert Conditioned(1.0, Scaled(2.0, conditioned().policy)).speed == 1.0


def test_a_saved_policy_has_its_speed_and_takes_another(tmp_path):
    policy = conditioned(3.0)
    folder = save_policy(policy, tmp_path / "policy")
    assert policy_hash(load_policy(folder)) == policy_hash(policy)
    faster = load_policy(folder, speed=9.0)
    assert isinstance(faster, Conditioned) and type(faster.policy) is LearnedPolicy
    assert policy_hash(faster) == policy_hash(policy.at(9.0)) != policy_hash(policy)
    bare = save_policy(policy.policy, tmp_path / "bare")
    assert policy_hash(load_policy(bare, speed=3.0)) == policy_hash(policy)
    plain = save_policy(learned(), tmp_path / "plain")
    with pytest.raises(ConfigurationError, match=r"plain: speed=1.0 means nothing to policy"):
        load_policy(plain, speed=1.0)


def test_a_saved_policy_can_be_told_a_speed_from_now_on(tmp_path):
    old = learned()
    folder = save_policy(old, tmp_path / "old")
    fast = with_speed(folder, 2.0)
    assert fast.speed == 2.0 and fast.policy.network.speed
    silent = replace(observe(), signals={})
    assert torch.equal(fast(silent).probability(), old(silent).probability())
    for name, weight in old.state_dict().items():
        assert torch.equal(fast.policy.state_dict()[name], weight)
    again = save_policy(fast, tmp_path / "again")
    with pytest.raises(ConfigurationError, match=r"again .* already; .*load_policy\(path, speed=5"):
        with_speed(again, 5)
    threshold = save_policy(ConfidenceThreshold(), tmp_path / "threshold")
    with pytest.raises(ConfigurationError, match="ConfidenceThreshold without a network"):
        with_speed(threshold, 5)


def test_saved_policies_and_settings_of_the_class_under_its_former_name_load(tmp_path):
    stored = save_policy(conditioned(speed=12), tmp_path / "saved")
    settings = stored / "config.json"
    old = settings.read_text().replace("policies.Conditioned", "policies.Paced")
    assert old != settings.read_text()
    settings.write_text(old)
    (stored / "SHA256SUMS").unlink()
    policy = load_policy(stored)
    assert type(policy) is Conditioned and policy.speed == 12
    assert describe(policy)["class_path"] == "lit_unmask.policies.Conditioned"
    parser = ArgumentParser()
    parser.add_argument("--policy", type=Policy)
    paced = {"class_path": "lit_unmask.policies.Paced", "init_args": {
        "speed": 3, "policy": {"class_path": "lit_unmask.load_policy",
                               "init_args": {"path": str(stored)}}}}  # fmt: skip
    made = parser.instantiate_classes(parser.parse_object({"policy": paced})).policy
    assert type(made) is Conditioned and made.speed == 3
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = policies.Nothing
