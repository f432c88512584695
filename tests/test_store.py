"""The store keeps what was appended, through crashes and beside other writers."""

from __future__ import annotations

import json
import multiprocessing
import os
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_unmask.errors import ConfigurationError
from lit_unmask.store import Outcome, Run, Store


def make_run(**changes: Any) -> Run:
    defaults: dict[str, Any] = {
        "dataset": "math",
        "stage": "test",
        "problems": "p0",
        "num_problems": 3,
        "denoiser": "tiny",
        "name": "threshold",
        "kind": "heuristic",
        "policy": "ConfidenceThreshold",
        "params": {"threshold": 0.9},
        "weights": "",
        "gen_length": 64,
        "block_length": 8,
        "temperature": 0.0,
        "on_empty": "force",
        "approximate": {"cache": "none", "early_stop": False},
        "seed": 0,
    }
    return Run(**(defaults | changes))


def outcome(uid: str, **changes: Any) -> Outcome:
    defaults: dict[str, Any] = {
        "correct": 1.0,
        "nfe": 5,
        "nfe_by_kind": {"fresh": 5, "unchanged": 0},
        "tokens": 40,
        "still_masked": False,
        "seconds": 0.25,
    }
    return Outcome(uid, **(defaults | changes))


def test_what_is_appended_is_read_back_by_another_store(tmp_path: Path) -> None:
    run, other = make_run(), make_run(seed=1, name="ü", params={"k": [1, 2]})
    store = Store(tmp_path / "deep" / "store")
    store.append(run, [outcome("a"), outcome("b", correct=0.0)])
    store.append(other, [outcome("a", nfe=7)])
    store.append(run, [outcome("c — d", still_masked=True)])
    for reader in (store, Store(store.folder)):
        assert reader.runs() == [run, other]
        assert reader.outcomes(run) == {
            "a": outcome("a"),
            "b": outcome("b", correct=0.0),
            "c — d": outcome("c — d", still_masked=True),
        }
        assert reader.outcomes(other.key) == {"a": outcome("a", nfe=7)}
        assert reader.missing(run, ["x", "a", "y", "x"]) == ["x", "y"]
        assert reader.complete(run) and not reader.complete(other)


def test_an_open_store_sees_what_another_one_appends(tmp_path: Path) -> None:
    reader, writer = Store(tmp_path), Store(tmp_path)
    assert reader.runs() == [] and reader.outcomes("unknown") == {}
    for uid in "abc":
        writer.append(make_run(), [outcome(uid)])
        assert uid in reader.outcomes(make_run())
    reader.append(make_run(), [outcome("d")])
    assert set(writer.outcomes(make_run())) == set("abcd")


def test_every_setting_but_the_name_makes_another_run() -> None:
    run = make_run()
    assert replace(run, name="mine").key == run.key
    changed: dict[str, Any] = {
        "dataset": "code", "stage": "tuning", "problems": "p1", "num_problems": 4,
        "denoiser": "other", "kind": "learned", "policy": "Margin", "params": {"threshold": 0.8},
        "weights": "w", "gen_length": 128, "block_length": 16, "temperature": 1.0,
        "on_empty": "wait", "approximate": {}, "seed": 1, "limits": [{"seconds": 5.0}],
    }  # fmt: skip
    assert changed.keys() == asdict(run).keys() - {"name"}
    assert len({run.key, *(replace(run, **{k: v}).key for k, v in changed.items())}) == 17
    assert run.key == make_run(approximate={"early_stop": False, "cache": "none"}).key


def test_runs_of_before_there_were_limits_are_found(tmp_path: Path) -> None:
    store, run = Store(tmp_path), make_run()
    store.append(run, [outcome("a")])
    row = json.loads((tmp_path / "runs.jsonl").read_text())
    assert row.pop("limits") == []
    assert row["key"] == "522fe441e5e6d6d8"  # as it was then
    (tmp_path / "runs.jsonl").write_text(f"{json.dumps(row)}\n")
    assert Store(tmp_path).runs() == [run] and Store(tmp_path).outcomes(run) == {"a": outcome("a")}
    limited = replace(run, limits=[{"seconds": 5.0}])
    assert Store(tmp_path).missing(limited, ["a"]) == ["a"]


