"""Sentences say what the results say nothing about."""

from dataclasses import replace

import numpy as np
from toy_sweeps import make_dataset, make_setting

from lit_unmask.report.analysis import Options, analyse
from lit_unmask.report.caveats import caveats

PROBLEMS = 500


def right(share, problems=PROBLEMS):
    return (np.arange(problems) < share * problems).astype(float)


def policy(share, nfe=10, name="policy", **said):
    said = {"kind": "learned", "params": {}, "weights": name} | said
    return make_setting(right(share), nfe, name=name, **said)


def heuristic(share, nfe, stage="test", value=0.1):
    said = {"name": "entropy bound", "params": {"gamma": value}, "stage": stage}
    return make_setting(right(share), nfe, **said)


def analysed(*test, tuning=(), **changes):
    dataset = replace(make_dataset(test, tuning), **changes)
    return analyse([dataset], Options(resamples=100))[0]


def text(*test, tuning=(), **changes):
    return "\n".join(caveats([analysed(*test, tuning=tuning, **changes)]))


def test_several_training_seeds_are_counted_in_one_sentence():
    seeds = [policy(share, 10, f"policy/{i}") for i, share in enumerate((0.7, 0.5, 0.2))]
    said = text(*seeds, heuristic(0.5, 20), tuning=[heuristic(0.5, 20, "tuning")])
    assert "policy: 3 training seeds. Each comparison is about one of them" in said


def test_one_training_seed_says_nothing_about_training():
    said = text(policy(0.7), heuristic(0.5, 20))
    assert "policy: one training seed, which says nothing about the variance of training." in said
    assert "All of it is about tiny-llada on such problems with 64 tokens" in said


def test_what_was_chosen_where_is_said():
    tuning = [heuristic(0.5, 20, "tuning"), heuristic(0.6, 30, "tuning", 0.5)]
    test = policy(0.7), heuristic(0.5, 20), heuristic(0.6, 30, value=0.5)
    said = text(*test, tuning=tuning)
    assert "were chosen on 500 tuning problems" in said and "*" not in said
    assert "the cheapest stands in" in said
    said = text(*test)
    assert "There are no tuning runs, so no setting was chosen" in said
    assert "Areas marked with * " in said


def test_warnings_name_what_is_out_of_the_ordinary():
    shared = {"tuning_uids": ["test 0", "test 1", "x"], "unfinished": ["margin, seed 0"]}
    said = text(policy(0.7), heuristic(0.5, 20), **shared)
    assert "both the tuning and the test set: 2." in said
    assert "Left out, as outcomes are missing: margin, seed 0." in said
    assert "few" not in said and "approximate" not in said
    cached = policy(0.7, approximate={"cache": "dual", "early_stop": False})
    few = make_setting(np.ones(20), 3)
    assert "approximate decoding" in text(cached)
    assert "20 problems are few" in text(few)


def test_without_a_subject_nothing_is_compared():
    assert "No policies were compared" in text(heuristic(0.5, 20))


def test_a_sentence_stands_once_with_the_datasets_it_is_about():
    both = [policy(0.7), heuristic(0.5, 20)]
    math, few = analysed(*both), analysed(make_setting(np.ones(20), 3), name="code")
    other = replace(math, dataset=replace(math.dataset, name="other"))
    said = caveats([math, other, few])
    assert len(said) == len(set(said))
    assert any(one.startswith("1 noise seed a problem.") for one in said)
    assert "code: 20 problems are few: only large differences can be found." in said
    assert any(one.startswith("All but code: policy: one training seed") for one in said)
