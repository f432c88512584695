"""Disks that are full, folders that vanish and ranks that dawdle while a run is under way."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from command_line import Run, sentence
from lit_unmask.callbacks import PredictionWriter
from tensorboard.summary.writer.record_writer import RecordWriter

from lit_unmask import files

TESTS = Path(__file__).parents[1]
CHECKPOINTS = Path("out/run/version_0/checkpoints")


def with_callback(base: Path, name: str, **settings: Any) -> Path:
    """Write a configuration beside another one, with a callback of the tests."""
    whole = yaml.safe_load(base.read_text())
    whole["trainer"]["callbacks"].append({"class_path": f"toys.{name}", "init_args": settings})
    file = base.with_name(f"{name}.yaml")
    file.write_text(yaml.safe_dump(whole))
    return file


def steps_in(folder: Path) -> set[int]:
    """Return the rounds after which the checkpoints of a folder were written, its only files."""
    assert {file.suffix for file in folder.iterdir()} == {".ckpt"}
    found = (torch.load(file, weights_only=True) for file in folder.iterdir())
    return {stored["global_step"] for stored in found}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_more_ends_the_run_and_leaves_what_was_there(
    run: Run, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    made: list[Any] = []

    def make(dir: Path, **settings: Any) -> Any:
        file = tempfile.NamedTemporaryFile(dir=dir, **settings)
        write = file.write

        def refuse(data: bytes) -> None:
            write(data[: len(data) // 2])
            raise OSError(number, os.strerror(number))

        made.append(file)
        if len(made) > 2:  # the first round's checkpoint, and its copy as the last one
            file.write = refuse  # type: ignore[method-assign, assignment]
        return file

    fake = SimpleNamespace(NamedTemporaryFile=make, TemporaryFile=tempfile.TemporaryFile)
    monkeypatch.setattr(files, "tempfile", fake)
    code, _, errors = run("fit", "--config", base)
    assert code == 1 and len(made) == 3
    said = sentence(errors)
    assert os.strerror(number) in said and said.endswith("fit with --ckpt_path=last")
    assert steps_in(tmp_path / CHECKPOINTS) == {1}
    monkeypatch.undo()
    assert run("fit", "--config", base, "--ckpt_path=last")[0] == 0
    assert 2 in steps_in(tmp_path / "out/run/version_1/checkpoints")


def test_a_disk_that_takes_no_more_curves_ends_the_run(
    run: Run, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RecordWriter, "write", refuse)
    code, _, errors = run("fit", "--config", base)
    assert code == 1 and "No space left on device; what was there before is whole" in errors


def test_a_run_whose_log_is_deleted_goes_on_and_saves(run: Run, base: Path, tmp_path: Path) -> None:
    assert run("fit", "--config", with_callback(base, "Deletes"))[0] == 0
    assert 2 in steps_in(tmp_path / CHECKPOINTS)


def test_predictions_are_appended_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() > 40:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data[:30])

    writer = PredictionWriter(str(tmp_path / "said.jsonl"))
    nobody: Any = None
    monkeypatch.setattr(Path, "open", lambda self, mode, buffering: Full(self, mode))
    writer.write_on_batch_end(nobody, nobody, [{"uid": "a" * 20}], nobody, [], 0, 0)
    with pytest.raises(OSError, match="No space left"):
        writer.write_on_batch_end(nobody, nobody, [{"uid": "b" * 60}], nobody, [], 0, 0)
    monkeypatch.undo()
    assert json.loads(writer.file.read_text()) == {"uid": "a" * 20}


def test_ranks_wait_for_one_that_takes_ten_times_as_long(base: Path, tmp_path: Path) -> None:
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    command = ["fit", "--config", str(with_callback(base, "Dawdles", rank=1))]
    command += ["--trainer.devices=2", "--trainer.strategy=ddp"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lit_unmask", *command],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the second rank too
        raise
    assert process.returncode == 0, output[-3000:]
    assert 2 in steps_in(tmp_path / CHECKPOINTS)
