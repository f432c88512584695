"""The rows of benchmarks/systems.py, their page and their picture."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lit_unmask.files import replace_file
from lit_unmask.report.comparisons import SIGNIFICANT, Comparison
from lit_unmask.report.results import Result
from lit_unmask.report.statistics import mean_estimate

ROOT = Path(__file__).parents[1]
# A system is set beside these at equal forwards, whatever it claims.
RIVALS = ("threshold", "entropy bound", "learned policy")
# Accuracy that is too little to speak of.
MARGIN = 0.05
_TITLES = (
    "", "system", "tuned setting", "accuracy", "forwards a problem", "control", "gain over control",
    "gain over threshold", "gain over entropy bound", "gain over learned policy", "claim seen",
)  # fmt: skip
_MEASURED = ("setting", "accuracy", "forwards", "problems", "seed")
_EXPECTS = {
    "more": "*more accurate* than the",
    "no_more": "*not more accurate* than the",
    "cheaper": "*as accurate with fewer forwards* than the",
}
_HEAD = """# Every way of decoding, measured

Made by `make systems`; changes are overwritten. The systems, what was tuned, their controls and
their claims stand in `benchmarks/systems.yaml`, which was committed before anything was measured;
the rows in `benchmarks/results/systems.json`.

All decode the same problems with the same noise, 64 tokens, and every forward is charged, of which
kind it may be. A setting is tuned on other problems: the most accurate one there, of equally
accurate ones the cheapest. Intervals are of 95 %: Wilson's of an accuracy, Student's of forwards,
and of a gain in accuracy that of resampled problems, which both sides have in common. A star says
that McNemar's test, corrected for all tests of the table (Holm), tells a gain from 0.

The last gains are over the most accurate setting of threshold, entropy bound and learned policy on
the tuning problems that needs no more forwards in all than the system does (where each needs more,
over the cheapest), as *gain to its accuracy @ its forwards*. Grids are coarse: a large gain over
something much cheaper says that there was no setting in between.

A claim was **seen** by these rules. *More accurate*: yes if interval and McNemar's test tell the
gain from 0, no if the interval ends below {margin}, else unclear; at equal forwards. *Not more
accurate* is its reverse. *As accurate with fewer forwards*, against the most accurate setting: yes
if forwards are saved for certain and the interval excludes a loss of {margin}, no if none are saved
or accuracy is lost for certain, else unclear. Where everything solves all problems nothing can be
more accurate.

![accuracy against forwards]({picture})

Lines are fronts of threshold and entropy bound, chosen on the tuning problems.
"""


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
        # What comes out again keeps the commit that it was measured with.
        same = all(old.get(name) == row[name] for name in _MEASURED)
        merged[key_of(row)] = row | {"commit": old["commit"] if same else row["commit"]}
    replace_file(file, (json.dumps([*merged.values()], indent=1) + "\n").encode())


def key_of(row: dict[str, Any]) -> tuple[str, ...]:
    """Return what tells a row from the others."""
    return row["denoiser"], row["task"], row["system"]


def write_page(page: Path, systems: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Write the page and its picture, of the same name."""
    cells: dict[str, list[dict[str, Any]]] = {}
    for name in systems:
        for row in rows:
            if row["system"] == name:
                cells.setdefault(f"{row['denoiser']}, {row['task']}", []).append(row)
    numbers = {name: place for place, name in enumerate(systems, 1)}
    _draw(page.with_suffix(".png"), cells, numbers)
    parts = [_HEAD.format(margin=MARGIN, picture=page.with_suffix(".png").name)]
    for name, mine in cells.items():
        sizes = sorted({row["problems"] for row in mine})
        parts.append(f"## {name}\n\nTest problems: {', '.join(map(str, sizes))}.\n")
        parts.append(_table(_TITLES, [_cells(numbers[row["system"]], row) for row in mine]))
    measured_ones = {row["system"] for row in rows}
    parts.append("## The systems\n")
    parts.append(_table(("", "system", "what it is here", "control", "claim, and what is tested"), [
        (str(numbers[name]), name, f"{one['what']} ({one['source']})", one["control"]["name"],
         _claim(**one["claim"]))
        for name, one in systems.items()
    ]))  # fmt: skip
    missing = [name for name in systems if name not in measured_ones]
    if missing:
        parts.append("## Not measured\n\nTables that are not above, and:\n")
        parts.append("".join(
            f"- {name}: {systems[name].get('needs', 'not yet')}\n" for name in missing
        ))  # fmt: skip
    page.write_text("\n".join(parts))


