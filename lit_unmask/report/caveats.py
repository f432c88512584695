"""Sentences about what results say nothing about, and what to keep in mind."""

from __future__ import annotations

from collections.abc import Sequence

from lit_unmask.report.analysis import Analysis
from lit_unmask.report.comparisons import CHEAPEST, EVERY
from lit_unmask.report.methods import Method
from lit_unmask.report.tables import count

_FEW_PROBLEMS = 100


def caveats(analyses: Sequence[Analysis]) -> list[str]:
    """Write what a reader must keep in mind, each sentence once, with the datasets it is about."""
    said: dict[str, list[str]] = {}
    for analysis in analyses:
        for sentence in _of_dataset(analysis):
            said.setdefault(sentence, []).append(analysis.dataset.name)
    everyone = [analysis.dataset.name for analysis in analyses]
    return [_about(names, everyone) + sentence for sentence, names in said.items()]


def _about(names: Sequence[str], everyone: Sequence[str]) -> str:
    """Return which datasets a sentence is about, in the fewer words; nothing if it is all."""
    others = [name for name in everyone if name not in names]
    if not others:
        return ""
    if len(others) < len(names):
        return f"All but {'; '.join(others)}: "
    return f"{'; '.join(names)}: "


def _of_dataset(analysis: Analysis) -> list[str]:
    run = analysis.dataset.run
    learned = [method for method in analysis.subjects if method.kind == "learned"]
    return [
        *_training_seeds(learned),
        f"{count(len(analysis.dataset.test[0].runs), 'noise seed')} a problem. Problems are the "
        "units of intervals and tests. Intervals are 95 % ones, each for itself.",
        _selection(analysis),
        *_warnings(analysis),
        f"All of it is about {run.denoiser} on such problems with {run.gen_length} tokens. It says "
        "nothing about other denoisers, tasks and lengths.",
    ]


def _warnings(analysis: Analysis) -> list[str]:
    """Return what is out of the ordinary."""
    dataset, said = analysis.dataset, []
    if any(area.chosen_on_test for area in analysis.areas):
        said.append(
            "Areas marked with * pick the accuracies of their frontier among settings on the test "
            "problems themselves: they are too large, and their intervals do not hold."
        )
    if shared := len(set(dataset.uids) & set(dataset.tuning_uids)):
        said.append(
            f"Problems that are in both the tuning and the test set: {shared}. What was tuned on "
            "them has an unfair advantage."
        )
    if len(dataset.uids) < _FEW_PROBLEMS:
        said.append(f"{len(dataset.uids)} problems are few: only large differences can be found.")
    if any(setting.run.approximations for setting in dataset.test):
        said.append(
            "Some runs use approximate decoding; its partial forwards count as whole ones here."
        )
    if dataset.unfinished:
        said.append(f"Left out, as outcomes are missing: {'; '.join(dataset.unfinished)}.")
    return said


def _training_seeds(learned: Sequence[Method]) -> list[str]:
    """Say of how many training runs each policy is, of policies with as many in one sentence."""
    named: dict[int, list[str]] = {}
    for method in learned:
        named.setdefault(len(method.members), []).append(method.name)
    said = []
    for seeds, names in named.items():
        who, each = ", ".join(names), " each" * (len(names) > 1)
        if seeds == 1:
            said.append(
                f"{who}: one training seed{each}, which says nothing about the variance of "
                "training."
            )
        else:
            said.append(
                f"{who}: {seeds} training seeds{each}. Each comparison is about one of them, and "
                "no interval contains the variance of training."
            )
    return said


def _selection(analysis: Analysis) -> str:
    if not analysis.comparisons:
        return "No policies were compared: there is nothing to compare, or no subject."
    rules = {rule for comparison in analysis.comparisons for rule in comparison.rules}
    if rules == {EVERY}:
        return (
            "There are no tuning runs, so no setting was chosen: every setting was compared, and "
            "the p-values are corrected for all of them."
        )
    said = (
        f"Settings to compare with were chosen on {len(analysis.dataset.tuning_uids)} tuning "
        "problems among those that were run on both sets: at matched NFE the most accurate that "
        "needs no more forwards there, and the most accurate of all."
    )
    if CHEAPEST in rules:
        said += " Where all need more forwards, the cheapest stands in for the matched one."
    if EVERY in rules:
        said += " Methods without tuning runs were compared setting by setting."
    return said
