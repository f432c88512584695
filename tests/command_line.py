"""What tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable

from lit_unmask.cli import main

Run = Callable[..., tuple[int, str, str]]
"""Runs the command line; returns exit code, output and errors."""


def sentence(errors: str) -> str:
    """Return the one error sentence, checking that it is one line and the last."""
    lines = errors.strip().splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert "Traceback" not in errors
    assert "usage:" not in errors
    return lines[-1]


def exit_code(*arguments: object) -> int:
    """Run the command line; returns its exit code."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0
