"""The tables of a report as text cells, of which every format can be made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from lit_unmask import __version__
from lit_unmask.report.analysis import Analysis, Options, Spread
from lit_unmask.report.comparisons import Comparison
from lit_unmask.report.methods import AREAS, MethodAreas
from lit_unmask.report.results import Dataset, Result
from lit_unmask.report.statistics import Estimate

_ORIGIN = "Where the numbers come from"
_DETAIL_ROWS = 20  # up to which tables are open that the summary stands for


@dataclass(frozen=True)
class Table:
    """A table that any format can be made of.

    Attributes:
        title: What it shows.
        note: What one must know to read it; may be empty.
        columns: Heads of the columns.
        rows: Cells, one list a row.
        names: Number of columns, from the left, that hold names and not numbers.
        strong: Numbers of the rows that stand out.
        open_rows: Rows up to which it is open in a page; a longer one has to be unfolded.
    """

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]
    names: int = 1
    strong: frozenset[int] = frozenset()
    open_rows: int = 60

    @property
    def is_folded(self) -> bool:
        """Whether it is so long that a page shows its title alone at first."""
        return len(self.rows) > self.open_rows


def p_text(value: float) -> str:
    """Write a p-value, for instance ``0.0004`` or ``< 0.0001``."""
    if value < 1e-4:
        return "< 0.0001"
    return f"{value:.4f}" if value < 0.01 else f"{value:.2f}"


def interval_text(estimate: Estimate, digits: int, scale: float = 1) -> str:
    """Write the ends of an interval, ``4.1 to 12.6``."""
    if math.isnan(estimate.low):
        return "unknown"
    return f"{number(estimate.low * scale, digits)} to {number(estimate.high * scale, digits)}"


def number(value: float, digits: int) -> str:
    """Write a number with a true minus sign and without a negative zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def signed(value: float, digits: int) -> str:
    """Write a number with its sign, unless it is zero."""
    return "+" * (round(value, digits) > 0) + number(value, digits)


def points(estimate: Estimate) -> str:
    """Write a difference of shares in percentage points, with its interval."""
    return f"{signed(estimate.value * 100, 1)} ({interval_text(estimate, 1, 100)})"


def with_interval(estimate: Estimate, digits: int) -> str:
    """Write a number and its interval, ``0.740 (0.675 to 0.796)``."""
    return f"{number(estimate.value, digits)} ({interval_text(estimate, digits)})"


def count(number_of: int, noun: str) -> str:
    """Write a number of things, ``1 run`` or ``2 runs``."""
    return f"{number_of} {noun}{'' if number_of == 1 else 's'}"


def tables(analysis: Analysis) -> list[Table]:
    """Return the tables of one dataset that have rows."""
    dataset = analysis.dataset
    made = [
        _settings_table(
            f"Results on {len(dataset.uids)} test problems",
            "BL: block length. NFE: denoiser forwards a problem. Learned policies are bold.",
            dataset.test,
        ),
        comparisons_table(analysis),
        areas_table(analysis),
        differences_table(analysis),
        spreads_table(analysis),
        _origin_table(dataset),
    ]
    return [table for table in made if table.rows]


def tuning_table(analysis: Analysis) -> Table:
    """Return accuracy and cost of every setting on the tuning problems."""
    return _settings_table(
        f"Results on {len(analysis.dataset.tuning_uids)} tuning problems",
        "They choose settings. Nothing is claimed about them.",
        analysis.dataset.tuning,
    )


def _settings_table(title: str, note: str, settings: Sequence[Result]) -> Table:
    ordered = sorted(settings, key=_order)
    columns = ["policy", "BL", "accuracy", "95 % interval", "NFE", "95 % interval"]
    columns += ["tokens/forward", "still masked"]
    strong = frozenset(i for i, setting in enumerate(ordered) if setting.run.kind == "learned")
    return Table(title, note, columns, [_setting_cells(s) for s in ordered], strong=strong)


def _order(setting: Result) -> tuple[bool, str, float]:
    return setting.run.kind != "learned", setting.method, setting.mean_nfe.value


def _setting_cells(setting: Result) -> list[str]:
    return [
        setting.label.replace(f", BL {setting.run.block_length}", "", 1),
        str(setting.run.block_length),
        number(setting.accuracy.value, 3),
        interval_text(setting.accuracy, 3),
        number(setting.mean_nfe.value, 1),
        interval_text(setting.mean_nfe, 1),
        number(setting.tokens_per_forward, 2),
        f"{setting.still_masked.mean() * 100:.1f} %",
    ]


def comparisons_table(analysis: Analysis) -> Table:
    """Return the paired comparisons."""
    tests = " and ".join(dict.fromkeys(c.test for c in analysis.comparisons))
    return Table(
        title="Paired comparisons on the same problems",
        note="Accuracy of the first minus that of the second, in points, and percent of the "
        "forwards that the first does without, with 95 % bootstrap intervals. p-values are those "
        f"of the exact {tests}, the second corrected for all comparisons of the report (Holm).",
        columns=[
            *("first", "second", "chosen as", "accuracy", "fewer forwards, %", "p", "p, Holm"),
            "first is",
        ],
        rows=[_comparison_cells(comparison) for comparison in analysis.comparisons],
        names=3,
        open_rows=_DETAIL_ROWS,
    )


