"""Stores become arrays, and what must not be compared is refused."""

from dataclasses import replace

import numpy as np
import pytest
from toy_sweeps import make_run

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.store import Outcome, Store
from lit_unmask.report.reading import read

UIDS = ["a", "b", "c", "d"]


def outcome(uid, correct=1.0, nfe=5):
    return Outcome(uid, correct, nfe, {"fresh": nfe - 1, "unchanged": 1}, 40, False, 0.1)


def fill(folder, *runs, uids=UIDS, **said):
    for run in runs:
        Store(folder).append(run, [outcome(uid, **said) for uid in uids])
    return folder


def test_outcomes_become_arrays_by_problem_and_seed(tmp_path):
    first, second = make_run(seed=3), make_run(seed=7)
    Store(tmp_path).append(second, [outcome(uid, nfe=8) for uid in UIDS])
    Store(tmp_path).append(first, [outcome(u, float(u in "ad"), i + 2) for i, u in enumerate(UIDS)])
    [dataset] = read([tmp_path])
    [setting] = dataset.test
    assert dataset.uids == UIDS and setting.runs == (first, second)
    assert (setting.correct == [[1, 1], [0, 1], [0, 1], [1, 1]]).all()
    assert (setting.nfe == [[2, 8], [3, 8], [4, 8], [5, 8]]).all()
    assert (setting.nfe_by_kind["fresh"] == setting.nfe - 1).all()
    assert (setting.nfe_by_kind["unchanged"] == 1).all()
    assert setting.tokens_per_forward == pytest.approx(40 * 8 / setting.nfe.sum())
    alone = setting.of_seed(1)
    assert alone.runs == (second,) and (alone.nfe == 8).all() and alone.correct.shape == (4, 1)


def test_stores_are_taken_together_and_stages_matched_by_setting(tmp_path):
    tuning = make_run(
        stage="tuning", problems="x", name="threshold, tuned", limits=[{"seconds": 5.0}]
    )
    fill(tmp_path / "tuning", tuning)
    fill(tmp_path / "test", make_run(), make_run(block_length=8))
    [dataset] = read([tmp_path / "test", tmp_path / "tuning"])
    assert [setting.run.block_length for setting in dataset.test] == [64, 8]
    found = [dataset.tuned.get(setting.identity) for setting in dataset.test]
    assert found[0].run == tuning and found[1] is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("problems", "beef"), ("denoiser", "big"), ("gen_length", 128), ("limits", [{"seconds": 5}])],
)
def test_stores_that_differ_in_prompts_or_denoiser_or_length_are_refused(tmp_path, field, value):
    fill(tmp_path / "one", make_run())
    other = make_run(name="margin", policy="Margin", **{field: value})
    fill(tmp_path / "two", other)
    with pytest.raises(ConfigurationError) as refused:
        read([tmp_path / "one", tmp_path / "two"])
    said = str(refused.value)
    assert f"BL 64 in {tmp_path / 'one'} has {field}={getattr(make_run(), field)} and" in said
    assert f"BL 64 in {tmp_path / 'two'} has {field}={value}, which cannot be compared; " in said
    assert said.endswith(f", or report {tmp_path / 'one'} and {tmp_path / 'two'} apart")


def test_policies_with_other_noise_seeds_are_refused(tmp_path):
    fill(tmp_path, make_run(), make_run(name="margin", policy="Margin", seed=1))
    with pytest.raises(
        ConfigurationError, match=r"seeds \[0\] and margin .* has the seeds \[1\]"
    ) as refused:
        read([tmp_path])
    assert f"in {tmp_path} has" in str(refused.value) and "apart" not in str(refused.value)


def test_tuning_with_another_denoiser_is_refused(tmp_path):
    fill(tmp_path, make_run(), make_run(stage="tuning", denoiser="big"))
    expected = "denoiser=tiny-llada and .* has denoiser=big, .* need the same"
    with pytest.raises(ConfigurationError, match=expected):
        read([tmp_path])


def test_stores_that_contradict_each_other_are_refused(tmp_path):
    fill(tmp_path / "one", make_run())
    fill(tmp_path / "two", make_run(), nfe=9)
    with pytest.raises(ConfigurationError, match=r"two: threshold .* outcome of 'a' than .*one,"):
        read([tmp_path / "one", tmp_path / "two"])
    fill(tmp_path / "same", make_run())
    assert len(read([tmp_path / "one", tmp_path / "same"])[0].test) == 1


def test_missing_and_empty_stores_are_named(tmp_path):
    with pytest.raises(ConfigurationError, match="nowhere: there is no results store"):
        read([tmp_path / "nowhere"])
    with pytest.raises(ConfigurationError, match="the results store has no runs"):
        read([tmp_path])
    fill(tmp_path, make_run(stage="tuning"))
    with pytest.raises(ConfigurationError, match="no run of stage 'test' has all its outcomes"):
        read([tmp_path])


def test_unfinished_runs_are_left_out_and_named(tmp_path):
    fill(tmp_path, make_run())
    fill(tmp_path, make_run(block_length=8), uids=UIDS[:3])
    [dataset] = read([tmp_path])
    assert [setting.run.block_length for setting in dataset.test] == [64]
    assert dataset.unfinished == ["threshold (threshold=0.9), BL 8, seed 0 (test: 3 of 4)"]


def test_a_setting_with_an_unfinished_seed_is_left_out_as_a_whole(tmp_path):
    fill(tmp_path, *(make_run(seed=s) for s in (0, 1)), make_run(block_length=8, seed=0))
    fill(tmp_path, make_run(block_length=8, seed=1), uids=UIDS[:1])
    [dataset] = read([tmp_path])
    assert [len(setting.runs) for setting in dataset.test] == [2]
    assert len(dataset.unfinished) == 1


def test_settings_with_the_same_label_are_told_apart(tmp_path):
    learned = make_run(name="policy", kind="learned", params={}, weights="aa")
    fill(tmp_path, learned, replace(learned, weights="bb"), replace(learned, on_empty="wait"))
    labels = {setting.label for setting in read([tmp_path])[0].test}
    assert labels == {
        "policy, BL 64, on_empty force, weights aa",
        "policy, BL 64, on_empty force, weights bb",
        "policy, BL 64, on_empty wait, weights aa",
    }


def test_training_seeds_are_what_follows_the_first_slash_of_a_learned_name(tmp_path):
    learned = make_run(name="alpha 2/seed-1", kind="learned", weights="a")
    fill(tmp_path, learned, make_run(name="k/1"))
    names = [(s.method, s.training_seed) for s in read([tmp_path])[0].test]
    assert names == [("alpha 2", "seed-1"), ("k/1", "")]


def test_datasets_are_kept_apart(tmp_path):
    fill(
        tmp_path, make_run(), make_run(dataset="code", problems="q", gen_length=32, block_length=8)
    )
    assert [dataset.name for dataset in read([tmp_path])] == ["math", "code"]
    assert np.all([len(dataset.test) == 1 for dataset in read([tmp_path])])
