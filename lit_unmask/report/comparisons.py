"""Paired comparisons of policies with settings that other problems chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lit_unmask.report.methods import Method, Resampled, preference_key
from lit_unmask.report.results import Dataset, Result
from lit_unmask.report.statistics import Estimate, bootstrap_estimate, holm, paired_test

SIGNIFICANT = 0.05
# How the setting to compare with was chosen.
MATCHED, CHEAPEST = "matched NFE", "cheapest (all need more)"
MOST_ACCURATE, EVERY = "most accurate", "every setting"


@dataclass(frozen=True)
class Comparison:
    """One setting against another on the same problems.

    Attributes:
        first: The setting that is asked about.
        second: The one that it is compared with.
        rules: How the second was chosen, on the tuning problems.
        test: Name of the test of equal accuracy.
        p_value: Its two-sided p-value.
        corrected: The p-value after Holm's correction over all comparisons of a report.
        accuracy: Accuracy of the first minus that of the second.
        saved: Share of the second's forwards that the first does without; negative if it needs
            more.
    """

    first: Result
    second: Result
    rules: tuple[str, ...]
    test: str
    p_value: float
    corrected: float
    accuracy: Estimate
    saved: Estimate

    @property
    def is_different(self) -> bool:
        """Whether the accuracies differ, after the correction."""
        return self.corrected < SIGNIFICANT


def compare(
    dataset: Dataset, resampled: Resampled, subjects: Sequence[Method], others: Sequence[Method]
) -> list[Comparison]:
    """Compare each setting of the subjects with chosen settings of each other method."""
    return [
        _compare(dataset, resampled, (first, second), rules)
        for subject in subjects
        for first in subject.indices
        for other in others
        for second, rules in opponents(dataset, first, other)
    ]


def opponents(dataset: Dataset, first: int, method: Method) -> list[tuple[int, tuple[str, ...]]]:
    """Choose the settings of a method to compare with, without a look at a test verdict.

    Among the settings that were run on the tuning problems too, by their results there: the most
    accurate of those that need no more forwards than the first setting (the cheapest, if all need
    more), and the most accurate of all. The first setting's forwards are those on the tuning
    problems, or on the test problems if it was not run there; its verdicts play no part. A method
    without tuning results is compared setting by setting.

    Args:
        dataset: The results.
        first: Index of the test setting that is asked about.
        method: The method to compare it with.

    Returns:
        Indices of test settings, each with the rules that chose it.
    """
    tuned = {
        index: dataset.tuned[dataset.test[index].identity]
        for index in method.indices
        if dataset.test[index].identity in dataset.tuned
    }
    if not tuned:
        return [(index, (EVERY,)) for index in method.indices]
    subject = dataset.tuned.get(dataset.test[first].identity, dataset.test[first])
    within = [i for i in tuned if tuned[i].mean_nfe.value <= subject.mean_nfe.value]
    best = max(tuned, key=lambda i: preference_key(tuned[i]))
    if within:
        matched, rule = max(within, key=lambda i: preference_key(tuned[i])), MATCHED
    else:
        matched, rule = min(tuned, key=lambda i: tuned[i].mean_nfe.value), CHEAPEST
    if best == matched:
        return [(best, (rule, MOST_ACCURATE))]
    return [(matched, (rule,)), (best, (MOST_ACCURATE,))]


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons with p-values that are corrected for their number."""
    values = holm(np.array([comparison.p_value for comparison in comparisons]))
    return [replace(c, corrected=float(p)) for c, p in zip(comparisons, values, strict=True)]


def _compare(
    dataset: Dataset, resampled: Resampled, pair: tuple[int, int], rules: tuple[str, ...]
) -> Comparison:
    first, second = (dataset.test[index] for index in pair)
    accuracy, nfe = (values[list(pair)] for values in (resampled.accuracy, resampled.nfe))
    name, p_value = paired_test(first.correct, second.correct)
    gain, saved = accuracy[0] - accuracy[1], 1 - nfe[0] / nfe[1]
    return Comparison(
        first=first,
        second=second,
        rules=rules,
        test=name,
        p_value=p_value,
        corrected=p_value,
        accuracy=bootstrap_estimate(float(gain[0]), gain[1:]),
        saved=bootstrap_estimate(float(saved[0]), saved[1:]),
    )
