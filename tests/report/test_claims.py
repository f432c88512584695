"""Sentences say what the numbers allow, and no more."""

from dataclasses import replace

import numpy as np
import pytest
from toy_sweeps import make_dataset, make_setting

from lit_unmask.report.analysis import Options, analyse
from lit_unmask.report.claims import claims, comparison_sentence
from lit_unmask.report.comparisons import MOST_ACCURATE, Comparison
from lit_unmask.statistics import Estimate

PROBLEMS = 500


def right(share, problems=PROBLEMS):
    return (np.arange(problems) < share * problems).astype(float)


def policy(share, nfe=10, name="policy", **said):
    said = {"kind": "learned", "params": {}, "weights": name} | said
    return make_setting(right(share), nfe, name=name, **said)


def heuristic(share, nfe, stage="test", value=0.1):
    said = {"name": "entropy bound", "params": {"gamma": value}, "stage": stage}
    return make_setting(right(share), nfe, **said)


def comparison(accuracy, saved, p_value=0.0004):
    return Comparison(
        dataset="math",
        problems=500,
        first=policy(0.7),
        second=heuristic(0.6, 28),
        rules=(MOST_ACCURATE,),
        test="McNemar test",
        p_value=p_value / 6,
        corrected=p_value,
        accuracy=Estimate(*accuracy),
        nfe=Estimate(-1, -2, 0),
        saved=Estimate(*saved),
    )


def test_a_more_accurate_policy_by_how_much_and_at_what_cost():
    found = comparison((0.084, 0.041, 0.126), (0.6, 0.57, 0.63))
    assert comparison_sentence(found, 6) == (
        "policy, BL 64 is more accurate than entropy bound (gamma=0.1), BL 64 on the same 500 "
        "problems by 8.4 points (95 % interval 4.1 to 12.6, McNemar test, p = 0.0004 after Holm "
        "over 6 comparisons), at 60 % fewer forwards (57 to 63) [most accurate]."
    )


def test_a_less_accurate_policy():
    found = comparison((-0.084, -0.126, -0.041), (-0.2, -0.25, -0.15), 0.00001)
    assert comparison_sentence(found, 1) == (
        "policy, BL 64 is less accurate than entropy bound (gamma=0.1), BL 64 on the same 500 "
        "problems by 8.4 points (95 % interval 4.1 to 12.6, McNemar test, p < 0.0001), "
        "at 20 % more forwards (15 to 25) [most accurate]."
    )


def test_what_cannot_be_told_apart_is_not_called_equal():
    found = comparison((0.012, -0.021, 0.045), (0.01, -0.03, 0.04), 0.43)
    assert comparison_sentence(found, 6) == (
        "policy, BL 64 and entropy bound (gamma=0.1), BL 64 cannot be told apart in accuracy on "
        "the same 500 problems: +1.2 points (95 % interval \N{MINUS SIGN}2.1 to 4.5, McNemar test, "
        "p = 0.43 after Holm over 6 comparisons); policy, BL 64 runs with forwards that cannot be "
        "told apart (\N{MINUS SIGN}4 to 3 % more) [most accurate]."
    )


def test_a_difference_that_holds_alone_does_not_hold_after_the_correction():
    found = comparison((0.05, 0.002, 0.09), (0.6, 0.57, 0.63), 0.06)
    assert "cannot be told apart" in comparison_sentence(found, 6)


def test_many_more_forwards_are_told_as_a_multiple():
    found = comparison((0.08, 0.04, 0.12), (-1.3, -1.4, -1.2))
    assert "at 2.3 times the forwards (2.2 to 2.4)" in comparison_sentence(found, 6)


def analysed(*test, tuning=(), **changes):
    dataset = replace(make_dataset(test, tuning), **changes)
    return analyse([dataset], Options(resamples=100))[0]


def text(*test, tuning=(), **changes):
    analysis = analysed(*test, tuning=tuning, **changes)
    said = claims(analysis, len(analysis.comparisons))
    return "\n".join(said.supported), "\n".join(said.limits)