def _comparison_cells(comparison: Comparison) -> list[str]:
    return [
        comparison.first.label,
        comparison.second.label,
        ", ".join(comparison.rules),
        points(comparison.accuracy),
        f"{number(comparison.saved.value * 100, 0)} ({interval_text(comparison.saved, 0, 100)})",
        p_text(comparison.p_value),
        p_text(comparison.corrected),
        verdict(comparison),
    ]


def verdict(comparison: Comparison) -> str:
    """Say how accurate the first is beside the second."""
    if not comparison.is_different:
        return "not told apart"
    return "more accurate" if comparison.accuracy.value > 0 else "less accurate"


def areas_table(analysis: Analysis) -> Table:
    """Return the areas under the frontier of each method."""
    length = analysis.dataset.run.gen_length
    return Table(
        title="Hypervolume and area under the frontier",
        note=f"Mean accuracy within reach, over budgets from 0 to {length} forwards (hypervolume, "
        f"reference point: accuracy 0 at {length} forwards) and over their logarithm from 1 to "
        f"{length} (every halving counts alike). At each budget the setting that the tuning "
        "problems prefer is used. 95 % intervals from resampled problems. Of several training "
        "seeds, the mean. * chosen on the test problems: too large.",
        columns=["method", "training seeds", "settings", *AREAS],
        rows=[_area_cells(areas) for areas in analysis.areas],
        strong=frozenset(i for i, a in enumerate(analysis.areas) if a.method.kind == "learned"),
    )


def _area_cells(areas: MethodAreas) -> list[str]:
    method, star = areas.method, " *" if areas.chosen_on_test else ""
    return [
        method.name + star,
        str(len(method.members)) if method.kind == "learned" else "",
        str(areas.settings),
        *(with_interval(areas.areas[name], 3) for name in AREAS),
    ]


def differences_table(analysis: Analysis) -> Table:
    """Return how much more area the subjects have than the others."""
    return Table(
        title="Differences of areas",
        note="First minus second on the same resampled problems, with 95 % intervals that are not "
        "corrected for the number of comparisons.",
        columns=["first", "second", *AREAS],
        rows=[
            [
                one.first.method.name,
                one.second.method.name + " *" * one.second.chosen_on_test,
                *(with_interval(one.differences[name], 3) for name in AREAS),
            ]
            for one in analysis.differences
        ],
        names=2,
        open_rows=_DETAIL_ROWS,
    )


def spreads_table(analysis: Analysis) -> Table:
    """Return how policies vary over training seeds."""
    return Table(
        title="Training seeds",
        note="SD: standard deviation over training seeds.",
        columns=[
            *("policy", "BL", "training seeds", "accuracy, mean", "SD", "lowest", "highest"),
            *("NFE, mean", "SD"),
        ],
        rows=[_spread_cells(spread) for spread in analysis.spreads],
    )


def _spread_cells(spread: Spread) -> list[str]:
    accuracy, nfe = spread.accuracy, spread.nfe
    return [
        *(spread.method, str(spread.block_length), str(len(accuracy))),
        *(number(value, 3) for value in (mean(accuracy), stdev(accuracy))),
        *(number(value, 3) for value in (min(accuracy), max(accuracy))),
        *(number(value, 1) for value in (mean(nfe), stdev(nfe))),
    ]


@dataclass(frozen=True)
class Provenance:
    """What made a report.

    Attributes:
        stores: Folders of the stores, as they were given.
        commands: Commands that made the stores and the report.
        options: How it was computed.
    """

    stores: Sequence[str]
    commands: Sequence[str]
    options: Options


def provenance_table(provenance: Provenance) -> Table:
    """Return the stores, commands and versions behind the numbers."""
    rows = [["store", store] for store in provenance.stores]
    rows += [["command", command] for command in provenance.commands]
    rows += [
        ["bootstrap", f"{provenance.options.resamples} resamples, seed {provenance.options.seed}"],
        ["lit_unmask", __version__],
    ]
    return Table(_ORIGIN, "", ["what", "value"], rows, names=2)


def _origin_table(dataset: Dataset) -> Table:
    run = dataset.run
    values = {
        "denoiser": run.denoiser,
        "test problems": _problems(dataset.test, dataset.uids),
        "tuning problems": _problems(dataset.tuning, dataset.tuning_uids),
        "generation length": f"{run.gen_length} tokens",
        "token temperature": f"{run.temperature:g}",
        "noise seeds": ", ".join(str(one.seed) for one in dataset.test[0].runs),
    }
    rows = [[name, value] for name, value in values.items()]
    return Table(_ORIGIN, "", ["what", "value"], rows, names=2)


def _problems(settings: Sequence[Result], uids: Sequence[str]) -> str:
    if not settings:
        return "none"
    runs = sum(len(setting.runs) for setting in settings)
    return f"{len(uids)}, fingerprint {settings[0].run.problems}; {runs} runs"
