"""What a saved policy knows of its training goes along, also to the hub and back."""

import json
import os
import subprocess
import sys

import torch
from fake_hub import REPO, serving
from toys import small_policy

from lit_unmask import load_policy, save_policy
from lit_unmask.sharing import TrainedWith, read_saved

KNOWN = TrainedWith(gen_length=64, rounds=7, seed=3)


def test_what_it_was_trained_with_goes_along_until_it_is_trained_further(tmp_path):
    save_policy(small_policy(), tmp_path / "first", KNOWN)
    loaded = load_policy(tmp_path / "first")
    loaded = loaded.at(temperature=0.5)
    assert read_saved(save_policy(loaded, tmp_path / "second")).trained_with == KNOWN
    with torch.no_grad():
        next(loaded.parameters()).add_(1)
    assert read_saved(save_policy(loaded, tmp_path / "third")).trained_with == TrainedWith()
    assert read_saved(save_policy(loaded, tmp_path / "fourth", KNOWN)).trained_with == KNOWN


CLIENT = """
import sys
from lit_unmask import load_policy, share_policy
from lit_unmask.sharing import read_saved
policy = load_policy(sys.argv[1])
print(share_policy(policy, sys.argv[2]))
again = load_policy(sys.argv[2], revision="main")
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
    assert set(hub.files) == {"config.json", "model.safetensors", "README.md", "SHA256SUMS"}
    assert hub.files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert json.loads(hub.files["config.json"])["trained_with"]["rounds"] == 7
    card = hub.files["README.md"].decode()
    assert f"load_policy('{REPO}')" in card and "- rounds: 7" in card