def test_several_training_seeds_are_counted_in_one_sentence():
    seeds = [policy(share, 10, f"policy/{i}") for i, share in enumerate((0.7, 0.5, 0.2))]
    supported, limits = text(*seeds, heuristic(0.5, 20), tuning=[heuristic(0.5, 20, "tuning")])
    assert (
        "policy against entropy bound in its most accurate setting, on the same 500 problems: of 3 "
        "comparisons, more accurate in 1, less accurate in 1, not told apart in 1 (McNemar test, "
        "Holm over 3), by \N{MINUS SIGN}30.0 to +20.0 points, with 50 to 50 % of the forwards."
    ) in supported
    assert "over 3 training seeds the accuracy lies between 0.200 and 0.700" in supported
    assert "policy: 3 training seeds. Each comparison is about one of them" in limits


def test_one_training_seed_says_nothing_about_training():
    _, limits = text(policy(0.7), heuristic(0.5, 20))
    assert "policy: one training seed, which says nothing about the variance of training." in limits
    assert "All of it is about tiny-llada on problems like those of math with 64 tokens" in limits


def test_what_was_chosen_where_is_said():
    tuning = [heuristic(0.5, 20, "tuning"), heuristic(0.6, 30, "tuning", 0.5)]
    test = policy(0.7), heuristic(0.5, 20), heuristic(0.6, 30, value=0.5)
    _, limits = text(*test, tuning=tuning)
    assert "were chosen on 500 tuning problems" in limits and "*" not in limits
    assert "the cheapest stands in" in limits
    supported, limits = text(*test)
    assert "There are no tuning runs, so no setting was chosen" in limits
    assert "Areas marked with * " in limits
    assert "in each of its settings, on the same 500 problems: of 2 comparisons" in supported


def test_warnings_name_what_is_out_of_the_ordinary():
    shared = {"tuning_uids": ["test 0", "test 1", "x"], "unfinished": ["margin, seed 0"]}
    _, limits = text(policy(0.7), heuristic(0.5, 20), **shared)
    assert "both the tuning and the test set: 2." in limits
    assert "Left out, as outcomes are missing: margin, seed 0." in limits
    assert "few" not in limits and "approximate" not in limits
    cached = policy(0.7, approximate={"cache": "dual", "early_stop": False})
    few = make_setting(np.ones(20), 3)
    assert "approximate decoding" in text(cached)[1]
    assert "20 problems are few" in text(few)[1]


def test_a_null_check_is_made_of_a_policy_with_several_noise_seeds():
    rng = np.random.default_rng(0)
    solved = (rng.random((PROBLEMS, 4)) < rng.beta(4, 2, (PROBLEMS, 1))).astype(float)
    said = {"name": "policy", "kind": "learned", "params": {}, "weights": "a"}
    supported, limits = text(make_setting(solved, 10, **said))
    assert "Null check: two copies of policy, BL 64 with 2 noise seeds each" in supported
    assert "4 noise seeds a problem" in limits
    assert "Null check" not in text(policy(0.7))[0]


def test_without_a_subject_nothing_is_claimed():
    supported, _ = text(heuristic(0.5, 20))
    assert supported.startswith("No policies were compared")


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [(0.3, ", more than all"), (-0.3, ", less than all"), (0, "cannot be told apart from that of")],
)
def test_areas_are_compared_with_all_heuristics_together(gain, verdict):
    rng = np.random.default_rng(0)
    rules = [
        make_setting(rng.permutation(right(0.5)), 20, name=f"rule {k}", params={"k": k})
        for k in (1, 2)
    ]
    # The same verdicts where nothing is gained.
    mine = make_setting(
        rules[0].correct if not gain else right(0.5 + gain), 20,
        name="policy", kind="learned", params={}, weights="a",
    )  # fmt: skip
    twin = make_setting(rules[0].correct, 20, name="twin", params={})
    supported, _ = text(mine, rules[0], rules[1] if gain else twin)
    assert verdict in supported.split("hypervolume of")[1]
    assert "not corrected for the number of comparisons" in supported
