"""The rows of benchmarks/systems.py, their page and their picture."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lit_unmask.files import replace_file
from lit_unmask.report.comparisons import SIGNIFICANT, Comparison
from lit_unmask.report.results import Result
from lit_unmask.report.statistics import mean_estimate

ROOT = Path(__file__).parents[1]
# Accuracy that is too little to speak of.
MARGIN = 0.05


def measured(result: Result) -> dict[str, Any]:
    """Return accuracy and forwards by kind with their intervals."""
    kinds = dict(result.nfe_by_kind)
    kinds["predictor"] = kinds.pop("fresh", 0) + kinds.pop("unchanged", 0)
    means = {kind: mean_estimate(nfe.mean(1)) for kind, nfe in kinds.items() if nfe.any()}
    means["all"] = result.mean_nfe
    accuracy = result.accuracy
    return {
        "accuracy": round(accuracy.value, 4),
        "ci_low": round(accuracy.low, 4),
        "ci_high": round(accuracy.high, 4),
        "forwards": {kind: round(mean.value, 2) for kind, mean in means.items()},
        "forwards_ci": {k: [round(m.low, 2), round(m.high, 2)] for k, m in means.items()},
    }


def said(one: Comparison) -> dict[str, Any]:
    """Return a comparison in numbers."""
    return {
        "label": one.second.label,
        "accuracy": round(one.second.accuracy.value, 4),
        "forwards": round(one.second.mean_nfe.value, 2),
        "gain": [round(x, 4) for x in (one.accuracy.value, one.accuracy.low, one.accuracy.high)],
        "saved": [round(x, 4) for x in (one.saved.value, one.saved.low, one.saved.high)],
        "p": round(one.p_value, 5),
        "corrected": round(one.corrected, 5),
    }


def seen(expects: str, one: Comparison) -> str:
    """Return whether a claim was seen: by the paired intervals, and McNemar's test for a gain.

    Args:
        expects: ``more``: yes at a gain that the interval and the test tell from 0, no if the
            interval excludes ``MARGIN``. ``no_more``: the other way round. ``cheaper``: yes if
            forwards are saved for certain and the interval excludes a loss of ``MARGIN``; no if
            none are, or accuracy is lost for certain.
        one: The system against what it is claimed of.
    """
    gain, saved = one.accuracy, one.saved
    if expects == "cheaper":
        if saved.low > 0 and gain.low > -MARGIN:
            return "yes"
        return "no" if saved.high <= 0 or gain.high < 0 else "unclear"
    if gain.low > 0 and one.p_value < SIGNIFICANT:
        return "yes" if expects == "more" else "no"
    if gain.high < MARGIN:
        return "no" if expects == "more" else "yes"
    return "unclear"


@cache
def commit() -> str:
    """Return the commit that is checked out."""
    show = ["git", "rev-parse", "--short", "HEAD"]
    said = subprocess.run(show, cwd=ROOT, capture_output=True, text=True, check=True)
    return said.stdout.strip()


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    """Put rows into the file, in the place of those of the same system, task and denoiser."""
    known = json.loads(file.read_text()) if file.is_file() else []
    merged = {key_of(row): row for row in known}
    for row in rows:
        old = merged.get(key_of(row), {})
        # What is measured again with the same result keeps the commit that it was measured with.
        merged[key_of(row)] = row | {
            "commit": old["commit"] if old == row | {"commit": old.get("commit")} else commit()
        }
    replace_file(file, (json.dumps([*merged.values()], indent=1) + "\n").encode())


def key_of(row: dict[str, Any]) -> tuple[str, ...]:
    """Return what tells a row from the others."""
    return row["denoiser"], row["task"], row["system"]


def write_page(page: Path, systems: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Write the page and its picture, of the same name."""
    page.write_text(str(len(rows)))
