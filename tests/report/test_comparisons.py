"""Who is compared with whom is chosen on the tuning problems, and the comparisons are paired."""

import numpy as np
import pytest
from toy_sweeps import make_dataset, make_setting

from lit_unmask.report.analysis import Options, analyse
from lit_unmask.report.comparisons import (
    CHEAPEST,
    EVERY,
    MATCHED,
    MOST_ACCURATE,
    compare,
    corrected,
    opponents,
)
from lit_unmask.report.methods import Resampled, methods
from lit_unmask.report.statistics import holm, mcnemar, sign_flip_test

RNG = np.random.default_rng(0)
PROBLEMS = 200


def right(share, problems=PROBLEMS):
    return (np.arange(problems) < share * problems).astype(float)


def threshold(value, correct, nfe, stage="test"):
    return make_setting(correct, nfe, params={"threshold": value}, stage=stage)


def policy(correct, nfe, stage="test", name="policy"):
    said = {"name": name, "kind": "learned", "params": {}, "weights": name}
    return make_setting(correct, nfe, stage=stage, **said)


def tuned_dataset(policy_nfe=20, tuning_nfe=20):
    """On tuning 0.5 is best within 20 forwards and 0.9 best of all; on test 0.3 is best."""
    test = [
        policy(right(0.7), policy_nfe),
        threshold(0.3, right(0.9), 10),
        threshold(0.5, right(0.5), 15),
        threshold(0.9, right(0.4), 30),
    ]
    tuning = [
        policy(right(0.7, 50), tuning_nfe, "tuning"),
        threshold(0.3, right(0.1, 50), 10, "tuning"),
        threshold(0.5, right(0.5, 50), 15, "tuning"),
        threshold(0.9, right(0.8, 50), 30, "tuning"),
    ]
    return make_dataset(test, tuning)


def chosen(dataset):
    learned, heuristic = methods(dataset)
    assert learned.kind == "learned" and learned.indices == [0]
    return opponents(dataset, 0, heuristic)


def test_the_tuning_problems_choose_whatever_the_test_problems_say():
    assert chosen(tuned_dataset()) == [(2, (MATCHED,)), (3, (MOST_ACCURATE,))]


def test_forwards_are_matched_on_the_tuning_problems():
    assert chosen(tuned_dataset(policy_nfe=40, tuning_nfe=12))[0] == (1, (MATCHED,))
    without = make_dataset(tuned_dataset(40).test, tuned_dataset().tuning[1:])
    assert chosen(without) == [(3, (MATCHED, MOST_ACCURATE))]


def test_the_cheapest_stands_in_where_all_need_more_forwards():
    assert chosen(tuned_dataset(tuning_nfe=5)) == [(1, (CHEAPEST,)), (3, (MOST_ACCURATE,))]


def test_one_setting_may_answer_both_questions():
    assert chosen(tuned_dataset(tuning_nfe=50)) == [(3, (MATCHED, MOST_ACCURATE))]


def test_without_tuning_runs_nothing_is_chosen():
    dataset = make_dataset(tuned_dataset().test)
    assert chosen(dataset) == [(1, (EVERY,)), (2, (EVERY,)), (3, (EVERY,))]


def compare_all(dataset, resamples=500):
    learned, *others = methods(dataset)
    return compare(dataset, Resampled.of(dataset, resamples, 0), [learned], others)


def test_a_comparison_holds_the_paired_differences():
    correct, other = RNG.integers(0, 2, (2, PROBLEMS)).astype(float)
    nfe, other_nfe = RNG.integers(5, 20, (2, PROBLEMS))
    dataset = make_dataset([policy(correct, nfe), threshold(0.9, other, other_nfe)])
    [found] = compare_all(dataset, 4000)
    assert found.accuracy.value == pytest.approx((correct - other).mean())
    error = 1.96 * (correct - other).std() / np.sqrt(PROBLEMS)
    assert found.accuracy.high - found.accuracy.low == pytest.approx(2 * error, rel=0.1)
    assert found.saved.value == pytest.approx(1 - nfe.mean() / other_nfe.mean())
    assert found.saved.low < found.saved.value < found.saved.high
    assert (found.test, found.p_value) == ("McNemar test", mcnemar(correct, other))


def test_pairing_makes_small_differences_of_alike_policies_visible():
    correct = right(0.5)
    better = correct.copy()
    better[100:110] = 1
    [alike] = compare_all(make_dataset([policy(better, 9), threshold(0.9, correct, 9)]))
    shuffled = RNG.permutation(correct)
    [mixed] = compare_all(make_dataset([policy(better, 9), threshold(0.9, shuffled, 9)]))
    assert alike.accuracy.value == pytest.approx(mixed.accuracy.value) == pytest.approx(0.05)
    assert alike.is_different and not mixed.is_different
    assert alike.accuracy.low > 0 and mixed.accuracy.low < 0 < mixed.accuracy.high


def test_a_copy_is_not_different():
    [found] = compare_all(make_dataset([policy(right(0.5), 9), threshold(0.9, right(0.5), 9)]))
    assert (found.p_value, found.is_different) == (1, False)
    assert found.accuracy.low == found.accuracy.high == found.saved.value == 0


def test_several_seeds_take_the_sign_flip_test():
    first, second = RNG.integers(0, 2, (2, PROBLEMS, 3)).astype(float)
    [found] = compare_all(make_dataset([policy(first, 9), threshold(0.9, second, 9)]))
    expected = sign_flip_test(first.mean(1) - second.mean(1))
    assert (found.test, found.p_value) == ("sign-flip test", expected)


def test_p_values_are_corrected_over_all_datasets_of_a_report():
    datasets = [
        make_dataset([policy(RNG.permutation(right(share)), 9), threshold(0.9, right(0.5), 9)])
        for share in (0.5, 0.6, 0.7)
    ]
    found = [a.comparisons[0] for a in analyse(datasets, Options(resamples=50))]
    raw = np.array([comparison.p_value for comparison in found])
    assert [c.corrected for c in found] == pytest.approx(holm(raw))
    assert found[2].corrected > found[2].p_value
    assert corrected([]) == []
