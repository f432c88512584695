"""The short answer for each policy: the strongest opponents, who is more accurate, and the cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lit_unmask.report.analysis import Analysis
from lit_unmask.report.comparisons import CHEAPEST, EVERY, MATCHED, MOST_ACCURATE, Comparison
from lit_unmask.report.methods import Method, preference_key
from lit_unmask.report.results import Dataset
from lit_unmask.report.tables import Table, count, interval_text, number, points, signed, verdict

_QUESTIONS = {
    "at matched NFE": (MATCHED, CHEAPEST),
    "most accurate": (MOST_ACCURATE,),
    "every setting": (EVERY,),
}
# Opponents of a policy with several settings that are named in one cell.
_NAMED = 2


@dataclass(frozen=True)
class Answer:
    """What one question about one policy comes to.

    Attributes:
        method: The policy.
        question: How opponents were chosen.
        comparisons: One for each setting of the policy, or each with every setting of the others
            if nothing was tuned.
    """

    method: Method
    question: str
    comparisons: list[Comparison]


def answers(analysis: Analysis) -> Iterator[Answer]:
    """Iterate over the questions that have an answer, policy by policy.

    Of the settings that the tuning problems chose, one of each method, that of the highest accuracy
    on the tuning problems is taken; no verdict on a test problem has a say.
    """
    for method in analysis.subjects:
        for question, rules in _QUESTIONS.items():
            found: list[Comparison] = []
            for index in method.indices:
                label = analysis.dataset.test[index].label
                mine = [c for c in analysis.comparisons if c.first.label == label]
                found += _strongest(analysis.dataset, mine, rules)
            if found:
                yield Answer(method, question, found)


def _strongest(
    dataset: Dataset, comparisons: Sequence[Comparison], rules: Sequence[str]
) -> list[Comparison]:
    for rule in rules:
        some = [comparison for comparison in comparisons if rule in comparison.rules]
        if rule == EVERY or not some:
            continue
        best = max(some, key=lambda c: preference_key(dataset.tuned[c.second.identity]))
        return [best]
    return [c for c in comparisons if EVERY in c.rules and EVERY in rules]


def summary_table(analysis: Analysis, together: int) -> Table:
    """Return one row for each policy and question.

    Args:
        analysis: The numbers of one dataset.
        together: Comparisons of the report, for which p-values are corrected.
    """
    found = list(answers(analysis))
    tests = " and ".join(dict.fromkeys(c.test for one in found for c in one.comparisons))
    return Table(
        title="In short",
        note="Each policy beside its strongest tuned opponents: the most accurate that needs no "
        "more forwards (or, where all need more, of the cheapest of each kind), and the most "
        "accurate of all, on the tuning problems. With 95 % intervals; of several settings or "
        f"training seeds, the lowest to the highest. Verdicts on accuracy: {tests}, corrected "
        f"for {together} comparisons (Holm).",
        columns=[
            *("policy", "opponent", "which is", "the policy is", "accuracy, difference in points"),
            "fewer forwards, %",
        ],
        rows=[_cells(one) for one in found],
        names=4,
        open_rows=80,
    )


def _cells(answer: Answer) -> list[str]:
    group = answer.comparisons
    if len(group) == 1:
        [one] = group
        rule = next(rule for rule in _QUESTIONS[answer.question] if rule in one.rules)
        saved = f"{number(one.saved.value * 100, 0)} ({interval_text(one.saved, 0, 100)})"
        return [
            *(one.first.label, one.second.label, rule),
            *(verdict(one), points(one.accuracy), saved),
        ]
    gains = [comparison.accuracy.value * 100 for comparison in group]
    saved_shares = [comparison.saved.value * 100 for comparison in group]
    verdicts = [verdict(comparison) for comparison in group]
    said = [f"{one} in {verdicts.count(one)}" for one in dict.fromkeys(verdicts)]
    return [
        f"{answer.method.name} ({_members(answer.method)})",
        _opponents(group),
        answer.question,
        f"{', '.join(said)} of {len(group)}",
        f"{signed(min(gains), 1)} to {signed(max(gains), 1)}",
        f"{number(min(saved_shares), 0)} to {number(max(saved_shares), 0)}",
    ]


def _members(method: Method) -> str:
    seeds, settings = len(method.members), len(method.indices)
    parts = [count(seeds, "training seed")] if seeds > 1 else []
    if settings > seeds:
        parts.append(count(settings, "setting"))
    return ", ".join(parts) or "1 setting"


def _opponents(group: Sequence[Comparison]) -> str:
    labels = list(dict.fromkeys(comparison.second.label for comparison in group))
    more = f" and {len(labels) - _NAMED} more" * (len(labels) > _NAMED)
    return "; ".join(labels[:_NAMED]) + more
