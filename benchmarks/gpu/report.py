"""The check's files: ``gpu.json``, rewritten with every figure, and ``gpu.md``, its table."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Result = dict[str, Any]


def replace_text(file: Path, text: str) -> None:
    """Write a file so that a reader finds the old text or the new one whole."""
    new = file.with_name(f".{file.name}.new")
    new.write_text(text)
    os.replace(new, file)


def passed(figure: dict[str, Any]) -> bool | None:
    """Return whether a figure reaches its target, None if it has none."""
    value, target = figure["value"], figure["target"]
    if target is None:
        return None
    if value is None:
        return False
    if isinstance(target, bool):
        return value is target
    return value <= target if figure["better"] == "at most" else value >= target


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def _row(letter: str, figure: dict[str, Any]) -> str:
    target, good = figure["target"], passed(figure)
    goal = _shown(target)
    if target is not None and not isinstance(target, bool):
        goal = f"{figure['better']} {goal}"
    verdict = "" if good is None else "pass" if good else "**no**"
    name = figure["figure"].replace("|", "\\|")
    return f"| {letter} | {name} | {_shown(figure['value'])} | {goal} | {verdict} |"


def table(results: Sequence[Result]) -> str:
    """Return all figures as Markdown, each with its target."""
    lines = ["| section | figure | value | target | pass |", "| --- | --- | ---: | ---: | --- |"]
    for result in results:
        lines += [_row(result["section"], figure) for figure in result.get("figures", [])]
        lines += [
            f"| {result['section']} | {failure['failed']} | | | **no** |"
            for failure in result.get("failures", [])
        ]
    return "\n".join(lines) + "\n"


def page(machine: dict[str, Any], results: Sequence[Result]) -> str:
    """Return the page: the machine, the sections, the table, and what failed."""
    lines = ["# The GPU check", "", f"{machine['name']}; {machine['software']}.", ""]
    if machine["rehearsal"]:
        lines += ["A rehearsal with tiny sizes: its times say nothing about a GPU.", ""]
    for result in results:
        spent = f"{result['state']} after {result.get('seconds', 0):.0f} s"
        lines.append(
            f"- {result['section']}, {result['title']}: {spent} of {result.get('cap', 0):.0f}"
        )
        lines += [f"  - {said}" for said in result.get("said", [])]
    lines += ["", table(results)]
    for result in results:
        for failure in result.get("failures", []):
            lines += [f"## {failure['failed']}", "", "```", failure["traceback"].rstrip(), "```"]
    return "\n".join(lines).rstrip() + "\n"


def write(machine: dict[str, Any], results: Sequence[Result], folder: Path) -> None:
    """Write both files."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "sections": list(results)}
    replace_text(folder / "gpu.json", json.dumps(content, indent=1) + "\n")
    replace_text(folder / "gpu.md", page(machine, results))
