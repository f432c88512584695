"""A function that runs the command line."""

from __future__ import annotations

from typing import Any

import pytest
from command_line import Run, exit_code


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the command line; returns exit code, output and errors."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        code = exit_code(*arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
