"""A folder in which a user makes one mistake, and what the command line says of it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from toy_sweeps import make_run
from toys import config, small_policy

from lit_unmask import cli, save_policy
from lit_unmask.evaluation.store import Outcome, Store
from lit_unmask.pretrain import cli as pretrain
from lit_unmask.report import cli as report
from lit_unmask.sharing import export
from lit_unmask.tasks import export as data

Change = Callable[[Path], object]

COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "lit-unmask": cli.main,
    "lit-unmask-pretrain": pretrain.main,
    "lit-unmask-report": report.main,
    "lit-unmask-export": export.main,
    "lit-unmask-data": data.main,
}


@dataclass(frozen=True)
class Mistake:
    """One bad input.

    Attributes:
        what: What is wrong with it, as the table says it.
        command: What is typed; ``fit +`` stands for a good command line of ``fit``.
        changes: What is done to the files of the folder before.
    """

    what: str
    command: str
    changes: tuple[Change, ...] = ()

    @property
    def words(self) -> list[str]:
        """The command line, word by word."""
        command = self.command
        for stage in ("fit", "validate", "test", "predict", "plan"):
            if command.split(" ")[0] == stage:
                command = f"lit-unmask {command}".replace(" +", " --config base.yaml", 1)
        return shlex.split(command)


def mistake(what: str, command: str, *changes: Change) -> Mistake:
    """Return a bad input."""
    return Mistake(what, command, changes)


def text(name: str, content: str | bytes) -> Change:
    """Return the change that writes a file."""
    said = content if isinstance(content, bytes) else content.encode()

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(said)

    return change


def rows(name: str, *values: Any) -> Change:
    """Return the change that writes a file of JSON lines."""
    return text(name, "".join(json.dumps(value) + "\n" for value in values))


def entry(name: str, **values: Any) -> Change:
    """Return the change that puts values into a JSON object, or takes those out that are None."""

    def change(folder: Path) -> None:
        said = json.loads((folder / name).read_text()) | values
        said = {key: value for key, value in said.items() if value is not None}
        (folder / name).write_text(json.dumps(said))

    return change


def gone(name: str) -> Change:
    """Return the change that takes a file away."""
    return lambda folder: (folder / name).unlink()


def cut(name: str, left: int) -> Change:
    """Return the change that leaves the first bytes of a file."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:left])


def saved(folder: Path) -> None:
    """Write a saved policy."""
    save_policy(small_policy(), folder / "policy")


def stored(folder: Path) -> None:
    """Write a results store with one outcome."""
    outcome = Outcome("a", 1.0, 5, {"fresh": 5}, 4, False, 0.1)
    Store(folder / "store").append(make_run(num_problems=1), [outcome])


def said_of(one: Mistake, folder: Path) -> tuple[int | str, str, str]:
    """Make a mistake in a folder; returns exit code, output and the last line of the errors."""
    command, *arguments = one.words
    code: int | str = 0
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                COMMANDS[command](arguments)
            except SystemExit as end:
                code = end.code if end.code is not None else 0
    last = "".join(err.getvalue().splitlines(keepends=True)[-1:])
    return code, out.getvalue(), last.replace(f"{folder.resolve()}/", "")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return all that is in a folder."""
    found = sorted(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in found
    }


def settings() -> dict[str, Any]:
    """Return a configuration that works, as small as one can be."""
    short = config("denoiser", "out")
    parts = {name: short["model"][name] for name in ("denoiser", "policy")}
    return {
        "trainer": {
            "default_root_dir": "out", "accelerator": "cpu", "devices": 1, "max_steps": 2,
            "logger": False, "enable_progress_bar": False,
        },
        "model": {**parts, "decoding": {"gen_length": 8, "block_length": 4}},
        "data": short["data"],
    }  # fmt: skip


def furnish(folder: Path, checkpoint: Path) -> None:
    """Fill a folder with what commands read: a configuration and a denoiser."""
    folder.mkdir(exist_ok=True)
    (folder / "base.yaml").write_text(yaml.safe_dump(settings()))
    os.makedirs(folder / "denoiser")
    for file in checkpoint.iterdir():
        (folder / "denoiser" / file.name).write_bytes(file.read_bytes())
