"""Commands that run, and what they leave behind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from command_line import Run, sentence
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "configs" / "policies"


def table(output: str, metric: str) -> float:
    """Return a metric from the table that Lightning prints."""
    found = re.search(rf"{metric}\s*│\s*([\d.]+)", output)
    assert found, output
    return float(found[1])


def test_help(run: Run) -> None:
    code, output, _ = run("--help")
    assert code == 0
    assert "{fit,validate,test,predict}" in output
    code, output, _ = run("fit", "--help")
    assert code == 0
    assert "--model.rounds.group_size" in output
    assert "Rollouts a prompt" in output


def test_print_config_is_a_config(run: Run, base: Path, tmp_path: Path) -> None:
    code, output, _ = run("fit", "--config", base, "--print_config")
    assert code == 0
    assert yaml.safe_load(output)["model"]["grpo"]["clip"] == 0.5
    printed = tmp_path / "printed.yaml"
    printed.write_text(output)
    assert run("fit", "--config", printed, "--print_config")[1] == output


def test_interpolation_reaches_across_files_and_overrides(
    run: Run, base: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second.yaml"
    second.write_text(
        "model:\n"
        "  decoding: {gen_length: 16, block_length: '${model.decoding.gen_length}'}\n"
        "  rounds: {seed: '${seed_everything}'}\n"
        "data: {init_args: {seed: '${model.rounds.seed}'}}\n"
    )
    files = ("--config", base, "--config", second)
    for added, length, seed in [([], 16, 0), (["--model.decoding.gen_length=24"], 24, 0),
                                (["--seed_everything=7"], 16, 7)]:  # fmt: skip
        code, output, _ = run("fit", *files, *added, "--print_config")
        assert code == 0
        printed = yaml.safe_load(output)
        assert printed["model"]["decoding"]["block_length"] == length
        assert printed["model"]["rounds"]["seed"] == seed
        assert printed["data"]["init_args"]["seed"] == seed


def test_fit_writes_config_checkpoint_and_events(run: Run, base: Path, tmp_path: Path) -> None:
    assert run("fit", "--config", base)[0] == 0
    folder = tmp_path / "out" / "run" / "version_0"
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved["model"]["rounds"]["group_size"] == 4
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    settings = yaml.safe_load((folder / "hparams.yaml").read_text())
    assert settings["model.decoding.gen_length"] == 8
    events = EventAccumulator(str(folder)).Reload()
    assert [point.step for point in events.Scalars("train/reward")] == [0, 1]
    # One point for each validation: hyper-parameters bring no made-up measurements.
    assert len(events.Scalars("val/coins/accuracy")) == 2
    assert "_hparams_/session_start_info" in events.summary_metadata

    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert run("fit", "--config", base)[0] == 0  # a second run has its own folder
    assert (tmp_path / "out" / "run" / "version_1" / "config.yaml").is_file()
    assert all(file.read_bytes() == content for file, content in before.items())


def test_a_run_folder_is_not_used_twice(run: Run, base: Path, tmp_path: Path) -> None:
    fixed = ("--config", base, "--trainer.logger.version", "mine", "--trainer.max_steps", "1")
    assert run("fit", *fixed)[0] == 0
    file = tmp_path / "out" / "run" / "mine" / "config.yaml"
    content = file.read_bytes()
    code, _, errors = run("fit", *fixed, "--seed_everything", "3")
    assert code == 1
    assert "earlier run" in sentence(errors)
    assert file.read_bytes() == content


def test_without_a_logger_nothing_but_checkpoints_is_written(
    run: Run, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        code, output, _ = run("validate", "--config", base, "--trainer.logger", "false")
        assert code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"base.yaml"}
    assert 0 <= table(output, "val/coins/accuracy") <= 1


def test_fast_dev_run(run: Run, base: Path) -> None:
    assert run("fit", "--config", base, "--trainer.fast_dev_run", "1")[0] == 0
    settings = yaml.safe_load(base.read_text())
    settings["trainer"]["logger"] = False
    whole = base.with_name("whole.yaml")
    whole.write_text(yaml.safe_dump({"fit": settings}))
    assert run("--config", whole, "fit", "--trainer.fast_dev_run", "1")[0] == 0


@pytest.mark.parametrize("policy", sorted(path.stem for path in POLICIES.glob("*.yaml")))
def test_policy_files_replace_the_policy(run: Run, base: Path, policy: str) -> None:
    width = ("--model.policy.network.hidden_width", 16) if policy == "hidden" else ()
    if policy == "remasking":
        width = ("--model.decoding.max_block_steps", 16)
    code, output, errors = run(
        "validate", "--config", base, "--model.policy", POLICIES / f"{policy}.yaml", *width,
        "--trainer.logger", "false", "--trainer.limit_val_batches", "1",
    )  # fmt: skip
    assert code == 0, errors
    nfe = table(output, "val/coins/nfe")
    assert nfe == 8 if policy in ("random", "low_confidence", "margin", "left_to_right") else nfe


def test_settings_of_a_policy_file_can_be_overridden(run: Run, base: Path) -> None:
    arguments = ("--model.policy", POLICIES / "threshold.yaml", "--trainer.logger", "false")
    code, output, _ = run("validate", "--config", base, *arguments, "--model.policy.threshold", 0)
    assert code == 0
    assert table(output, "val/coins/nfe") == 2  # everything is opened at once in each block


def test_the_command_line_beats_the_checkpoint(run: Run, base: Path, tmp_path: Path) -> None:
    run("fit", "--config", base)
    stored = tmp_path / "out" / "run" / "version_0" / "checkpoints" / "last.ckpt"
    trained = torch.load(stored, weights_only=True)["state_dict"]
    resumed = ("--config", base, "--ckpt_path", stored)
    # So hot a policy chooses every other position, whatever its weights.
    code, output, _ = run("test", *resumed, "--model.policy.temperature", "1000")
    assert code == 0
    assert table(output, "test/coins/nfe") < 8
    # So cold a policy never chooses, and positions are forced open one by one.
    code, output, _ = run("test", *resumed, "--model.policy.temperature", "0.001")
    assert code == 0
    assert table(output, "test/coins/nfe") == 8
    again = ["--model.eval_decoding.gen_length=16", "--model.eval_decoding.block_length=16"]
    code, output, _ = run("test", *resumed, "--model.policy.temperature", "0.001", *again)
    assert table(output, "test/coins/nfe") == 16
    # A resumed fit takes the new length of training from the command line, and the old weights.
    assert run("fit", *resumed, "--trainer.max_steps", "3")[0] == 0
    later = tmp_path / "out" / "run" / "version_4" / "checkpoints" / "last.ckpt"
    final = torch.load(later, weights_only=True)
    assert final["global_step"] == 3
    assert set(final["state_dict"]) == set(trained)


def test_a_checkpoint_loads_against_another_denoiser(
    run: Run, base: Path, tmp_path: Path, tiny_dream_checkpoint: Path
) -> None:
    run("fit", "--config", base)
    stored = tmp_path / "out" / "run" / "version_0" / "checkpoints" / "last.ckpt"
    code, output, _ = run(
        "validate", "--config", base, "--ckpt_path", stored, "--model.denoiser",
        "lit_unmask.denoisers.Dream", "--model.denoiser.path", tiny_dream_checkpoint,
    )  # fmt: skip
    assert code == 0
    assert 0 < table(output, "val/coins/nfe") <= 8
    code, _, errors = run(
        "validate", "--config", base, "--ckpt_path", stored, "--model.policy.network.width", 32
    )
    assert code == 2
    assert "do not fit model.policy LearnedPolicy" in sentence(errors)


def test_predict_writes_records_once(run: Run, base: Path, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    writer = ("--trainer.callbacks+", "lit_unmask.callbacks.PredictionWriter",
              "--trainer.callbacks.path", file)  # fmt: skip
    assert run("predict", "--config", base, *writer)[0] == 0
    content = file.read_text()
    records = [json.loads(line) for line in content.splitlines()]
    assert len(records) == 5
    assert set(records[0]) == {"uid", "completion", "correct", "nfe"}
    code, _, errors = run("predict", "--config", base, *writer)
    assert code == 2
    assert f"{file} exists" in sentence(errors)
    assert file.read_text() == content


def test_a_terminated_run_exits_with_143_and_goes_on_in_its_folder(
    run: Run, base: Path, tmp_path: Path
) -> None:
    here = ("--config", base, "--trainer.logger.version", "here", "--trainer.max_steps", "4")
    code, _, _ = run("fit", *here, "--trainer.callbacks+", "toys.Terminate")
    assert code == 143
    folder = tmp_path / "out" / "run" / "here"
    stored = folder / "checkpoints" / "last.ckpt"
    assert torch.load(stored, weights_only=True)["global_step"] == 1
    first = (folder / "config.yaml").read_text()
    code, _, errors = run("fit", *here)
    assert code == 1
    assert "holds config.yaml of an earlier run" in sentence(errors)
    for times in (2, 3):
        assert run("fit", *here, "--ckpt_path", stored)[0] == 0
        assert f"ckpt_path: {stored}" in (folder / f"config-{times}.yaml").read_text()
    assert (folder / "config.yaml").read_text() == first
    events = EventAccumulator(str(folder)).Reload()
    assert [event.step for event in events.Scalars("train/nfe")][-1] == 3
