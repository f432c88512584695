"""Statistics against enumeration, brute force and simulation."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from lit_unmask.report.statistics import (
    Estimate,
    accuracy_estimate,
    bootstrap_counts,
    bootstrap_estimate,
    frontier_area,
    holm,
    hypervolume,
    log_area,
    mcnemar,
    mean_estimate,
    paired_test,
    resampled_means,
    sign_flip_test,
    wilson_interval,
)


def verdicts(rng, problems, seeds, accuracy=0.7, spread=2.0):
    """Draw 0/1 verdicts ``[P, S]``: problems differ in how hard they are, seeds are independent."""
    solved = rng.beta(accuracy * spread, (1 - accuracy) * spread, size=(problems, 1))
    return (rng.random((problems, seeds)) < solved).astype(float)


def enumerated_sign_flip(difference):
    sums = [abs(np.dot(signs, difference)) for signs in product((-1, 1), repeat=len(difference))]
    return np.mean(np.array(sums) >= abs(difference.sum()) - 1e-9)


@pytest.mark.parametrize(("share", "count"), [(0.0, 10), (0.5, 10), (0.874, 500), (1.0, 3)])
def test_the_interval_of_a_share_is_scipys_wilson_interval(share, count):
    interval = stats.binomtest(round(share * count), count).proportion_ci(method="wilson")
    assert wilson_interval(share, count) == pytest.approx(tuple(interval), abs=1e-12)


def test_one_seed_has_the_plain_wilson_interval_at_every_share():
    for right in (0, 1, 7, 20):
        correct = (np.arange(20) < right).astype(float)[:, None]
        estimate = accuracy_estimate(correct)
        assert (estimate.low, estimate.high) == wilson_interval(right / 20, 20)


def test_seeds_that_repeat_the_verdict_add_nothing_and_independent_ones_count_in_full():
    rng = np.random.default_rng(0)
    one = (rng.random((300, 1)) < 0.6).astype(float)
    single, copied = accuracy_estimate(one), accuracy_estimate(one.repeat(8, axis=1))
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high), abs=1e-3)
    free = accuracy_estimate((rng.random((300, 8)) < 0.6).astype(float))
    low, high = wilson_interval(free.value, 2400)
    assert free.high - free.low == pytest.approx(high - low, rel=0.15)


def test_seeds_that_make_up_for_each_other_count_in_full_and_not_more():
    correct = np.tile([[1.0, 0.0], [0.0, 1.0]], (20, 1))
    correct[0] = 1
    estimate = accuracy_estimate(correct)
    assert (estimate.low, estimate.high) == wilson_interval(estimate.value, 80)


@pytest.mark.parametrize("seeds", [1, 4])
def test_accuracy_intervals_cover_the_truth_about_95_times_in_100(seeds):
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(500):
        estimate = accuracy_estimate(verdicts(rng, 200, seeds))
        covered += estimate.low <= 0.7 <= estimate.high
    assert 0.93 <= covered / 500 <= 0.97


def test_the_interval_of_a_mean_is_students():
    values = np.array([4.0, 8.0, 9.0, 11.0])
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    estimate = mean_estimate(values)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(expected))
    assert mean_estimate(np.full(5, 64.0)) == Estimate(64.0, 64.0, 64.0)
    assert np.isnan(mean_estimate(np.ones(1)).low)


@pytest.mark.parametrize(("first_alone", "second_alone"), [(0, 0), (1, 0), (0, 6), (3, 8), (5, 5)])
def test_mcnemar_counts_all_ways_to_swap_the_discordant_pairs(first_alone, second_alone):
    first = np.array([1.0] * first_alone + [0.0] * second_alone + [1.0, 0.0])
    second = np.array([0.0] * first_alone + [1.0] * second_alone + [1.0, 0.0])
    expected = enumerated_sign_flip((first - second)[: first_alone + second_alone])
    assert mcnemar(first, second) == pytest.approx(expected)
    assert mcnemar(second, first) == mcnemar(first, second)
    assert sign_flip_test(first - second) == pytest.approx(mcnemar(first, second))


def test_mcnemar_by_hand():
    # 1 and 5 discordant pairs: twice (1 + 6) of 64 ways.
    first, second = np.array([1.0, 0, 0, 0, 0, 0]), np.array([0.0, 1, 1, 1, 1, 1])
    assert mcnemar(first, second) == pytest.approx(14 / 64)


def test_mcnemar_refuses_verdicts_that_are_shares():
    with pytest.raises(ValueError, match="0 or 1; use sign_flip_test"):
        mcnemar(np.array([0.5]), np.array([1.0]))


@pytest.mark.parametrize("seeds", [1, 2, 3, 7])
def test_the_sign_flip_test_is_exact_on_means_of_verdicts(seeds):
    rng = np.random.default_rng(seeds)
    for _ in range(5):
        difference = rng.integers(-seeds, seeds + 1, size=10) / seeds
        expected = enumerated_sign_flip(difference)
        assert sign_flip_test(difference) == pytest.approx(expected)
        # As stored by float32 arithmetic.
        assert sign_flip_test(difference.astype(np.float32)) == pytest.approx(expected)


def test_differences_off_every_grid_are_flipped_at_random():
    difference = np.random.default_rng(0).normal(0.4, 1, size=12)
    expected = enumerated_sign_flip(difference)
    assert sign_flip_test(difference) == pytest.approx(expected, abs=0.01)
    assert sign_flip_test(difference) == sign_flip_test(difference)


def test_the_sign_flip_test_of_many_problems_and_seeds_agrees_with_the_normal_law():
    difference = verdicts(np.random.default_rng(0), 2000, 8).mean(1) - 0.69
    z = difference.sum() / np.sqrt((difference**2).sum())
    assert sign_flip_test(np.rint(difference * 100) / 100) == pytest.approx(
        2 * stats.norm.sf(abs(z)), abs=0.02
    )


def test_holm_is_closed_testing_with_bonferroni():
    p_values = np.array([0.01, 0.2, 0.012, 0.04, 0.012])
    together = [set(c) for n in range(1, 6) for c in combinations(range(5), n)]
    expected = [
        max(min(1, len(s) * min(p_values[list(s)])) for s in together if i in s) for i in range(5)
    ]
    assert holm(p_values) == pytest.approx(expected)
    assert holm(np.array([0.03])) == pytest.approx([0.03])
    assert len(holm(np.array([]))) == 0


def test_resampled_means_are_those_of_drawn_problems():
    counts = bootstrap_counts(7, 50, seed=3)
    assert (counts.sum(1) == 7).all() and (counts == np.rint(counts)).all()
    assert (counts == bootstrap_counts(7, 50, seed=3)).all()
    assert (counts != bootstrap_counts(7, 50, seed=4)).any()
    values = verdicts(np.random.default_rng(0), 7, 3)
    drawn = [np.repeat(values, row.astype(int), axis=0).mean() for row in counts]
    assert resampled_means(values, counts) == pytest.approx(drawn)


def test_resampled_means_do_not_depend_on_the_order_of_summation():
    rng = np.random.default_rng(0)
    values, counts = verdicts(rng, 301, 3), bootstrap_counts(301, 200)
    shuffled = rng.permutation(301)
    means = resampled_means(values, counts)
    assert (means == resampled_means(values[shuffled], counts[:, shuffled])).all()
    exact = [sum(map(int, row * values.sum(1))) / values.size for row in counts]
    assert (means == exact).all()


def test_the_bootstrap_has_the_standard_error_of_a_mean_over_problems():
    rng = np.random.default_rng(0)
    correct = verdicts(rng, 400, 3)
    values = correct.mean(1)
    resampled = resampled_means(correct, bootstrap_counts(400))
    assert resampled.std() == pytest.approx(stats.sem(values), rel=0.05)
    estimate = bootstrap_estimate(values.mean(), resampled)
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * stats.sem(values), rel=0.08)


def scanned_area(place, accuracy, preference, cells=20_000):
    """Walk over budgets one by one."""
    total = 0.0
    for budget in (np.arange(cells) + 0.5) / cells:
        within = [i for i in range(len(place)) if place[i] <= budget]
        total += accuracy[max(within, key=lambda i: preference[i])] if within else 0.0
    return total / cells


@pytest.mark.parametrize("seed", range(4))
def test_the_area_is_what_a_scan_over_budgets_finds(seed):
    rng = np.random.default_rng(seed)
    place, accuracy, other = rng.random((3, 6)) * [[1.2], [1], [1]]
    for preference in (accuracy, other):
        area = frontier_area(place, accuracy, preference)
        assert area == pytest.approx(scanned_area(place, accuracy, preference), abs=1e-3)


def test_the_hypervolume_is_the_union_of_rectangles():
    rng = np.random.default_rng(0)
    nfe, accuracy = rng.uniform(1, 70, size=(2, 12)) * [[1], [1 / 70]]
    dots = rng.random((200_000, 2)) * [64, 1]
    dominated = ((dots[:, :1] >= nfe) & (dots[:, 1:] <= accuracy)).any(1)
    assert hypervolume(nfe, accuracy, accuracy, 64) == pytest.approx(dominated.mean(), abs=4e-3)


def test_areas_by_hand():
    nfe, accuracy = np.array([16.0, 32.0, 8.0, 64.0]), np.array([0.6, 0.5, 0.2, 1.0])
    by_hand = (8 * 0.2 + 48 * 0.6) / 64
    assert hypervolume(nfe, accuracy, accuracy, 64) == pytest.approx(by_hand)
    # 8, 16 and 64 forwards are 3, 4 and 6 of 6 doublings.
    assert log_area(nfe, accuracy, accuracy, 64) == pytest.approx((1 * 0.2 + 2 * 0.6) / 6)
    # Who prefers the third setting to the first keeps it.
    preference = np.array([0, 1, 2, 3])
    assert hypervolume(nfe, accuracy, preference, 64) == pytest.approx(56 * 0.2 / 64)


def test_areas_of_many_resamples_are_those_of_each():
    rng = np.random.default_rng(0)
    nfe, accuracy = rng.uniform(1, 64, (30, 5)), rng.random((30, 5))
    for preference in (accuracy, np.arange(5)):
        rows = [
            hypervolume(n, a, np.broadcast_to(preference, (30, 5))[i], 64)
            for i, (n, a) in enumerate(zip(nfe, accuracy, strict=True))
        ]
        assert hypervolume(nfe, accuracy, preference, 64) == pytest.approx(np.array(rows))


def covered_areas(trials=150, problems=200, settings=8):
    """Count how often the interval holds the true area: settings chosen by tuning, and by test."""
    rng = np.random.default_rng(5)
    nfe, accuracy = np.linspace(20, 24, settings), np.full(settings, 0.7)
    counts = np.zeros(2)
    for trial in range(trials):
        hard = rng.normal(size=(problems, 1))
        noise = rng.normal(size=(problems, settings))
        right = (hard + noise < stats.norm.ppf(accuracy) * np.sqrt(2)).astype(float)
        resampled = bootstrap_counts(problems, 300, seed=trial) @ right / problems
        tuning = rng.permutation(settings)
        for index, preference in enumerate((tuning, None)):
            chosen = [right.mean(0), resampled] if preference is None else [tuning, tuning]
            value = hypervolume(nfe, right.mean(0), chosen[0], 64)
            areas = hypervolume(np.broadcast_to(nfe, (300, settings)), resampled, chosen[1], 64)
            estimate = bootstrap_estimate(float(value), areas)
            true = hypervolume(nfe, accuracy, accuracy, 64)
            counts[index] += estimate.low <= true <= estimate.high
    return counts / trials


def test_only_a_frontier_chosen_on_other_problems_has_an_interval_that_holds():
    by_tuning, by_test = covered_areas()
    assert by_tuning >= 0.9
    assert by_test < 0.6


def test_two_thousand_resamples_of_sixty_settings_give_as_many_areas():
    rng = np.random.default_rng(0)
    accuracy, nfe = verdicts(rng, 500, 60), rng.uniform(8, 64, (500, 60))
    weights = bootstrap_counts(500) / 500
    areas = hypervolume(weights @ nfe, weights @ accuracy, np.arange(60), 64)
    assert areas.shape == (2000,) and np.isfinite(areas).all()


def test_one_verdict_a_problem_gets_mcnemars_test_and_all_else_the_sign_flip_test():
    rng = np.random.default_rng(0)
    first, second = verdicts(rng, 60, 2), verdicts(rng, 60, 2, 0.5)
    alone = paired_test(first[:, :1], second[:, :1])
    assert alone == ("McNemar test", mcnemar(first[:, 0], second[:, 0]))
    expected = sign_flip_test(first.mean(1) - second.mean(1))
    assert paired_test(first, second) == ("sign-flip test", expected)
    assert paired_test(first[:, :1] / 2, second[:, :1])[0] == "sign-flip test"


def test_methods_of_true_nulls_are_rejected_at_most_5_times_in_100_after_holm():
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(300):
        copies = verdicts(rng, 200, 7)
        p_values = [mcnemar(copies[:, 0], copies[:, i]) for i in range(1, 7)]
        rejected += holm(np.array(p_values)).min() < 0.05
    assert rejected / 300 <= 0.05