def _claim(text: str, expects: str, against: str) -> str:
    return f"{text} Tested: {_EXPECTS[expects]} {against}."


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(number: int, row: dict[str, Any]) -> list[str]:
    setting = ", ".join(f"{name} {value}" for name, value in row["setting"].items())
    accuracy = f"{row['accuracy']:.2f} ({row['ci_low']:.2f} to {row['ci_high']:.2f})"
    control, compared = row["control"], row["compared"]
    beside = [_compared(compared.get(name)) for name in RIVALS]
    return [
        str(number), row["system"], setting, accuracy, _forwards(row),
        f"{control['accuracy']:.2f} @ {_forwards(control)}", _gain(compared["control"]),
        *beside, row["seen"],
    ]  # fmt: skip


def _forwards(row: dict[str, Any]) -> str:
    kinds = {kind: mean for kind, mean in row["forwards"].items() if kind != "all"}
    low, high = row["forwards_ci"]["all"]
    total = f"{row['forwards']['all']:.1f}" + f" ({low:.1f} to {high:.1f})" * (high > low)
    parts = ", ".join(f"{kind} {mean:.1f}" for kind, mean in kinds.items())
    return total + f": {parts}" * (len(kinds) > 1)


def _compared(one: dict[str, Any] | None) -> str:
    return "" if one is None else f"{_gain(one)} to {one['accuracy']:.2f} @ {one['forwards']:.1f}"


def _gain(one: dict[str, Any]) -> str:
    value, low, high = one["gain"]
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f}){'*' * (one['corrected'] < SIGNIFICANT)}"


def _draw(file: Path, cells: dict[str, list[dict[str, Any]]], numbers: dict[str, int]) -> None:
    """Draw all systems in the plane of accuracy and forwards, one panel a cell."""
    figure = Figure(figsize=(6.5 * len(cells) + 2.8, 6), layout="constrained")
    drawn = {row["system"] for rows in cells.values() for row in rows}
    for axes, (name, rows) in zip(
        figure.subplots(1, max(len(cells), 1), squeeze=False).flat, cells.items(), strict=False
    ):
        for row in rows:
            x, y = row["forwards"]["all"], row["accuracy"]
            ends = [[y - row["ci_low"]], [row["ci_high"] - y]]
            colour = f"C{numbers[row['system']] % 10}"
            axes.errorbar(x, y, yerr=ends, fmt="o", color=colour, elinewidth=0.4, markersize=4)
            axes.annotate(
                str(numbers[row["system"]]), (x, y), xytext=(4, 3), textcoords="offset points",
                fontsize=8, color=colour,
            )  # fmt: skip
            if row["front"] and row["system"] in RIVALS:
                axes.plot(*zip(*row["front"], strict=True), color=colour, linewidth=0.8, alpha=0.6)
        axes.set(title=name, ylabel="accuracy", ylim=(-0.03, 1.04))
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel("forwards of all kinds a problem")
        axes.grid(alpha=0.3)
    words = "\n".join(f"{place} {name}" for name, place in numbers.items() if name in drawn)
    rest = 1 - 2.4 / figure.get_figwidth()
    figure.text(rest + 0.01, 0.5, words, fontsize=8, va="center")
    figure.get_layout_engine().set(rect=(0, 0, rest, 1))
    figure.savefig(file, dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    import yaml

    PLACE = ROOT / "benchmarks"
    write_page(
        ROOT / "docs" / "systems.md",
        yaml.safe_load((PLACE / "systems.yaml").read_text()),
        json.loads((PLACE / "results" / "systems.json").read_text()),
    )
