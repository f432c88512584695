"""The report's tests leave copies of a policy alone and find the copy that was made worse."""

import numpy as np
import pytest

from lit_unmask.report.statistics import paired_test

ALPHA, DROP = 0.05, 0.05


def verdicts(problems, seeds, accuracy=0.7, spread=2.0):
    """Draw 0/1 verdicts ``[P, S]``: problems differ in how hard they are, seeds are independent."""
    rng = np.random.default_rng(seeds)
    solved = rng.beta(accuracy * spread, (1 - accuracy) * spread, size=(problems, 1))
    return (rng.random((problems, seeds)) < solved).astype(float)


def rates(correct, seeds, comparisons, problems=None):
    """Return how often two copies are not different, and how often a worse copy is found.

    Problems are drawn with replacement and their noise seeds dealt to two copies at random. In the
    worse one right verdicts are made wrong, for 5 % of the problems.
    """
    rng, size = np.random.default_rng(1), problems or len(correct)
    same = found = 0
    for _ in range(comparisons):
        drawn = rng.permuted(correct[rng.integers(len(correct), size=size)], axis=1)
        one, two = drawn[:, :seeds], drawn[:, seeds : 2 * seeds].copy()
        same += paired_test(one, two)[1] >= ALPHA
        for column in two.T:
            column[rng.choice(np.flatnonzero(column == 1), round(DROP * size), False)] = 0
        found += one.mean() > two.mean() and paired_test(one, two)[1] < ALPHA
    return same / comparisons, found / comparisons


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_two_copies_of_a_policy_are_not_different_in_95_of_100_comparisons(seeds):
    assert 0.93 <= rates(verdicts(500, 2 * seeds), seeds, 400)[0] <= 0.985


def test_five_points_less_are_found_with_enough_seeds_and_problems():
    correct = verdicts(500, 16)
    power = [rates(correct, seeds, 100)[1] for seeds in (1, 2, 4, 8)]
    assert power == sorted(power)
    assert power[0] >= 0.3 and power[1] >= 0.6 and power[2] >= 0.9 and power[3] >= 0.99
    assert rates(correct, 4, 100, problems=50)[1] < power[2]


def test_five_points_less_of_the_same_verdicts_are_always_found():
    # A deterministic policy: the noise seeds change nothing.
    assert rates(verdicts(500, 1).repeat(2, axis=1), 1, 100) == (1, 1)
