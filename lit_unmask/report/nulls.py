"""Null checks: what the tests of a report say where the answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from lit_unmask.report.reading import Setting
from lit_unmask.statistics import Array, paired_test

ALPHA = 0.05
# Policies of a dataset that are checked, the first setting of each: a check takes seconds.
_POLICIES = 4
_PROBLEMS = (100, 200)


@dataclass(frozen=True)
class Design:
    """How comparisons with a known answer are made.

    Attributes:
        problems: Problems drawn for each; None draws as many as there are.
        seeds: Noise seeds of each copy; None takes half of those that there are.
        drop: Accuracy taken from the worse copy, in ``[0, 1]``.
        comparisons: Comparisons of each kind.
        seed: Seed of the resampling.
    """

    problems: int | None = None
    seeds: int | None = None
    drop: float = 0.05
    comparisons: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class NullCheck:
    """How often comparisons with a known answer came out right.

    Attributes:
        design: How they were made.
        test: Name of the test.
        not_different: Share of comparisons of two copies of one policy without a difference.
        found: Share of comparisons with the worse copy that found it worse: the power.
    """

    design: Design
    test: str
    not_different: float
    found: float


@dataclass(frozen=True)
class PolicyChecks:
    """The null checks of one policy.

    Attributes:
        label: Its label.
        checks: Checks of rising size, the last with all problems and seeds.
        pairs: Pairs of noise seeds, each compared on all problems as they were run.
        different: Pairs that are different.
    """

    label: str
    checks: list[NullCheck]
    pairs: int
    different: int


def policy_checks(settings: Sequence[Setting]) -> list[PolicyChecks]:
    """Check those of the policies that have several noise seeds and accuracy enough to lose some.

    Args:
        settings: One setting a policy; the first four that can be checked are.
    """
    drop = Design.drop
    able = [
        setting
        for setting in settings
        if setting.correct.shape[1] > 1 and (setting.correct == 1).mean(0).min() > 4 * drop
    ]
    return [_policy_checks(setting) for setting in able[:_POLICIES]]


def _policy_checks(setting: Setting) -> PolicyChecks:
    problems, seeds = setting.correct.shape
    sizes = [*(size for size in _PROBLEMS if size < problems), problems]
    pairs = list(combinations(range(seeds), 2))
    p_values = [paired_test(setting.correct[:, [a]], setting.correct[:, [b]])[1] for a, b in pairs]
    return PolicyChecks(
        setting.label,
        [
            null_check(setting.correct, Design(size, dealt))
            for dealt in sorted({1, seeds // 2})
            for size in sizes
        ],
        len(pairs),
        sum(p_value < ALPHA for p_value in p_values),
    )


def null_check(correct: Array, design: Design = Design()) -> NullCheck:
    """Compare a policy with itself and with a worse copy, on resampled problems.

    In each comparison the problems are drawn with replacement, and the noise seeds of each problem
    are dealt to the two copies at random. (Two fixed seeds would differ by what they happen to
    differ, which resampling keeps.) The worse copy has right verdicts flipped to wrong ones. The
    test is that of the report's comparisons, :func:`~lit_unmask.statistics.paired_test`.

    Args:
        correct: ``[P, S]`` verdicts of one policy, S at least 2.
        design: How comparisons are made.

    Raises:
        ValueError: If there are too few seeds for two copies, or too few right verdicts to flip.
    """
    there, seeds = correct.shape
    problems, dealt = design.problems or there, design.seeds or seeds // 2
    if not 0 < 2 * dealt <= seeds:
        raise ValueError(
            f"a null check needs {max(2 * dealt, 2)} noise seeds of one policy, this has {seeds}"
        )
    rng, test = np.random.default_rng(design.seed), ""
    flips = round(design.drop * problems)
    same = found = 0
    for _ in range(design.comparisons):
        drawn = rng.permuted(correct[rng.integers(there, size=problems)], axis=1)
        one, two = drawn[:, :dealt], drawn[:, dealt : 2 * dealt].copy()
        test, p_value = paired_test(one, two)
        same += p_value >= ALPHA
        _make_worse(two, flips, rng)
        found += bool(one.mean() > two.mean() and paired_test(one, two)[1] < ALPHA)
    made = replace(design, problems=problems, seeds=dealt)
    return NullCheck(made, test, same / design.comparisons, found / design.comparisons)


def _make_worse(correct: Array, flips: int, rng: np.random.Generator) -> None:
    """Flip right verdicts ``[P, S]`` to wrong ones, in place, as many for each seed."""
    for verdicts in correct.T:
        right = np.flatnonzero(verdicts == 1)
        if len(right) < flips:
            raise ValueError(
                f"{flips} right verdicts are to be made wrong, there are {len(right)}; lower drop"
            )
        verdicts[rng.choice(right, flips, replace=False)] = 0
