"""Sentences that say what the results allow to claim, and what they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lit_unmask.report.analysis import Analysis, Spread
from lit_unmask.report.comparisons import CHEAPEST, EVERY, MATCHED, MOST_ACCURATE, Comparison
from lit_unmask.report.families import ALL_HEURISTICS, AreaDifference
from lit_unmask.report.limits import limits
from lit_unmask.report.nulls import PolicyChecks
from lit_unmask.report.numbers import count, interval_text, number, p_text, signed, with_interval
from lit_unmask.statistics import Estimate

# From here on, forwards are told as a multiple and not in percent more.
_MULTIPLE = 2.0
# Rules that ask the same question, and how the settings that they choose are called.
_QUESTIONS = {
    (MATCHED, CHEAPEST): "at matched NFE (or its cheapest setting, where all need more)",
    (MOST_ACCURATE,): "in its most accurate setting",
    (EVERY,): "in each of its settings",
}


@dataclass(frozen=True)
class Claims:
    """What can be said about one dataset.

    Attributes:
        supported: What the results show, differences that were looked for and not found included.
        limits: What they say nothing about, and what to keep in mind.
    """

    supported: list[str]
    limits: list[str]


def claims(analysis: Analysis, comparisons_in_report: int) -> Claims:
    """Write the sentences about one dataset.

    Args:
        analysis: Its numbers.
        comparisons_in_report: Comparisons that p-values were corrected for.
    """
    supported = _comparison_sentences(analysis.comparisons, comparisons_in_report)
    supported += [
        _area_sentence(analysis, difference)
        for difference in analysis.differences
        if difference.second.family.name == ALL_HEURISTICS
    ]
    supported += [_spread_sentence(spread) for spread in analysis.spreads]
    supported += [_null_sentence(checks) for checks in analysis.null_checks]
    if not analysis.comparisons:
        supported.append("No policies were compared: there is nothing to compare, or no subject.")
    return Claims(supported, limits(analysis))


def _comparison_sentences(comparisons: Sequence[Comparison], together: int) -> list[str]:
    """Write one sentence a comparison, or one a question where a policy has several answers."""
    pairs: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in comparisons:
        pair = (comparison.first.family, comparison.second.family)
        pairs.setdefault(pair, []).append(comparison)
    sentences = []
    for group in pairs.values():
        several = len({comparison.first.label for comparison in group}) > 1
        if several or all(EVERY in comparison.rules for comparison in group):
            answers = [[c for c in group if set(c.rules) & set(rules)] for rules in _QUESTIONS]
            for question, some in zip(_QUESTIONS.values(), answers, strict=True):
                if len(some) > 1:
                    sentences.append(_group_sentence(question, some, together))
                else:
                    sentences += [comparison_sentence(one, together) for one in some]
        else:
            sentences += [comparison_sentence(comparison, together) for comparison in group]
    return sentences


def _group_sentence(question: str, group: Sequence[Comparison], together: int) -> str:
    first, second = group[0].first.family, group[0].second.family
    different = [comparison for comparison in group if comparison.is_different]
    more = sum(comparison.accuracy.value > 0 for comparison in different)
    counts = {
        "more accurate": more,
        "less accurate": len(different) - more,
        "not told apart": len(group) - len(different),
    }
    said = ", ".join(f"{verdict} in {times}" for verdict, times in counts.items() if times)
    gains = [comparison.accuracy.value * 100 for comparison in group]
    shares = [(1 - comparison.saved.value) * 100 for comparison in group]
    return (
        f"{first} against {second} {question}, on the same "
        f"{count(group[0].problems, 'problem')}: of {len(group)} comparisons, {said} "
        f"({group[0].test}, Holm over {together}), by {signed(min(gains), 1)} to "
        f"{signed(max(gains), 1)} points, with {number(min(shares), 0)} to "
        f"{number(max(shares), 0)} % of the forwards."
    )


def comparison_sentence(comparison: Comparison, together: int) -> str:
    """Say who is more accurate by how much, and at what cost; or that nothing can be told."""
    first, second = comparison.first.label, comparison.second.label
    size = Estimate(*(abs(value) * 100 for value in vars(comparison.accuracy).values()))
    if comparison.accuracy.value < 0:
        size = Estimate(size.value, size.high, size.low)
    after = f" after Holm over {together} comparisons" if together > 1 else ""
    evidence = f"{comparison.test}, {p_text(comparison.corrected)}{after}"
    where = f"on the same {count(comparison.problems, 'problem')}"
    if comparison.is_different:
        more = "more" if comparison.accuracy.value > 0 else "less"
        said = (
            f"{first} is {more} accurate than {second} {where} by {number(size.value, 1)} points "
            f"(95 % interval {interval_text(size, 1)}, {evidence}), {_forwards(comparison)}"
        )
    else:
        said = (
            f"{first} and {second} cannot be told apart in accuracy {where}: "
            f"{signed(comparison.accuracy.value * 100, 1)} points "
            f"(95 % interval {interval_text(comparison.accuracy, 1, 100)}, {evidence}); "
            f"{first} runs {_forwards(comparison)}"
        )
    return f"{said} [{', '.join(comparison.rules)}]."


def _forwards(comparison: Comparison) -> str:
    saved = comparison.saved
    if saved.low > 0:
        percent = interval_text(saved, 0, 100)
        return f"at {number(saved.value * 100, 0)} % fewer forwards ({percent})"
    more = Estimate(-saved.value, -saved.high, -saved.low)
    if more.low > 0 and more.value + 1 >= _MULTIPLE:
        times = Estimate(*(value + 1 for value in vars(more).values()))
        return f"at {number(times.value, 1)} times the forwards ({interval_text(times, 1)})"
    if more.low > 0:
        percent = interval_text(more, 0, 100)
        return f"at {number(more.value * 100, 0)} % more forwards ({percent})"
    return f"with forwards that cannot be told apart ({interval_text(more, 0, 100)} % more)"


def _area_sentence(analysis: Analysis, difference: AreaDifference) -> str:
    gain = difference.differences["hypervolume"]
    family = difference.first.family
    verdict = "which cannot be told apart from that of"
    if gain.excludes_zero:
        verdict = f"{'more' if gain.value > 0 else 'less'} than"
    share = with_interval(difference.first.areas["hypervolume"], 3)
    mean = f", on average over {len(family.members)} training seeds" * (len(family.members) > 1)
    return (
        f"Over all budgets up to {analysis.dataset.run.gen_length} forwards, {family.name} has a "
        f"hypervolume of {share}{mean}, {verdict} all heuristics together: difference "
        f"{number(gain.value, 3)} (95 % interval {interval_text(gain, 3)}, not corrected for the "
        "number of comparisons)."
    )


def _spread_sentence(spread: Spread) -> str:
    low, high = min(spread.accuracy), max(spread.accuracy)
    return (
        f"{spread.family}, BL {spread.block_length}: over {len(spread.seeds)} training seeds the "
        f"accuracy lies between {low:.3f} and {high:.3f} (standard deviation "
        f"{spread.accuracy_deviation:.3f}) and the mean NFE between {min(spread.nfe):.1f} and "
        f"{max(spread.nfe):.1f} (standard deviation {spread.nfe_deviation:.1f})."
    )


def _null_sentence(policy: PolicyChecks) -> str:
    check = policy.checks[-1]
    design = check.design
    same, found = f"{check.not_different * 100:.1f} %", f"{check.found * 100:.1f} %"
    return (
        f"Null check: two copies of {policy.label} with {count(design.seeds or 0, 'noise seed')} "
        f"each, on {count(design.problems or 0, 'problem')}, are not different in {same} of "
        f"{design.comparisons} resampled comparisons ({check.test}); a copy made worse by "
        f"{design.drop * 100:.0f} points is found in {found} of them."
    )
