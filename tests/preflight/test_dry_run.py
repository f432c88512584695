"""What a run lacks is said before the weights of its denoisers are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from toys import Coins, config, write_autoregressive

from lit_unmask.cli import main
from lit_unmask.denoisers import Adapter, LLaDA
from lit_unmask.preflight.dry_run import DryRun
from lit_unmask.tasks.datamodule import TaskDataModule
from lit_unmask.verifiers.sandbox import Sandbox, detection, strongest

ROWS = Path(__file__).parents[1] / "fixtures" / "tasks"
UNREAD = {"class_path": "toys.Unread", "init_args": {"path": "nobody/needs-this"}}
Start = Callable[..., str]


def task(name: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": f"lit_unmask.tasks.{name}", "init_args": arguments}


def transfer(**cell: Any) -> dict[str, Any]:
    """Return a callback that tests one cell with a denoiser of its own."""
    coins = {"class_path": "toys.Coins", "init_args": {"split": "test", "size": 3}}
    cells = {"other": {"denoiser": UNREAD, "tuning": coins, "test": coins} | cell}
    grid = {"policy": "lit_unmask.policies.LowConfidence", "values": [2], "block_lengths": [8]}
    arguments = {"cells": cells, "grids": {"k": grid}}
    return {"class_path": "lit_unmask.callbacks.TransferTest", "init_args": arguments}


@pytest.fixture
def start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Start:
    """A function that starts a stage of a run whose denoiser must not be read; returns errors."""

    def call(stage: str, *arguments: str, **settings: Any) -> str:
        given = config("", tmp_path / "out")
        given["model"]["denoiser"] = UNREAD
        callbacks = settings.pop("callbacks", None)
        if callbacks is not None:
            given["trainer"]["callbacks"] = callbacks
        given["data"]["init_args"] |= settings
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump(given))
        with pytest.raises(SystemExit) as end:
            main([stage, f"--config={file}", *arguments])
        assert end.value.code == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    return call


MISSING = task("HumanEval", path="nowhere.jsonl")
LACKS = {
    "a file of training": ("fit", {"train": task("GSM8K", split="train", path="nowhere.jsonl")},
                           "error: data.train: path=nowhere.jsonl cannot be read"),
    "a file of a cell": ("test", {"callbacks": [transfer(test=MISSING)]},
                         "error: test of cell 'other' of TransferTest: path=nowhere.jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("lack", LACKS)
def test_missing_data_is_refused(start: Start, lack: str) -> None:
    stage, settings, said = LACKS[lack]
    assert start(stage, **settings).startswith(said)


def test_settings_and_checkpoints_are_checked_too(start: Start) -> None:
    assert "must be 32-true" in start("fit", "--trainer.precision=bf16-true")
    assert "=3 must divide gen_length=8" in start("fit", "--model.decoding.block_length=3")
    assert "ckpt_path=missing.ckpt does not exist" in start("test", "--ckpt_path=missing.ckpt")


def test_without_a_sandbox_programs_are_refused(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Sandbox):
        def command(self, inner: list[str], folder: str) -> list[str]:
            return ["/bin/false"]

    monkeypatch.setattr(detection, "KINDS", (Broken,))
    strongest.cache_clear()
    code = task("HumanEval", path=str(ROWS / "humaneval.jsonl"))
    said = start("validate", val={"code": code})
    strongest.cache_clear()
    assert said.startswith("error: data.val.code: no sandbox") and "Unsafe" in said


def test_without_a_package_of_the_tests_programs_are_refused(start: Start, tmp_path: Path) -> None:
    row = json.loads((ROWS / "humaneval.jsonl").read_text().splitlines()[0])
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row | {"test": "import nowhere\n" + row["test"]}))
    unsafe = {"sandbox": {"class_path": "lit_unmask.verifiers.sandbox.Unsafe"}}
    verifier = {"class_path": "lit_unmask.verifiers.ProgramVerifier", "init_args": unsafe}
    code = task("HumanEval", path=str(file), verifier=verifier)
    assert "tests import nowhere" in start("test", test={"code": code})


def test_a_run_that_lacks_nothing_reads_the_weights(start: Start) -> None:
    # Cells are not tested in this stage.
    assert "the weights were read" in start("validate", callbacks=[transfer(test=MISSING)])


def test_what_needs_a_denoiser_when_it_is_made_is_made_with_one(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    given = config(tiny_checkpoint, tmp_path / "out")
    denoiser = given["model"]["denoiser"]
    given["trainer"]["callbacks"].append(
        {"class_path": "toys.LooksAtDenoiser", "init_args": {"denoiser": denoiser}}
    )
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(given))
    main(["validate", f"--config={file}", "--trainer.fast_dev_run=1"])


def test_a_dry_run_that_fails_leaves_no_trace() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    dry_run = DryRun()

    def act() -> Any:
        torch.rand(1)
        return dry_run(LLaDA, path="nobody/needs-this").network

    assert dry_run.run(act) is None and dry_run.missed == "network of LLaDA"
    assert torch.equal(torch.rand(2), expected)


def test_what_stands_for_a_denoiser_becomes_it(tiny_llada: LLaDA) -> None:
    dry_run = DryRun()
    held = dry_run.run(lambda: dry_run(LLaDA, path=tiny_llada.identity["path"]))
    assert isinstance(held, LLaDA) and held.vocab_size == tiny_llada.vocab_size
    assert "network" not in vars(held)
    dry_run.load(Trainer(logger=False, accelerator="cpu"))
    assert type(held) is LLaDA and held.identity == tiny_llada.identity
    assert dict(held.named_weights()).keys() == dict(tiny_llada.named_weights()).keys()


def test_other_objects_are_made_as_they_are() -> None:
    made = DryRun()(Adapter, path="some/lora", merge=False)
    assert made == Adapter("some/lora", merge=False)


def test_problems_are_made_once() -> None:
    dry_run = DryRun()
    first = dry_run.run(lambda: dry_run(TaskDataModule, train=Coins("train", size=2)))
    assert first is dry_run(TaskDataModule, train=Coins("train", size=2))


def test_wrappers_are_checked_before_what_they_wrap_is_read(
    start: Start, tiny_checkpoint, tiny_llada, tiny_dream, tmp_path
) -> None:
    foreign = write_autoregressive(tiny_dream.tokenizer, tmp_path / "foreign")
    fitting = write_autoregressive(tiny_llada.tokenizer, tmp_path / "fitting")
    inner = UNREAD | {"init_args": {"path": str(tiny_checkpoint)}}

    def told(*flags: str, stage: str = "validate", **settings: Any) -> str:
        arguments = {"inner": inner, "autoregressive": str(foreign)} | settings
        kind = {"class_path": "lit_unmask.denoisers.AdaptiveParallel", "init_args": arguments}
        return start(stage, f"--model.denoiser={json.dumps(kind)}", *flags)

    assert "window=0 must be at least 1 mask" in told(window=0)
    assert "both models must share a tokenizer" in told()
    assert "'runs/no/model' must be a folder" in told(autoregressive="runs/no/model")
    assert "looks at top_k=4" in told("--model.policy.network.top_p=4", autoregressive=str(fitting))
    # A callback that wants to know more of a wrapper than there is waits for the weights.
    frontier = {"class_path": "lit_unmask.callbacks.Frontier", "init_args": {"grids": {}}}
    added = f"--trainer.callbacks={json.dumps([frontier])}"
    assert "weights were read" in told(added, stage="test", autoregressive=str(fitting))