def test_other_seeds_of_the_same_setting_are_found(tmp_path: Path) -> None:
    store, run = Store(tmp_path), make_run(seed=1)
    store.append(run, [outcome("a", nfe=1)])
    store.append(make_run(seed=2, name="renamed"), [outcome("a", nfe=2), outcome("b", nfe=2)])
    store.append(make_run(seed=3), [outcome("b", nfe=3), outcome("c", nfe=3)])
    store.append(make_run(seed=3, block_length=16), [outcome("d")])
    others = store.outcomes_of_other_seeds(run)
    assert {uid: row.nfe for uid, row in others.items()} == {"b": 2, "c": 3}
    assert store.outcomes_of_other_seeds(make_run(seed=3, block_length=16)) == {}


@pytest.mark.parametrize("cut", [1, 2, 40, 130])
@pytest.mark.parametrize("name", ["runs.jsonl", "outcomes.jsonl"])
def test_a_line_that_a_crash_tore_costs_that_line_alone(
    tmp_path: Path, name: str, cut: int
) -> None:
    first, last = make_run(), make_run(seed=1)
    Store(tmp_path).append(first, [outcome("a"), outcome("b")])
    before = {file: (tmp_path / file).stat().st_size for file in ("runs.jsonl", "outcomes.jsonl")}
    # A crash may leave anything of the last append, a run before its outcomes.
    Store(tmp_path).append(last, [outcome("c")])
    os.truncate(tmp_path / "outcomes.jsonl", before["outcomes.jsonl"])
    with open(tmp_path / name, "ab") as file:
        file.write(b'{"seed": 7, "uid": "torn"')
    os.truncate(tmp_path / name, (tmp_path / name).stat().st_size - min(cut, 20))

    assert set(Store(tmp_path).outcomes(first)) == {"a", "b"}
    store = Store(tmp_path)
    new = make_run(seed=2)
    with pytest.warns(UserWarning, match=f"{name}: removed a last line that was cut off"):
        store.append(new, [outcome("d")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.append(last, [outcome("c")])
    for reader in (store, Store(tmp_path)):
        assert reader.runs() == [first, last, new]
        assert [set(reader.outcomes(run)) for run in reader.runs()] == [{"a", "b"}, {"c"}, {"d"}]
        assert all(line.endswith("}") for line in (tmp_path / name).read_text().splitlines())


@settings(max_examples=30, deadline=None)
@given(st.integers(min_value=0, max_value=10_000))
def test_wherever_a_crash_cuts_the_next_append_completes_the_store(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    rows = [outcome(uid) for uid in "abc"]
    Store(folder).append(make_run(), rows)
    size = (folder / "outcomes.jsonl").stat().st_size
    os.truncate(folder / "outcomes.jsonl", cut % (size + 1))
    store = Store(folder)
    missing = store.missing(make_run(), "abc")
    assert missing == list("abc")[3 - len(missing) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.append(make_run(), [row for row in rows if row.uid in missing])
    assert list(Store(folder).outcomes(make_run()).values()) == rows


@pytest.mark.parametrize("name", ["runs.jsonl", "outcomes.jsonl"])
@pytest.mark.parametrize("line", [b"\0\0\0", b"{}", b"[1]", b'{"run": "x", "uid": "a"}', b""])
def test_a_corrupt_line_in_the_middle_is_an_error_that_stays(
    tmp_path: Path, name: str, line: bytes
) -> None:
    Store(tmp_path).append(make_run(), [outcome("a")])
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole + line + b"\n" + whole)
    store = Store(tmp_path)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=f"{name}, line 2: .*; restore the file"):
            store.outcomes(make_run())
    with pytest.raises(ConfigurationError, match="line 2"):
        store.append(make_run(), [outcome("b")])
    assert (tmp_path / name).read_bytes() == whole + line + b"\n" + whole


def test_an_edited_run_and_an_outcome_without_one_are_errors(tmp_path: Path) -> None:
    Store(tmp_path).append(make_run(), [outcome("a")])
    row = json.loads((tmp_path / "runs.jsonl").read_text())
    (tmp_path / "runs.jsonl").write_text(json.dumps(row | {"seed": 3}) + "\n")
    with pytest.raises(ConfigurationError, match=f"the fields of run {make_run().key} give"):
        Store(tmp_path).runs()
    (tmp_path / "runs.jsonl").write_text("")
    with pytest.raises(ConfigurationError, match="is not in runs"):
        Store(tmp_path).runs()


def test_outcomes_that_agree_are_harmless_and_others_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(make_run(), [outcome("a")])
    size = (tmp_path / "outcomes.jsonl").stat().st_size
    store.append(make_run(), [outcome("a", seconds=9.0)])
    assert (tmp_path / "outcomes.jsonl").stat().st_size == size
    assert store.outcomes(make_run())["a"].seconds == 0.25
    with pytest.raises(ConfigurationError, match=r"two different outcomes of 'a' \(nfe 5 and 6\)"):
        store.append(make_run(), [outcome("b"), outcome("a", nfe=6)])
    assert set(Store(tmp_path).outcomes(make_run())) == {"a"}

    line = (tmp_path / "outcomes.jsonl").read_text()
    agreeing = line.replace('"seconds":0.25', '"seconds":1.0')
    (tmp_path / "outcomes.jsonl").write_text(line + agreeing)
    assert Store(tmp_path).outcomes(make_run()) == {"a": outcome("a")}
    (tmp_path / "outcomes.jsonl").write_text(line + agreeing.replace('"nfe":5', '"nfe":6'))
    with pytest.raises(ConfigurationError, match=r"outcomes.jsonl, line 2: .* \(nfe 5 and 6\)"):
        Store(tmp_path).outcomes(make_run())


def test_the_name_that_was_given_last_is_the_runs_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(make_run(name="old"), [outcome("a")])
    store.append(make_run(name="new"), [])
    assert [run.name for run in Store(tmp_path).runs()] == ["new"]
    assert set(Store(tmp_path).outcomes(make_run())) == {"a"}


def test_what_is_no_json_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(TypeError):
        store.append(make_run(params={"network": object()}), [outcome("a")])
    with pytest.raises(ValueError, match=r"correct=nan of 'a'"):
        store.append(make_run(), [outcome("a", correct=float("nan"))])
    assert Store(tmp_path).outcomes(make_run()) == {}
    store.append(make_run(), [outcome("a")])


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).append(make_run(), [outcome("a")])
    (tmp_path / "store.json").write_text('{"version": 99}')
    with pytest.raises(ConfigurationError, match=r"store.json: the version .* is 99, not 1"):
        Store(tmp_path)
    (tmp_path / "store.json").unlink()
    with pytest.raises(ConfigurationError, match="version"):
        Store(tmp_path)


def fill(folder: Path, seed: int) -> None:
    store = Store(folder)
    for start in range(0, 40, 4):
        uids = [str(index) for index in range(start, start + 4)]
        store.append(make_run(seed=seed), [outcome(uid, tokens=seed) for uid in uids])
        store.append(make_run(seed=9), [outcome(uid, seconds=float(seed)) for uid in uids])


def test_several_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=fill, args=(tmp_path, seed)) for seed in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    store = Store(tmp_path)
    uids = {str(index) for index in range(40)}
    assert {run.seed for run in store.runs()} == {0, 1, 2, 9}
    for run in store.runs():
        assert set(store.outcomes(run)) == uids
    lines = (tmp_path / "outcomes.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 4 * 40


NO_ROWS = {
    "correct": [1.5, -0.5, float("nan"), "yes", None, True],
    "nfe": [-3, 2.5, "4", True],
    "nfe_by_kind": [{"fresh": -1}, [3], {"fresh": "3"}],
    "tokens": [-1, 0.5],
    "still_masked": [0, "no", None],
    "seconds": [-1.0, float("inf"), float("nan"), "1"],
    "uid": [7],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in NO_ROWS.items() for v in vs])
def test_a_row_that_no_evaluation_gives_is_refused(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"{name}.*=.*must be"):
        outcome(**({"uid": "a"} | {name: value}))
    store, run = Store(tmp_path), make_run()
    store.append(run, [outcome("a")])
    path = tmp_path / "outcomes.jsonl"
    row = json.loads(path.read_text()) | {name: value}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(ConfigurationError, match=rf"outcomes.jsonl, line 1: {name}"):
        Store(tmp_path).outcomes(run)
