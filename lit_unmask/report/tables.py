"""The tables of a report, as text cells."""

from __future__ import annotations

import numpy as np

from lit_unmask.report.analysis import Analysis, Spread
from lit_unmask.report.comparisons import Comparison
from lit_unmask.report.families import AREAS, FamilyAreas
from lit_unmask.report.nulls import Design, NullCheck, PolicyChecks
from lit_unmask.report.numbers import interval_text, number, p_text, points, with_interval
from lit_unmask.report.reading import Setting
from lit_unmask.report.table import Table

# Rows up to which tables are open that the summary stands for.
_DETAIL_ROWS = 20


def tables(analysis: Analysis) -> list[Table]:
    """Return the tables of one dataset that have rows."""
    made = [
        settings_table(analysis),
        comparisons_table(analysis),
        areas_table(analysis),
        differences_table(analysis),
        spreads_table(analysis),
        null_table(analysis),
    ]
    return [table for table in made if table.rows]


def settings_table(analysis: Analysis) -> Table:
    """Return accuracy and cost of every setting on the test problems."""
    test = sorted(analysis.dataset.test, key=_order)
    return Table(
        title=f"Results on {len(analysis.dataset.uids)} test problems",
        note="BL: block length. NFE: denoiser forwards a problem. Learned policies are bold.",
        columns=[
            *("policy", "BL", "accuracy", "95 % interval", "NFE", "95 % interval"),
            *("tokens/forward", "still masked"),
        ],
        rows=[_setting_cells(setting) for setting in test],
        strong=frozenset(i for i, setting in enumerate(test) if setting.run.kind == "learned"),
    )


def tuning_table(analysis: Analysis) -> Table:
    """Return accuracy and cost of every setting on the tuning problems."""
    tuning = sorted(analysis.dataset.tuning, key=_order)
    return Table(
        title=f"Results on {len(analysis.dataset.tuning_uids)} tuning problems",
        note="They choose settings. Nothing is claimed about them.",
        columns=settings_table(analysis).columns,
        rows=[_setting_cells(setting) for setting in tuning],
    )


def _order(setting: Setting) -> tuple[bool, str, float]:
    return setting.run.kind != "learned", setting.family, setting.mean_nfe.value


def _setting_cells(setting: Setting) -> list[str]:
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
    verdict = "not told apart"
    if comparison.is_different:
        verdict = "more accurate" if comparison.accuracy.value > 0 else "less accurate"
    return [
        comparison.first.label,
        comparison.second.label,
        ", ".join(comparison.rules),
        points(comparison.accuracy),
        f"{number(comparison.saved.value * 100, 0)} ({interval_text(comparison.saved, 0, 100)})",
        p_text(comparison.p_value).removeprefix("p = ").removeprefix("p "),
        p_text(comparison.corrected).removeprefix("p = ").removeprefix("p "),
        verdict,
    ]


def areas_table(analysis: Analysis) -> Table:
    """Return the areas under the frontier of each family."""
    length = analysis.dataset.run.gen_length
    return Table(
        title="Hypervolume and area under the frontier",
        note=f"Mean accuracy within reach, over budgets from 0 to {length} forwards (hypervolume, "
        f"reference point: accuracy 0 at {length} forwards) and over their logarithm from 1 to "
        f"{length} (every halving counts alike). At each budget the setting that the tuning "
        "problems prefer is used. 95 % intervals from resampled problems. Of several training "
        "seeds, the mean. * chosen on the test problems: too large.",
        columns=["family", "training seeds", "settings", *AREAS],
        rows=[_area_cells(areas) for areas in analysis.areas],
        strong=frozenset(i for i, a in enumerate(analysis.areas) if a.family.kind == "learned"),
    )


def _area_cells(areas: FamilyAreas) -> list[str]:
    family, star = areas.family, " *" if areas.chosen_on_test else ""
    return [
        family.name + star,
        str(len(family.members)) if family.kind == "learned" else "",
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
                difference.first.family.name,
                difference.second.family.name + " *" * difference.second.chosen_on_test,
                *(with_interval(difference.differences[name], 3) for name in AREAS),
            ]
            for difference in analysis.differences
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
    accuracy = (
        np.mean(spread.accuracy), spread.accuracy_deviation,
        min(spread.accuracy), max(spread.accuracy),
    )  # fmt: skip
    return [
        spread.family,
        str(spread.block_length),
        str(len(spread.seeds)),
        *(number(float(value), 3) for value in accuracy),
        number(float(np.mean(spread.nfe)), 1),
        number(spread.nfe_deviation, 1),
    ]


def null_table(analysis: Analysis) -> Table:
    """Return what the tests say of copies of a policy, where the answer is known."""
    drop = f"{Design.drop * 100:.0f}"
    note = (
        "The tests of this report where the answer is known, on verdicts of real runs. Two copies: "
        "problems are drawn with replacement, and their noise seeds are dealt to two copies of one "
        "policy. Worse copy: in one of them right verdicts are made wrong, at random, for "
        f"{drop} % of the problems. Tests at the 5 % level should leave about 95 % of equal copies "
        "alone. Different policies agree on fewer problems than copies do, so that the same "
        "difference between them is found less often."
    )
    for policy in analysis.null_checks:
        note += (
            f" {policy.label}, whole runs of single noise seeds against each other: "
            f"{policy.different} of {policy.pairs} pairs differ."
        )
    return Table(
        title="Null check: what the tests say where the answer is known",
        note=note,
        columns=[
            *("policy", "test", "problems", "noise seeds a copy", "comparisons"),
            *("two copies: not different", f"worse by {drop} points: found"),
        ],
        rows=[_null_cells(p, check) for p in analysis.null_checks for check in p.checks],
        names=2,
    )


def _null_cells(policy: PolicyChecks, check: NullCheck) -> list[str]:
    design = check.design
    return [
        policy.label,
        check.test,
        *(str(number_of) for number_of in (design.problems, design.seeds, design.comparisons)),
        f"{check.not_different * 100:.1f} %",
        f"{check.found * 100:.1f} %",
    ]
