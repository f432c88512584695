"""The knobs of trained policies: loaded with them, wrapped with them, swept on the command line."""

from pathlib import Path

import pytest
import torch
import yaml
from toy_rollouts import LENGTH, conditioned, decode
from toys import config

from lit_unmask import load_policy, save_policy
from lit_unmask.cli import main
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.fingerprints import policy_hash
from lit_unmask.evaluation.store import Store
from lit_unmask.policies import (
    BlockThresholdHead,
    ConfidenceThreshold,
    ConfidenceTransformer,
    CountHead,
    HiddenTransformer,
    IntensityHead,
    LearnedPolicy,
    PlackettLuceHead,
    Scaled,
    Tempered,
    Thresholded,
    ThresholdHead,
)
from lit_unmask.rollout import Decoding
from lit_unmask.types import Observation


def learned(**settings):
    torch.manual_seed(0)
    return LearnedPolicy(ConfidenceTransformer(16, 2, 16), **settings).eval()


def probability(policy):
    confidence = torch.linspace(0, 1, 3 * LENGTH).view(3, LENGTH, 1)
    masked = torch.ones(3, LENGTH, dtype=torch.bool)
    return policy(Observation(masked, masked, confidence, torch.zeros(3))).probability()


def test_knobs_by_hand():
    plain = probability(learned())
    torch.testing.assert_close(probability(Scaled(0.5, learned())), 0.5 * plain)
    torch.testing.assert_close(probability(Scaled(20.0, learned())), (20 * plain).clamp(max=1))
    logits = plain.logit()
    torch.testing.assert_close(probability(Tempered(2.0, learned())), (logits / 2).sigmoid())


def test_a_threshold_opens_what_is_likelier_and_draws_nothing(tmp_path):
    plain = probability(learned())
    threshold = float(plain.median())
    policy = Thresholded(threshold, learned())
    assert torch.equal(probability(policy), (plain > threshold).float())
    assert not policy.draws and 0 < probability(policy).mean() < 1
    # Where nothing is likely enough, what is likeliest comes first.
    seen = Observation(
        torch.ones(1, LENGTH).bool(), torch.ones(1, LENGTH).bool(),
        torch.rand(1, LENGTH, 1), torch.zeros(1),
    )  # fmt: skip
    forced = policy(seen).forced(torch.zeros(1, LENGTH).bool())
    assert forced.int().argmax() == learned()(seen).probability().argmax()
    save_policy(policy, tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy")
    assert isinstance(loaded, Thresholded) and loaded.threshold == threshold
    assert torch.equal(probability(loaded), probability(policy))
    for value in (-0.1, 1.0):
        with pytest.raises(ValueError, match=rf"threshold={value} must lie in \[0, 1\)"):
            Thresholded(value, learned())


def test_a_policy_is_loaded_with_its_knobs_turned(tmp_path):
    save_policy(learned(temperature=0.5, head=PlackettLuceHead()), tmp_path / "policy")
    policy = load_policy(tmp_path / "policy", scale=2.0)
    assert (policy.temperature, policy.scale) == (0.5, 2.0)
    policy = load_policy(tmp_path / "policy", temperature=3.0)
    assert (policy.temperature, policy.scale) == (3.0, 1.0)
    assert isinstance(policy.head, PlackettLuceHead)
    torch.testing.assert_close(
        probability(load_policy(tmp_path / "policy", scale=2.0)),
        probability(Scaled(2.0, load_policy(tmp_path / "policy"))),
    )


def test_a_policy_inside_of_another_is_turned(tmp_path):
    save_policy(conditioned(), tmp_path / "policy")
    policy = load_policy(tmp_path / "policy", speed=1.0, scale=2.0)
    assert (policy.speed, policy.policy.scale) == (1.0, 2.0)


@pytest.mark.parametrize("make", [
    lambda: Scaled(3.0, learned(head=CountHead([0, 1, 2]))),
    lambda: Tempered(0.5, learned(head=BlockThresholdHead([2, 4], [0.5]))),
    lambda: learned(scale=2.0, head=ThresholdHead(initial=0.4)),
    lambda: learned(head=IntensityHead(5.0)),
    lambda: LearnedPolicy(HiddenTransformer(6, 16, 2, 16)).eval(),
])  # fmt: skip
def test_a_saved_policy_comes_back_as_it_was(make, tmp_path):
    policy = make()
    again = load_policy(save_policy(policy, tmp_path / "policy"))
    assert policy_hash(again) == policy_hash(policy)
    found, expected = (decode(p, Decoding(LENGTH, 4)).committed_at for p in (again, policy))
    assert torch.equal(found, expected)


def test_knobs_of_policies_without_them_are_refused(tmp_path):
    for name, policy in {"rule": ConfidenceThreshold(), "two": Scaled(2.0, learned())}.items():
        save_policy(policy, tmp_path / name)
        with pytest.raises(ConfigurationError, match=r"scale=3.0 means nothing to policy"):
            load_policy(tmp_path / name, scale=3.0)
    save_policy(learned(), tmp_path / "policy")
    with pytest.raises(ConfigurationError, match=r"scale=-1.0 must be positive"):
        load_policy(tmp_path / "policy", scale=-1.0)
    with pytest.raises(ValueError, match=r"scale=2.0 means nothing to policy ConfidenceThreshold"):
        Scaled(2.0, ConfidenceThreshold())
    with pytest.raises(ValueError, match="temperature=0"):
        Tempered(0, learned())


def test_every_setting_of_a_knob_has_a_fingerprint_of_its_own():
    policies = [learned(), learned(scale=2.0), Scaled(2.0, learned()), Scaled(3.0, learned())]
    policies += [Tempered(2.0, learned()), learned(head=PlackettLuceHead())]
    assert len({policy_hash(policy) for policy in policies}) == len(policies)


def test_a_policy_keeps_the_fingerprint_of_its_stored_outcomes(tmp_path):
    policy = learned()
    with torch.no_grad():
        for weight in policy.parameters():
            weight.fill_(0.5)
    assert policy_hash(load_policy(save_policy(policy, tmp_path / "saved"))) == "9cd855119900731c"


def test_a_grid_sweeps_the_scale_of_a_saved_policy(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_policy(learned(), "saved")
    settings = config(tiny_checkpoint, tmp_path / "runs")
    settings["trainer"] |= {"logger": False, "callbacks": [yaml.safe_load("""
        class_path: lit_unmask.callbacks.Frontier
        init_args:
          folder: store
          options: {policy_name: null, tested: all}
          grids:
            my policy, scaled:
              policy:
                class_path: lit_unmask.policies.Scaled
                init_args:
                  policy:
                    class_path: lit_unmask.load_policy
                    init_args: {path: saved}
              values: [0.5, 4]
              block_lengths: [8]
    """)]}  # fmt: skip
    settings["model"]["decoding"]["on_empty"] = "wait"
    Path("config.yaml").write_text(yaml.safe_dump(settings))
    main(["test", "--config=config.yaml"])
    runs = [run for run in Store(tmp_path / "store").runs() if run.stage == "test"]
    assert [(run.kind, run.params, run.policy) for run in runs] == [
        ("learned", {"scale": 0.5}, "Scaled"), ("learned", {"scale": 4}, "Scaled"),
    ]  # fmt: skip
    store = Store(tmp_path / "store")
    slow, fast = (sum(o.nfe for o in store.outcomes(run).values()) for run in runs)
    assert fast < slow
