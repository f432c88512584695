"""Mistakes: each ends with one sentence, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Run, sentence

from lit_unmask.denoisers.families import stock

POLICIES = Path(__file__).parents[2] / "configs" / "policies"
# What is added to a good command line, and words that the sentence about it must have.
MISTAKES = {
    "unknown key": (["--model.nope", "1"], ["model.nope"]),
    "unknown nested key": (["--model.policy.nope", "1"], ["LearnedPolicy", "nope"]),
    "unknown key of the data": (["--data.nope", "1"], ["'nope' is not accepted"]),
    "unknown key of the optimizer": (["--model.optimizer.nope", "1"], ["AdamW", "nope"]),
    "no such config": (["--config", "missing.yaml"], ["missing.yaml", "not exist"]),
    "wrong type": (["--trainer.max_steps", "few"], ["trainer.max_steps", "few"]),
    "unknown policy class": (["--model.policy", "lit_unmask.policies.Best"], ["policies.Best"]),
    "unknown task class": (["--data.train", "toys.Nope"], ["train", "toys.Nope"]),
    "no such policy file": (["--model.policy", "policies/best.yaml"], ["policies/best.yaml"]),
    "block length": (["--model.decoding.block_length", "3"], ["=3 must divide gen_length=8"]),
    "reward": (["--model.reward.alpha=-1"], ["alpha=-1.0 must be at least 0"]),
    "size of a task": (["--data.train.size", "0"], ["error: size=0 must be at least 1"]),
    "group size": (["--model.rounds.group_size", "1"], ["group_size=1"]),
    "no such denoiser": (["--model.denoiser.path", "/nowhere/llada"], ["/nowhere/llada"]),
    "prompt too long": (["--model.decoding.gen_length", "124"], ["124", "max_length=128"]),
    "compiled for other shapes": (
        ["--model.denoiser.compile", "{mode: default}"],
        ["compiled for fixed shapes", "decoding.scheduling.deterministic: true"],
    ),
    "no training task": (["--data.train", "null"], ["data.train is not set"]),
    "batch too large": (["--data.batch_size", "20"], ["10 problems", "batch_size=20"]),
    "no batch to validate": (["--data.eval_batch_size=0"], ["eval_batch_size=0"]),
    "no such metric": (
        ["--trainer.callbacks.monitor=val/coins/rewrd"],
        ["monitor=val/coins/rewrd of ModelCheckpoint", "val/coins/reward"],
    ),
    "validation beyond the epoch": (
        ["--trainer.val_check_interval=6"],
        ["val_check_interval=6", "5 rounds", "check_val_every_n_epoch=null"],
    ),
    "no last checkpoint": (["--ckpt_path=last"], ["ckpt_path=last", "version_*/checkpoints"]),
    "the best checkpoint": (["--ckpt_path=best"], ["ckpt_path=best is known only"]),
    "a folder of something else": (["--ckpt_path", str(POLICIES)], ["lit_unmask.load_policy"]),
    "batch for the ranks": (
        ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=3"],
        ["batch_size=3", "2 ranks"],
    ),
    "fewer problems than ranks": (
        ["--trainer.devices=8", "--trainer.strategy=ddp", "--data.batch_size=8"],
        ["data.val.coins has 5 problems", "8 ranks"],
    ),
    "accumulation": (["--trainer.accumulate_grad_batches", "2"], ["accumulate_grad_batches=2"]),
    "half precision": (["--trainer.precision", "bf16-true"], ["bf16-true", "32-true"]),
    "overfitting": (["--trainer.overfit_batches=1"], ["overfit_batches=1", "data.train small"]),
    "reloaded loaders": (
        ["--trainer.reload_dataloaders_every_n_epochs=1"],
        ["reload_dataloaders_every_n_epochs", "leave it out"],
    ),
    "endless training": (["--trainer.max_steps=-1"], ["trainer.max_steps"]),
    "nothing to train": (
        ["--model.policy", str(POLICIES / "threshold.yaml")],
        ["ConfidenceThreshold has no parameters"],
    ),
    "no such checkpoint": (["--ckpt_path", "missing.ckpt"], ["ckpt_path=missing.ckpt"]),
    "no checkpoint": (["--ckpt_path", __file__], ["not a checkpoint"]),
    "no such accelerator": (["--trainer.accelerator", "abacus"], ["accelerator", "abacus"]),
    "unwritable folder": (["--trainer.default_root_dir", f"{__file__}/out"], ["cannot be written"]),
    "unwritable checkpoints": (
        ["--trainer.callbacks.dirpath", f"{__file__}/out"],
        ["cannot be written"],
    ),
}


# What only a loaded denoiser can say.
NEED_WEIGHTS = ("prompt too long", "compiled for other shapes")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_sentence_and_no_work(
    run: Run, base: Path, tmp_path: Path, mistake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    added, words = MISTAKES[mistake]
    if mistake not in NEED_WEIGHTS:
        monkeypatch.setattr(stock, "load_network", no_weights)
    code, output, errors = run("fit", "--config", base, *added)
    assert code in (1, 2)
    assert output == ""
    said = sentence(errors)
    assert all(word in said for word in words), said
    assert not (tmp_path / "out").exists()


def no_weights(*_: object, **__: object) -> None:
    raise RuntimeError("weights were read")


def test_what_has_to_be_given_is_said(run: Run) -> None:
    code, _, errors = run("fit")
    assert code == 2
    assert "model.denoiser" in sentence(errors)
    code, _, errors = run("train")
    assert code == 2
    assert "'fit', 'validate', 'test', 'predict'" in sentence(errors)


@pytest.mark.parametrize(("stage", "key"), [("validate", "val"), ("test", "test")])
def test_a_stage_needs_its_sets(run: Run, base: Path, stage: str, key: str) -> None:
    code, _, errors = run(stage, "--config", base, f"--data.{key}", "null")
    assert code == 2
    assert f"data.{key} is not set" in sentence(errors)


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
@pytest.mark.parametrize("word", ["last", "best"])
def test_a_checkpoint_that_a_word_does_not_find_is_refused(
    run: Run, base: Path, stage: str, word: str
) -> None:
    code, output, errors = run(stage, "--config", base, f"--ckpt_path={word}")
    assert code == 2
    assert output == ""
    assert f"ckpt_path={word}" in sentence(errors)


def test_a_monitor_of_learning_rates_needs_a_logger(run: Run, base: Path) -> None:
    monitor = "--trainer.callbacks+=lightning.pytorch.callbacks.LearningRateMonitor"
    code, _, errors = run("fit", "--config", base, monitor, "--trainer.logger=false")
    assert code == 2
    assert "LearningRateMonitor" in sentence(errors)


def test_a_flag_in_front_of_a_configuration_is_warned_of(run: Run, base: Path) -> None:
    flag = "--trainer.max_steps=7"
    _, _, errors = run("fit", flag, "--config", base, "--print_config")
    assert "warning: a --config overwrites" in errors
    assert "--trainer.max_steps" in errors
    assert "warning" not in run("fit", "--config", base, flag, "--print_config")[2]


def test_early_stopping_needs_a_metric_that_is_logged(run: Run, base: Path) -> None:
    stop = "--trainer.callbacks+=lightning.pytorch.callbacks.EarlyStopping"
    added = stop, "--trainer.callbacks.monitor=val/dice/reward"
    code, _, errors = run("fit", "--config", base, *added)
    assert code == 2
    said = sentence(errors)
    assert "val/dice/reward" in said
    assert "val/coins/" in said


def test_nothing_is_advertised(run: Run, base: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        code, output, errors = run("validate", "--config", base)
    assert code == 0
    assert "seamless" not in output + errors + caplog.text
