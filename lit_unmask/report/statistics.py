"""Paired tests, intervals and frontier areas, with problems as the units of all uncertainty.

Every policy is run on the same problems, so that differences are taken problem by problem. Several
noise seeds of one problem are not independent of each other; they stay together as one unit.
Array shapes: **P** problems, **S** noise seeds, **R** settings, **B** bootstrap resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from lit_unmask.evaluation.points import wilson_interval

Array = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 2000
# Verdicts are shares of few tests; differences are looked for on grids up to this fineness.
_FINEST_GRID = 120
_PERMUTATIONS = 9999
# Verdicts of float32 arithmetic are off their grid by less.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Estimate:
    """A number with the interval that it is reported with.

    Attributes:
        value: The number itself.
        low: Lower end of the 95 % interval; NaN if the data cannot say.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def accuracy_estimate(correct: Array) -> Estimate:
    """Return the accuracy with a Wilson interval.

    With several seeds the interval is that of the number of independent verdicts that would vary
    as much: at least **P**, at most **P** times **S** (design effect; Korn and Graubard 1998).

    Args:
        correct: ``[P, S]`` verdicts in ``[0, 1]``.
    """
    problems, seeds = correct.shape
    share = float(correct.mean())
    variance = float(correct.mean(1).var(ddof=1)) / problems if problems > 1 else 0.0
    independent = share * (1 - share) / variance if variance else 0.0
    count = min(max(independent, problems), problems * seeds)
    return Estimate(share, *wilson_interval(share, count))


def mean_estimate(values: Array) -> Estimate:
    """Return the mean of ``[P]`` values with Student's interval; its ends are NaN if P is 1."""
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, np.nan, np.nan)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * stats.sem(values))
    return Estimate(mean, mean - half, mean + half)


def mcnemar(first: Array, second: Array) -> float:
    """Return the two-sided p-value of the exact McNemar test on paired verdicts.

    Args:
        first: ``[P]`` verdicts, 0 or 1.
        second: ``[P]`` verdicts of another policy on the same problems.

    Raises:
        ValueError: If a verdict is neither 0 nor 1.
    """
    for verdicts in (first, second):
        if not np.isin(verdicts, (0, 1)).all():
            raise ValueError("McNemar's test needs verdicts of 0 or 1; use sign_flip_test")
    only_first, only_second = int((first > second).sum()), int((first < second).sum())
    fewer, together = min(only_first, only_second), only_first + only_second
    # Coins are symmetric, so both tails weigh the same.
    return min(2 * float(special.bdtr(fewer, together, 0.5)), 1.0)


def sign_flip_test(difference: Array) -> float:
    """Return the two-sided p-value of the sign-flip test that paired differences have mean 0.

    If two policies do not differ, each problem's difference is as likely with the other sign. The
    distribution over all flips is computed exactly where the differences lie on a grid, as means of
    few 0/1 verdicts do, else from random flips. With one verdict a problem it is McNemar's test.

    Args:
        difference: ``[P]`` differences of problem means.
    """
    size = np.abs(difference)
    fineness = _grid(size)
    if fineness is None:
        flips = stats.permutation_test(
            (difference,), np.mean, permutation_type="samples", n_resamples=_PERMUTATIONS,
            vectorized=True, batch=500, rng=np.random.default_rng(0),
        )  # fmt: skip
        return float(flips.pvalue)
    steps = np.rint(difference * fineness).astype(int)
    probability = np.ones(1)
    for step, count in zip(*np.unique(np.abs(steps[steps != 0]), return_counts=True), strict=True):
        spread = np.zeros(step * count + 1)
        spread[::step] = _coin_tosses(int(count))
        probability = np.convolve(probability, spread)
    total = len(probability) - 1
    distance = np.abs(2 * np.arange(total + 1) - total)
    return min(float(probability[distance >= abs(int(steps.sum()))].sum()), 1.0)


def _coin_tosses(count: int) -> Array:
    """Return the distribution ``[count + 1]`` of heads (scipy's own is slow to set up)."""
    heads = np.arange(count + 1)
    ways = special.gammaln(count + 1) - special.gammaln(heads + 1)
    return np.exp(ways - special.gammaln(count - heads + 1) - count * np.log(2))


