"""Intervals and fronts against numbers by hand."""

import math

import pytest

from lit_unmask.evaluation.points import (
    Point,
    cheapest_within_interval,
    pareto_front,
    wilson_interval,
)


def point(accuracy, nfe, name="rule"):
    low, high = accuracy - 0.1, accuracy + 0.1
    return Point(name, "heuristic", {}, 8, accuracy, low, high, nfe, 1.0, 100, 0, 1.0)


def wilson(successes, total, z=1.959963984540054):
    share = successes / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total)
    half *= math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return centre - half, centre + half


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (5, 10), (10, 10), (437, 500), (1, 1)])
def test_intervals_are_those_of_wilsons_formula(successes, total):
    assert wilson_interval(successes / total, total) == pytest.approx(
        wilson(successes, total), abs=1e-9
    )


def test_the_interval_of_half_of_ten_by_hand():
    assert wilson_interval(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_the_front_holds_what_no_other_beats():
    a, b, c, d = point(0.5, 4), point(0.7, 6), point(0.6, 8), point(0.9, 20)
    twin, worse = point(0.5, 4, "twin"), point(0.4, 4)
    assert pareto_front([d, c, worse, b, a, twin]) == [a, b, d]


def test_equal_accuracy_at_more_forwards_is_not_on_the_front():
    assert pareto_front([point(0.5, 8), point(0.5, 4)]) == [point(0.5, 4)]
    assert pareto_front([]) == []


def test_the_cheapest_reaches_the_lower_end_of_the_interval():
    target = point(0.8, 10)
    below, edge, above = point(0.69, 3), point(target.ci_low, 6), point(0.95, 9)
    assert cheapest_within_interval([below, above, edge], target) is edge
    assert cheapest_within_interval([below], target) is None
    assert cheapest_within_interval([], target) is None
