"""``lit-unmask-export``: a checkpoint becomes a folder that loads, or one sentence says why not."""

import pytest
import torch
import yaml
from fake_hub import REPO
from toy_rollouts import POLICIES
from toys import config

from lit_unmask import load_policy, save_policy
from lit_unmask.evaluation.fingerprints import policy_hash
from lit_unmask.sharing import read_saved
from lit_unmask.sharing.export import main


def export(*words):
    main([str(word) for word in words])


def test_a_checkpoint_becomes_a_folder_with_a_card(trained, tmp_path, capsys):
    export(trained.checkpoint, tmp_path / "out")
    assert capsys.readouterr().out == f"policy:  {tmp_path / 'out'}\n"
    assert policy_hash(load_policy(tmp_path / "out")) == policy_hash(trained.module.policy)
    assert read_saved(tmp_path / "out").trained_with == read_saved(trained.checkpoint).trained_with
    assert "training.yaml" not in (tmp_path / "out" / "README.md").read_text()


@pytest.fixture
def old_run(trained, tmp_path):
    """A run's folder from before checkpoints described their policies; returns its checkpoint."""
    stored = torch.load(trained.checkpoint, weights_only=True)
    del stored["policy"]
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(stored, folder / "last.ckpt")
    settings = config(trained.module.denoiser.identity["path"], tmp_path)
    settings["model"]["rounds"]["seed"] = "${seed_everything}"
    (folder.parent / "config.yaml").write_text(yaml.safe_dump({"seed_everything": 3, **settings}))
    return folder / "last.ckpt"


def test_an_old_checkpoint_is_described_by_the_configuration_of_its_run(old_run, trained, tmp_path):
    export(old_run, tmp_path / "out")
    assert policy_hash(load_policy(tmp_path / "out")) == policy_hash(trained.module.policy)
    trained_with = read_saved(tmp_path / "out").trained_with
    assert (trained_with.gen_length, trained_with.block_length) == (8, 4)
    assert trained_with.denoiser == trained.module.denoiser.identity
    assert (trained_with.seed, trained_with.rounds) == (3, 1)
    training = (tmp_path / "out" / "training.yaml").read_text()
    assert training == (old_run.parent.parent / "config.yaml").read_text()
    assert "--config training.yaml" in (tmp_path / "out" / "README.md").read_text()


def test_a_folder_is_exported_again_with_its_configuration(old_run, tmp_path):
    export(old_run, tmp_path / "out")
    export(
        tmp_path / "out", tmp_path / "again", "--training", old_run.parent.parent / "config.yaml"
    )
    export(tmp_path / "again", tmp_path / "third")
    for name in ("config.json", "model.safetensors", "training.yaml"):
        first = (tmp_path / "out" / name).read_bytes()
        assert (tmp_path / "third" / name).read_bytes() == first


def failing(capsys, *words):
    """Return the one line that an export ends with."""
    with pytest.raises(SystemExit) as ended:
        export(*words)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said


def test_what_is_wrong_is_one_sentence(trained, old_run, tmp_path, capsys):
    used = save_policy(POLICIES["threshold"](), tmp_path / "used")
    assert "is there already" in failing(capsys, trained.checkpoint, used)
    assert "does not exist" in failing(capsys, tmp_path / "no.ckpt", tmp_path / "out")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("trainer: {}\n")
    assert "is not the configuration of a training run (KeyError: 'model')" in failing(
        capsys, old_run, tmp_path / "out", "--training", wrong
    )
    missing = tmp_path / "missing.yaml"
    assert "missing.yaml" in failing(capsys, used, tmp_path / "out", "--training", missing)
    assert "there is no results store" in failing(
        capsys, trained.checkpoint, tmp_path / "out", "--store", tmp_path / "nothing"
    )
    assert not (tmp_path / "out").exists()


def test_what_was_written_stays_when_the_hub_cannot_be_reached(
    trained, tmp_path, capsys, monkeypatch
):
    # Nobody listens at port 1.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    said = failing(capsys, trained.checkpoint, tmp_path / "out", "--push", REPO)
    assert "cannot upload" in said and REPO in said
    assert policy_hash(load_policy(tmp_path / "out")) == policy_hash(trained.module.policy)
