"""Runs that were ended by a signal or a crash, and go on by one flag."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from command_line import Run, sentence
from lit_unmask.callbacks.interruption import (
    Interruption,
    end_with_first_rank,
    is_interrupted,
)

TESTS = Path(__file__).parents[1]
LONGEST_RUN = 240  # seconds


def weights(folder: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def with_callback(base: Path, callback: dict[str, object], **trainer: object) -> Path:
    """Write a configuration beside another one, with one more callback."""
    settings = yaml.safe_load(base.read_text())
    settings["trainer"] |= trainer
    settings["trainer"]["callbacks"].append(callback)
    file = base.with_name("interrupted.yaml")
    file.write_text(yaml.safe_dump(settings))
    return file


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_round_and_last_goes_on_exactly(
    run: Run, base: Path, tmp_path: Path, number: signal.Signals
) -> None:
    home = tmp_path / "out" / "run"
    longer = ("--trainer.max_steps=7", "--trainer.val_check_interval=2")
    assert run("fit", "--config", base, *longer)[0] == 0
    asks = {"class_path": "toys.Terminate", "init_args": {"number": int(number), "round": 3}}
    before = signal.getsignal(number)
    code, _, _ = run("fit", "--config", with_callback(base, asks), *longer)
    assert code == 128 + number
    assert signal.getsignal(number) == before
    kept = home / "version_1" / "checkpoints" / "interrupted.ckpt"
    assert torch.load(kept, weights_only=True)["global_step"] == 4
    assert run("fit", "--config", base, *longer, "--ckpt_path=last")[0] == 0
    again = (home / "version_2" / "config.yaml").read_text()
    assert f"ckpt_path: {kept}" in again
    assert same(weights(home / "version_0"), weights(home / "version_2"))


def test_a_second_signal_ends_all_ranks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent, heeded = [], signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(os, "kill", lambda *which: sent.append(which))
    launcher = SimpleNamespace(kill=lambda number: sent.append(("others", number)))
    trainer: Any = SimpleNamespace(
        strategy=SimpleNamespace(launcher=launcher), is_global_zero=False, received_sigterm=False
    )
    interruption = Interruption()
    trainer.callbacks = [interruption]
    ask = interruption._handler(trainer)
    assert not is_interrupted(trainer)
    try:
        ask(signal.SIGTERM, None)
        assert is_interrupted(trainer) and not sent
        ask(signal.SIGINT, None)
        assert sent == [("others", signal.SIGKILL), (os.getpid(), signal.SIGINT)]
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, heeded)


@pytest.mark.parametrize("early", [True, False])
def test_a_rank_does_not_wait_for_a_first_rank_that_is_gone(
    early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, parent = threading.Event(), os.getppid()

    def leave(code: int) -> None:
        assert code == 1
        ended.set()

    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.setenv("LIT_UNMASK_FIRST_RANK", str(gone.pid if early else parent))
    monkeypatch.setattr(os, "_exit", leave)
    end_with_first_rank(every=0.01)  # no rank
    monkeypatch.setenv("LIT_UNMASK_FIRST_RANK", str(gone.pid if early else parent))
    monkeypatch.setenv("LOCAL_RANK", "1")
    end_with_first_rank(every=0.01)
    if not early:
        assert not ended.wait(0.1)
        monkeypatch.setattr(os, "getppid", lambda: 1)
    assert ended.wait(30)


def launch(config: Path, *arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "lit_unmask", "fit", "--config", str(config), *arguments],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def test_two_ranks_stop_together_when_one_is_asked(base: Path, tmp_path: Path) -> None:
    asks = {"class_path": "toys.Terminate", "init_args": {"round": 1, "rank": 1}}
    process = launch(
        with_callback(base, asks, max_steps=200),
        *("--trainer.devices=2", "--trainer.strategy=ddp"),
    )
    try:
        output, _ = process.communicate(timeout=LONGEST_RUN)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the second rank too
        raise
    assert process.returncode == 143, output[-3000:]
    kept = tmp_path / "out" / "run" / "version_0"
    assert (
        torch.load(kept / "checkpoints" / "interrupted.ckpt", weights_only=True)["global_step"] == 2
    )


def test_last_is_the_newest_whole_checkpoint_and_a_folder_does_the_same(
    run: Run, base: Path, tmp_path: Path
) -> None:
    assert run("fit", "--config", base)[0] == 0
    folder = tmp_path / "out" / "run" / "version_0" / "checkpoints"
    torn = folder.parents[1] / "version_1" / "checkpoints"
    shutil.copytree(folder, torn)
    for file in torn.iterdir():
        os.truncate(file, file.stat().st_size // 2)
    for word in ("last", str(folder.parents[1]), str(folder)):
        code, _, errors = run("validate", "--config", base, f"--ckpt_path={word}")
        assert code == 0, errors
        used = (
            max(torn.parents[1].glob("version_*/config.yaml"), key=os.path.getmtime)
        ).read_text()
        assert f"ckpt_path: {folder}/" in used
    code, _, errors = run("validate", "--config", base, f"--ckpt_path={torn / 'last.ckpt'}")
    assert code != 0
    assert f"{torn / 'last.ckpt'} is damaged" in sentence(errors)


def test_last_does_not_go_on_with_a_run_of_another_seed(run: Run, base: Path) -> None:
    assert run("fit", "--config", base, "--trainer.max_steps=1")[0] == 0
    code, _, errors = run("fit", "--config", base, "--ckpt_path=last", "--model.rounds.seed=1")
    assert code == 2
    assert "model.rounds.seed=0, and this one has 1" in sentence(errors)
