"""Saved policies come back as they were, from folders and from checkpoints."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from toy_rollouts import LENGTH, POLICIES
from toys import make_module, make_trainer

from lit_unmask import load_policy, save_policy
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.fingerprints import policy_hash
from lit_unmask.policies import Choice, LowConfidence
from lit_unmask.sharing import TrainedWith, read_saved
from lit_unmask.sharing.description import describe
from lit_unmask.types import Signals


def observed(policy):
    """Return what a policy does on random tensors."""
    generator = torch.Generator().manual_seed(1)
    confidence = torch.rand(9, LENGTH, 4, generator=generator).sort(-1, descending=True).values
    masked = torch.rand(9, LENGTH, generator=generator) < 0.7
    signals = {name: torch.rand(9, LENGTH, generator=generator) for name in ("entropy", "change")}
    choice = Choice(seed=2, signals=signals)
    return policy.select(confidence, masked, masked, torch.arange(9) % LENGTH, LENGTH, choice)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_comes_back_as_it_was(name, tmp_path):
    policy = POLICIES[name]()
    again = load_policy(save_policy(policy, tmp_path / "policy"))
    assert type(again) is type(policy) and not again.training
    assert describe(again) == describe(policy)
    assert again.state_dict().keys() == policy.state_dict().keys()
    for key, value in policy.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
    assert policy_hash(again) == policy_hash(policy)
    assert torch.equal(observed(again), observed(policy))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["policy"]


def test_the_type_of_the_weights_is_kept(tmp_path):
    policy = POLICIES["learned"]().double()
    again = load_policy(save_policy(policy, tmp_path / "policy"))
    assert {weight.dtype for weight in again.parameters()} == {torch.float64}
    for mine, its in zip(policy.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_the_folder_says_what_the_policy_was_trained_with(tmp_path):
    trained_with = TrainedWith({"path": "tiny-llada"}, 64, 32, 0.5, "wait", None, 3, 100)
    save_policy(LowConfidence(2), tmp_path, trained_with, {"README.md": "A card.\n"})
    assert read_saved(tmp_path).trained_with == trained_with
    assert (tmp_path / "README.md").read_text() == "A card.\n"
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["format_version"] == 1 and config["trained_with"]["gen_length"] == 64
    assert config["policy"] == {
        "class_path": "lit_unmask.policies.LowConfidence",
        "init_args": {"k": 2},
    }


def test_a_folder_in_use_is_left_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="is there already; remove it"):
        save_policy(LowConfidence(), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_save_that_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(OSError):
        save_policy(LowConfidence(), tmp_path / "policy", documents={"no/such/folder.md": ""})
    assert not list(tmp_path.iterdir())


class Doubles(LowConfidence):
    def __init__(self, k: int) -> None:
        super().__init__(2 * k)


def test_a_class_that_changes_its_arguments_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"Doubles changes its arguments: .*2.*keeps.*4"):
        save_policy(Doubles(1), tmp_path / "policy")
    assert not list(tmp_path.iterdir())


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize("change, message", [
    (lambda w: w.pop("network.output_proj.bias"), r"missing: network.output_proj.bias\)"),
    (lambda w: w.update(extra=torch.zeros(1)), r"unexpected: extra\)"),
    (
        lambda w: w.update({"network.output_proj.bias": torch.zeros(2)}),
        r"of another shape: network.output_proj.bias \[2\] for \[1\]\)",
    ),
])  # fmt: skip
def test_weights_that_do_not_fit_are_named(change, message, tmp_path):
    folder = save_policy(POLICIES["learned"](), tmp_path / "policy")
    change_weights(folder, change)
    with pytest.raises(ConfigurationError, match=message):
        load_policy(folder)


@pytest.mark.parametrize("text, message", [
    ("{", "must be JSON"),
    ("[]", "has no format_version"),
    ('{"model_type": "llada"}', "has no format_version"),
    ('{"format_version": 9, "lit_unmask_version": "7"}', "=9 must be 1; .* lit_unmask 7, use that"),
    ('{"format_version": 1}', "describes no policy \\('policy'\\)"),
    (
        '{"format_version": 1, "policy": {}, "trained_with": {"colour": 1}}',
        "describes no policy .*colour",
    ),
    (
        '{"format_version": 1, "policy": {"class_path": "os.system"}, "trained_with": {}}',
        "'os.system' is not a policy class",
    ),
    (
        '{"format_version": 1, "policy": {"class_path": '
        '"lit_unmask.policies.ConfidenceTransformer"}, "trained_with": {}}',
        "ConfidenceTransformer is not a policy",
    ),
])  # fmt: skip
def test_a_config_that_is_none_of_ours_is_refused(text, message, tmp_path):
    folder = save_policy(LowConfidence(), tmp_path / "policy")
    (folder / "config.json").write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_policy(folder)
    assert str(folder) in str(caught.value)


def test_a_damaged_or_missing_file_is_named(tmp_path):
    folder = save_policy(LowConfidence(), tmp_path / "policy")
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ConfigurationError, match=r"model\.safetensors is damaged"):
        load_policy(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigurationError, match=r"model\.safetensors is missing"):
        load_policy(folder)
    with pytest.raises(ConfigurationError, match="revision='v1' must be None"):
        load_policy(folder, revision="v1")
    with pytest.raises(FileNotFoundError, match="must be a policy's folder, a checkpoint, or a"):
        load_policy(folder / "nothing")


def test_a_checkpoint_holds_its_policy_and_what_it_was_trained_with(trained):
    module = trained.module
    policy = load_policy(trained.checkpoint)
    assert policy_hash(policy) == policy_hash(module.policy)
    assert read_saved(trained.checkpoint).trained_with == TrainedWith(
        denoiser=module.denoiser.identity,
        gen_length=8,
        block_length=4,
        temperature=1.0,
        on_empty="force",
        reward={
            "class_path": "lit_unmask.training.rewards.MultiplicativeSpeed",
            "init_args": {"alpha": 1.0},
        },
        seed=0,
        rounds=1,
    )
    entry = torch.load(trained.checkpoint, weights_only=True)["policy"]
    assert json.loads(json.dumps(entry)) == entry


def test_an_old_checkpoint_says_how_to_go_on(trained, tmp_path):
    stored = torch.load(trained.checkpoint, weights_only=True)
    del stored["policy"]
    old = tmp_path / "old.ckpt"
    torch.save(stored, old)
    with pytest.raises(ConfigurationError, match=f"run `lit-unmask-export {old} FOLDER --training"):
        load_policy(old)
    torch.save({"state_dict": {}, "policy": {"format_version": 1}}, old)
    with pytest.raises(ConfigurationError, match="describes no policy"):
        load_policy(old)


@pytest.mark.parametrize("content", [b"words", None], ids=["words", "a zip file"])
def test_another_file_is_no_checkpoint(content, tmp_path):
    file = tmp_path / "some.ckpt"
    if content is None:
        torch.save([1, 2], file)
    else:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="not a checkpoint of lit-unmask"):
        load_policy(file)


class Opaque(nn.Module):
    """A network that does not keep its arguments."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.signals = Signals()
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, observation):
        return self.scale.sum() * observation.confidence[..., 0]


def test_a_policy_that_cannot_be_described_is_trained_all_the_same(tiny_llada, trained, tmp_path):
    policy = trained.module.policy
    module = make_module(tiny_llada, type(policy)(Opaque(2)))
    trainer = make_trainer(tmp_path)
    trainer.strategy.connect(module)
    with pytest.warns(UserWarning, match="Opaque does not keep its argument 'width'"):
        trainer.save_checkpoint(tmp_path / "opaque.ckpt")
    with pytest.raises(ConfigurationError, match="Opaque does not keep its argument 'width'"):
        load_policy(tmp_path / "opaque.ckpt")
