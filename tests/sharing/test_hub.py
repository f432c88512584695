"""Policies to the hub and back; the hub is one on this machine, the client is the real one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_hub import COMMIT, REPO, serving

from lit_unmask import push_to_hub, save_policy
from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import ConfidenceThreshold, LowConfidence


def client(code: str, home: Path, **environment: str) -> list[str]:
    """Return the lines that a fresh interpreter prints, whose hub is what the environment says."""
    settings = {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    program = f"from lit_unmask import load_policy, push_to_hub\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **settings, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


LOAD = f"print(load_policy({REPO!r}).threshold)"
FAILS = """
for name, revision in {asked}:
    try:
        load_policy(name, revision)
    except FileNotFoundError as error:
        print(error)
"""


def test_a_policy_goes_to_the_hub_and_comes_back(tmp_path):
    folder = save_policy(
        ConfidenceThreshold(0.7),
        tmp_path / "policy",
        documents={"README.md": "A card.\n", "training.yaml": "model: {}\n"},
    )
    (folder / "notes.txt").write_text("not for others")
    with serving() as hub:
        code = f"print(push_to_hub({str(folder)!r}, {REPO!r}))\n{LOAD}"
        code += FAILS.format(asked=[("user/other", None), (REPO, "v9")])
        said = client(code, tmp_path / "home", HF_ENDPOINT=hub.address)
        address = f"{hub.address}/{REPO}/commit/{COMMIT}"
    assert said[:2] == [address, "0.7"] and len(said) == 4
    names = "'user/other', revision=None", f"{REPO!r}, revision='v9'"
    for line, name in zip(said[2:], names, strict=True):
        assert line.startswith(f"cannot get policy {name} from the hub (")
        assert line.endswith("; check both names and the network, or give a folder")
    sent = {"config.json", "model.safetensors", "README.md", "training.yaml", "SHA256SUMS"}
    assert hub.files == {name: (folder / name).read_bytes() for name in sent}
    assert sorted(hub.fetched) == ["SHA256SUMS", "config.json", "model.safetensors"]
    # What was fetched once is there without the hub.
    code = f"{LOAD}\nprint(load_policy({REPO!r}, {COMMIT!r}).threshold)"
    code += FAILS.format(asked=[("user/other", None)])
    said = client(code, tmp_path / "home", HF_HUB_OFFLINE="1")
    assert said[:2] == ["0.7", "0.7"] and said[2].startswith("cannot get policy 'user/other'")


def test_a_folder_that_holds_no_policy_is_not_uploaded(tmp_path):
    with pytest.raises(ConfigurationError, match=r"has no config\.json; write it with"):
        push_to_hub(tmp_path, REPO)
    folder = save_policy(LowConfidence(), tmp_path / "policy")
    with pytest.raises(ConnectionError, match=r"cannot upload .* to 'not a name' \(HFValidation"):
        push_to_hub(folder, "not a name")
