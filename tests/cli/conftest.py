"""A small configuration, and a function that runs the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Run
from toys import config

from lit_unmask.cli import main


@pytest.fixture
def base(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A configuration whose run writes into ``tmp_path / "out"``."""
    file = tmp_path / "base.yaml"
    file.write_text(yaml.safe_dump(config(tiny_checkpoint, tmp_path / "out")))
    return file


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the command line; returns exit code, output and errors."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        code: Any = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
