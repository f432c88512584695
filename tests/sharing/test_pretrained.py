"""The names that users of the hub know do what load_policy and save_policy do."""

import json
import os
import subprocess
import sys

import pytest
import torch
from fake_hub import REPO, serving
from toys import small_policy

from lit_unmask import load_policy, save_policy
from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import ConfidenceThreshold, ConfidenceTransformer, LearnedPolicy
from lit_unmask.sharing import TrainedWith, read_saved

KNOWN = TrainedWith(gen_length=64, rounds=7, seed=3)


class Mine(LearnedPolicy):
    """A policy class of somebody else."""


def same(one, other):
    stored = other.state_dict()
    return all(torch.equal(value, stored[name]) for name, value in one.state_dict().items())


def test_a_saved_policy_is_the_same_under_both_names(tmp_path):
    policy = small_policy()
    save_policy(policy, tmp_path / "one")
    assert policy.save_pretrained(tmp_path / "two") == tmp_path / "two"
    files = [{f.name: f.read_bytes() for f in (tmp_path / n).iterdir()} for n in ("one", "two")]
    assert files[0] == files[1] and set(files[0]) == {"config.json", "model.safetensors"}
    loaded = LearnedPolicy.from_pretrained(tmp_path / "one")
    assert type(loaded) is LearnedPolicy and not loaded.training
    assert same(loaded, policy) and same(load_policy(str(tmp_path / "two")), policy)


def test_what_it_was_trained_with_goes_along_until_it_is_trained_further(tmp_path):
    save_policy(small_policy(), tmp_path / "first", KNOWN)
    loaded = LearnedPolicy.from_pretrained(tmp_path / "first")
    loaded.turn(temperature=0.5)
    assert read_saved(loaded.save_pretrained(tmp_path / "second")).trained_with == KNOWN
    with torch.no_grad():
        next(loaded.parameters()).add_(1)
    assert read_saved(loaded.save_pretrained(tmp_path / "third")).trained_with == TrainedWith()
    assert read_saved(save_policy(loaded, tmp_path / "fourth", KNOWN)).trained_with == KNOWN


def test_a_subclass_loads_itself_and_nothing_else(tmp_path):
    mine = Mine(ConfidenceTransformer(16, 2, 16))
    mine.save_pretrained(tmp_path / "mine")
    loaded = Mine.from_pretrained(tmp_path / "mine")
    assert type(loaded) is Mine and same(loaded, mine)
    small_policy().save_pretrained(tmp_path / "policy")
    with pytest.raises(ConfigurationError, match=r"holds a LearnedPolicy and not a Mine; load it"):
        Mine.from_pretrained(tmp_path / "policy")
    save_policy(ConfidenceThreshold(0.7), tmp_path / "rule")
    with pytest.raises(ConfigurationError, match=r"holds a ConfidenceThreshold .*load_policy"):
        LearnedPolicy.from_pretrained(tmp_path / "rule")


def test_the_checks_are_those_of_load_policy_and_save_policy(tmp_path):
    policy = small_policy()
    policy.save_pretrained(tmp_path / "policy")
    with pytest.raises(ConfigurationError, match="is there already"):
        policy.save_pretrained(tmp_path / "policy")
    with pytest.raises(ConfigurationError, match="revision='v1' must be None"):
        LearnedPolicy.from_pretrained(tmp_path / "policy", revision="v1")
    with pytest.raises(FileNotFoundError, match="must be a policy's folder"):
        LearnedPolicy.from_pretrained(str(tmp_path / "nothing"))
    (tmp_path / "policy" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ConfigurationError, match="is damaged"):
        LearnedPolicy.from_pretrained(tmp_path / "policy")


CLIENT = """
import sys
from lit_unmask import LearnedPolicy
from lit_unmask.sharing import read_saved
policy = LearnedPolicy.from_pretrained(sys.argv[1])
print(policy.push_to_hub(sys.argv[2]))
again = LearnedPolicy.from_pretrained(sys.argv[2], revision="main")
print(all((a == b).all() for a, b in zip(policy.parameters(), again.parameters(), strict=True)))
print(read_saved(sys.argv[2]).trained_with.rounds)
"""


def test_a_policy_goes_to_the_hub_with_a_card_and_comes_back(tmp_path):
    folder = save_policy(small_policy(), tmp_path / "policy", KNOWN)
    with serving() as hub:
        settings = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.address}
        settings |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, str(folder), REPO],
            env={**os.environ, **settings}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        address = hub.address
    said = done.stdout.splitlines()
    assert said[0].startswith(f"{address}/{REPO}/commit/") and said[1:] == ["True", "7"]
    assert set(hub.files) == {"config.json", "model.safetensors", "README.md"}
    assert hub.files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert json.loads(hub.files["config.json"])["trained_with"]["rounds"] == 7
    card = hub.files["README.md"].decode()
    assert f"load_policy('{REPO}')" in card and "- rounds: 7" in card
