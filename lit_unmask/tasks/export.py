"""The command line ``lit-unmask-data``: writes problems into files, for use without a network."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from jsonargparse import ArgumentParser

from lit_unmask.errors import ConfigurationError, Sentences, refuse
from lit_unmask.files import replace_file
from lit_unmask.tasks.gym import generated_rows
from lit_unmask.tasks.published import HubTask
from lit_unmask.tasks.rows import export_line


def export(
    task: str, split: str, output: Path, revision: str | None = None, overwrite: bool = False
) -> None:
    """Write the published rows that a split of a task is made from, as JSON lines.

    Args:
        task: Class path of the task, such as ``lit_unmask.tasks.GSM8K``.
        split: Split of the task; splits that are carved out of ``train`` are in its file.
        output: File to write.
        revision: Commit on the hub, by default the one that is pinned.
        overwrite: Whether a file that is there may be replaced.
    """
    kind = _hub_task(task)
    if split not in kind.parts:
        raise ConfigurationError(f"--split {split} must be one of {', '.join(kind.parts)}")
    _check_output(output, overwrite)
    commit = revision or kind.source.revision
    rows = kind.published_rows(split, commit)
    count = _write(output, (export_line(row, commit) for row in rows))
    sources = kind.source_splits(split)
    served = [name for name in kind.parts if kind.source_splits(name) == sources]
    print(f"{output}: {count} rows of {kind.source.name} {sources[-1]}, for {', '.join(served)}")


def generate(
    name: str, output: Path, size: int = 1000, seed: int = 0, overwrite: bool = False
) -> None:
    """Write problems that reasoning-gym makes, as JSON lines for ``lit_unmask.tasks.ReasoningGym``.

    Args:
        name: Dataset of reasoning-gym, such as ``gsm_symbolic``.
        output: File to write.
        size: Number of problems.
        seed: Seed of the generator.
        overwrite: Whether a file that is there may be replaced.
    """
    if size < 1:
        raise ConfigurationError(f"--size {size} must be at least 1")
    _check_output(output, overwrite)
    rows = generated_rows(name, size, seed)
    count = _write(output, (json.dumps(row) + "\n" for row in rows))
    print(f"{output}: {count} problems of {name}")


def _hub_task(path: str) -> type[HubTask]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"--task {path} cannot be imported ({error}); give a class such as "
            "lit_unmask.tasks.GSM8K"
        ) from error
    if not (isinstance(found, type) and issubclass(found, HubTask)):
        raise ConfigurationError(
            f"--task {path} has no source on the hub; give a class such as lit_unmask.tasks.GSM8K"
        )
    return found


def _check_output(output: Path, overwrite: bool) -> None:
    if output.is_dir() or not output.parent.is_dir():
        raise ConfigurationError(f"--output {output} must be a file in a folder that is there")
    if output.exists() and not overwrite:
        raise ConfigurationError(f"--output {output} is there; give --overwrite to replace it")


def _write(output: Path, lines: Iterable[str]) -> int:
    """Write lines in one step; returns their number."""
    data = "".join(lines).encode()
    replace_file(output, data)
    return data.count(b"\n")


class _Parser(Sentences, ArgumentParser):
    """A parser whose errors are one sentence."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; what goes wrong is one sentence."""
    parser = _Parser("lit-unmask-data", description="Writes problems into files.")
    commands = parser.add_subcommands(dest="command")
    known = {command.__name__: command for command in (export, generate)}
    for name, command in known.items():
        said = (command.__doc__ or "").split("\n")[0]
        part = _Parser(description=said)
        part.add_function_arguments(command, skip={"overwrite"})
        part.add_argument(
            "--overwrite", action="store_true", help="replace the file if it is there"
        )
        commands.add_subcommand(name, part, help=said)
    options = parser.parse_args(arguments)
    try:
        known[options.command](**vars(options[options.command]))
    except (ConfigurationError, OSError) as error:
        refuse(error)