def _grid(size: Array) -> int | None:
    """Return the smallest number that makes all sizes whole, if there is a small one."""
    distinct = np.unique(size)
    for fineness in range(1, _FINEST_GRID + 1):
        if np.abs(distinct * fineness - np.rint(distinct * fineness)).max() < _ROUNDING:
            return fineness
    return None


def paired_test(first: Array, second: Array) -> tuple[str, float]:
    """Return the exact test of equal accuracy that fits the verdicts, by name, and its p-value.

    Args:
        first: ``[P, S]`` verdicts in ``[0, 1]``.
        second: ``[P, S]`` verdicts of another policy on the same problems.
    """
    if first.shape[1] == 1 and np.isin([first, second], (0, 1)).all():
        return "McNemar test", mcnemar(first[:, 0], second[:, 0])
    return "sign-flip test", sign_flip_test(first.mean(1) - second.mean(1))


def holm(p_values: Array) -> Array:
    """Return p-values ``[m]`` corrected for the number of tests (Holm 1979), in the same order."""
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    raised = np.maximum.accumulate(p_values[order] * (count - np.arange(count)))
    corrected = np.empty(count)
    corrected[order] = np.minimum(raised, 1)
    return corrected


def bootstrap_counts(problems: int, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Return ``[B, P]`` times that each problem is drawn, with replacement; rows sum to **P**.

    The same draws go to every policy, which keeps comparisons paired.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(problems, np.full(problems, 1 / problems), size=resamples)
    return drawn.astype(np.float64)


def resampled_means(values: Array, counts: Array) -> Array:
    """Return the ``[B]`` means of one policy's values over resampled problems.

    Verdicts of 0 and 1 and forwards are whole, and so are counts: their sums are exact, on any
    processor and beside whatever else is computed.

    Args:
        values: ``[P, S]`` values; seeds of a problem stay together.
        counts: ``[B, P]`` draws of :func:`bootstrap_counts`.
    """
    return np.asarray(counts @ values.sum(1) / values.size)


def bootstrap_estimate(value: float, resampled: Array) -> Estimate:
    """Return ``value`` with the percentile interval of its ``[B]`` resampled twins."""
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))


def frontier_area(place: Array, accuracy: Array, preference: Array) -> Array:
    """Return the mean over budgets in ``[0, 1]`` of the accuracy within reach.

    At each budget that is the accuracy of the most preferred among the settings that cost no more,
    and 0 below the first. So the curve is a step function. If the preference is the accuracy itself
    it is the usual frontier, and the area is the hypervolume for the reference point of accuracy 0
    at cost 1; on noisy means that is too high, because every step picks its luckiest setting. With
    a preference from other problems there is no such luck.

    Args:
        place: ``[..., R]`` costs; those of 1 and more reach nothing.
        accuracy: ``[..., R]``.
        preference: ``[..., R]`` or ``[R]``, larger is preferred.

    Returns:
        ``[...]`` areas in ``[0, 1]``.
    """
    order = np.argsort(place, axis=-1, kind="stable")
    place = np.take_along_axis(place, order, -1).clip(0, 1)
    rank = np.broadcast_to(preference, order.shape).argsort(-1, kind="stable").argsort(-1)
    accuracy_of_rank = np.empty_like(accuracy)
    np.put_along_axis(accuracy_of_rank, rank, accuracy, -1)
    best = np.maximum.accumulate(np.take_along_axis(rank, order, -1), -1)
    height = np.take_along_axis(accuracy_of_rank, best, -1)
    return np.asarray((height * np.diff(place, axis=-1, append=1)).sum(-1))


def hypervolume(nfe: Array, accuracy: Array, preference: Array, gen_length: int) -> Array:
    """Return the area under the frontier over NFE divided by the generation length **L**.

    The reference point is accuracy 0 at **L** forwards, one a token. Linear budgets: half of the
    area is made of what more than **L** / 2 forwards reach. Arguments are those of
    :func:`frontier_area`, with NFE in forwards.
    """
    return frontier_area(nfe / gen_length, accuracy, preference)


def log_area(nfe: Array, accuracy: Array, preference: Array, gen_length: int) -> Array:
    """Return the area under the frontier over log NFE, from 1 forward to **L**.

    Every halving of the forwards counts alike, which is how speed-ups are spoken of. Arguments are
    those of :func:`frontier_area`, with NFE in forwards.
    """
    return frontier_area(np.log(nfe) / np.log(gen_length), accuracy, preference)
