"""The store keeps what was appended, through crashes and beside other writers."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.store import FILE, Outcome, Run, Store


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


def test_opening_asks_the_same_however_many_outcomes_there_are_and_reads_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite compares its pages itself; no row of outcomes comes out of it."""
    asked: list[str] = []
    connect = sqlite3.connect

    def traced(*args: Any, **settings: Any) -> sqlite3.Connection:
        db = connect(*args, **settings)
        db.set_trace_callback(asked.append)
        return db

    def statements(rows: int) -> list[str]:
        Store(tmp_path).append(make_run(), [outcome(str(number)) for number in range(rows)])
        asked.clear()
        Store(tmp_path)
        return list(asked)

    monkeypatch.setattr(sqlite3, "connect", traced)
    few, many = statements(1), statements(2000)
    assert few == many and not any("outcomes" in one for one in few)


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
        "further": {"max_block_steps": 9},
    }  # fmt: skip
    assert changed.keys() == asdict(run).keys() - {"name"}
    assert len({run.key, *(replace(run, **{k: v}).key for k, v in changed.items())}) == 18
    assert run.key == make_run(approximate={"early_stop": False, "cache": "none"}).key


def test_other_seeds_of_the_same_setting_are_found(tmp_path: Path) -> None:
    store, run = Store(tmp_path), make_run(seed=1)
    store.append(run, [outcome("a", nfe=1)])
    store.append(make_run(seed=2, name="renamed"), [outcome("a", nfe=2), outcome("b", nfe=2)])
    store.append(make_run(seed=3), [outcome("b", nfe=3), outcome("c", nfe=3)])
    store.append(make_run(seed=3, block_length=16), [outcome("d")])
    others = store.outcomes_of_other_seeds(run)
    assert {uid: row.nfe for uid, row in others.items()} == {"b": 2, "c": 3}
    assert store.outcomes_of_other_seeds(make_run(seed=3, block_length=16)) == {}


def test_a_writer_that_dies_in_an_append_loses_that_append_alone(tmp_path: Path) -> None:
    first, last = make_run(), make_run(seed=1)
    Store(tmp_path).append(first, [outcome("a"), outcome("b")])
    program = f"""if True:
        import os, sqlite3
        db = sqlite3.connect({str(tmp_path / FILE)!r}, isolation_level=None)
        db.execute("PRAGMA cache_size = 1")  # what is over spills into the file before the commit
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO runs SELECT 'torn', setting, fields, checksum FROM runs")
        db.execute("UPDATE outcomes SET nfe = 99")
        db.executemany("INSERT INTO outcomes SELECT 'torn', ? || uid, correct, nfe, nfe_by_kind, "
            "tokens, still_masked, seconds, checksum FROM outcomes "
            "WHERE uid = 'a' AND run != 'torn'",
            [(str(n),) for n in range(5000)])
        os._exit(9)
    """
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    assert (tmp_path / f"{FILE}-journal").stat().st_size, "nothing was left to undo"
    store = Store(tmp_path)
    assert store.runs() == [first] and set(store.outcomes("torn")) == set()
    assert store.outcomes(first) == {"a": outcome("a"), "b": outcome("b")}
    store.append(last, [outcome("c")])
    assert set(Store(tmp_path).outcomes(last)) == {"c"}


def test_an_append_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(make_run(), [outcome("b")])
    for bad in (outcome("b", nfe=6), outcome("b", correct=1.5)):
        with pytest.raises(ConfigurationError):
            store.append(make_run(name="new"), [outcome("a"), bad])
    assert Store(tmp_path).outcomes(make_run()) == {"b": outcome("b")}
    assert [run.name for run in store.runs()] == ["threshold"]


@settings(max_examples=20, deadline=None)
@given(st.floats(min_value=0, max_value=1, exclude_max=True))
def test_a_torn_file_is_refused_wherever_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    folder = tmp_path_factory.mktemp("store")
    Store(folder).append(make_run(), [outcome(str(n)) for n in range(200)])
    size = int((folder / FILE).stat().st_size * share)
    os.truncate(folder / FILE, size)
    if size == 0:  # as a crash leaves it before the first append
        assert Store(folder).runs() == []
        return
    before = (folder / FILE).read_bytes()
    for use in (lambda: Store(folder), lambda: store_of(folder).append(make_run(), [])):
        with pytest.raises(ConfigurationError, match=f"{folder}/{FILE}: .*; restore the file"):
            use()
    assert (folder / FILE).read_bytes() == before


def store_of(folder: Path) -> Store:
    """Return a store that was opened before its file was damaged."""
    store = Store(folder / "none")
    store.folder, store._file = folder, folder / FILE
    return store


def test_files_of_other_programs_and_of_newer_versions_are_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.execute("CREATE TABLE runs (key)")
    with pytest.raises(ConfigurationError, match=f"{FILE} is a file of another program"):
        Store(tmp_path)
    with pytest.raises(ConfigurationError, match=f"{FILE} is a file of another program"):
        store_of(tmp_path).append(make_run(), [])
    (tmp_path / FILE).write_text("a letter to nobody, of more than a few words" * 99)
    with pytest.raises(ConfigurationError, match="file is not a database; restore the file"):
        Store(tmp_path)
    (tmp_path / FILE).unlink()
    Store(tmp_path).append(make_run(), [outcome("a")])
    change(tmp_path, "PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match=rf"{FILE}: the version .* is 99, not 2"):
        Store(tmp_path)


def test_reading_changes_nothing_and_needs_no_right_to_write(tmp_path: Path) -> None:
    # Below /tmp, which anybody may enter.
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        Store(place).append(make_run(), [outcome("a")])
        os.chmod(place / FILE, 0o444)
        os.chmod(place, 0o555)
        before = (place / FILE).read_bytes()
        reader = multiprocessing.get_context("fork").Process(target=read_as_nobody, args=(place,))
        reader.start()
        reader.join(60)
        assert reader.exitcode == 0
        assert [file.name for file in place.iterdir()] == [FILE]
        assert (place / FILE).read_bytes() == before


def read_as_nobody(folder: Path) -> None:
    if os.getuid() == 0:
        os.setuid(65534)
    assert not os.access(folder, os.W_OK)
    assert Store(folder).outcomes(make_run()) == {"a": outcome("a")}
    with pytest.raises(ConfigurationError, match="readonly database; check its permissions"):
        Store(folder).append(make_run(), [outcome("b")])


def change(folder: Path, statement: str, *values: Any) -> None:
    """Change the file behind the store's back."""
    with closing(sqlite3.connect(folder / FILE)) as db, db:
        db.execute(statement, values)


# A column, a value that is none, and what the refusal says of it.
NO_OUTCOMES: dict[str, tuple[dict[str, Any], str]] = {
    "verdict above one": ({"correct": 1.01}, r"correct=1.01 must be a number from 0 to 1"),
    "negative verdict": ({"correct": -0.5}, "correct=-0.5 must be"),
    "no finite verdict": ({"correct": float("nan")}, "correct=(nan|None) must be"),
    "no verdict": ({"correct": "right"}, "correct='right' must be"),
    "negative forwards": ({"nfe": -1}, "nfe=-1 must be a whole number from 0"),
    "half a forward": ({"nfe": 2.5}, "nfe=2.5 must be a whole number from 0"),
    "negative kind": ({"nfe_by_kind": {"fresh": 6, "unchanged": -1}}, "unchanged=-1 must be"),
    "half a token": ({"tokens": 0.5}, "tokens=0.5 must be a whole number from 0"),
    "masked": ({"still_masked": 2}, "still_masked=2 must be True or False"),
    "endless": ({"seconds": float("inf")}, "seconds=inf must be a finite number from 0"),
    "backwards": ({"seconds": -1.0}, "seconds=-1.0 must be a finite number from 0"),
}


@pytest.mark.parametrize("name", NO_OUTCOMES)
def test_what_cannot_have_come_out_is_neither_written_nor_read(tmp_path: Path, name: str) -> None:
    values, message = NO_OUTCOMES[name]
    run, store = make_run(), Store(tmp_path)
    where = f"run {run.key}, problem 'b': {message}"
    with pytest.raises(ConfigurationError, match=f"{where}.*; nothing was stored"):
        store.append(run, [outcome("a"), outcome("b", **values)])
    assert store.runs() == []

    store.append(run, [outcome("a"), outcome("b")])
    [(column, value)] = values.items()
    value = json.dumps(value) if isinstance(value, dict) else value
    change(tmp_path, f"UPDATE outcomes SET {column} = ? WHERE uid = 'b'", value)
    with pytest.raises(ConfigurationError, match=f"{FILE}: {where}.*; restore the file"):
        store.outcomes(run)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[", None])
def test_an_edited_row_is_an_error_that_stays(tmp_path: Path, text: str | None) -> None:
    store, key = Store(tmp_path), make_run().key
    store.append(make_run(), [outcome("a")])
    if text != "{}":
        change(tmp_path, "UPDATE outcomes SET nfe_by_kind = ?", text)
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=f"run {key}, problem 'a': .*; restore"):
                store.outcomes(make_run())
    change(tmp_path, "UPDATE runs SET fields = ?", text or "")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=f"run {key}: .*; restore the file"):
            Store(tmp_path)
    fields = json.dumps(asdict(make_run(seed=3)))
    change(tmp_path, "UPDATE runs SET fields = ?", fields)
    with pytest.raises(ConfigurationError, match=f"run {key}: its fields give the key"):
        store.runs()


def test_outcomes_that_agree_are_harmless_and_others_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(make_run(), [outcome("a")])
    store.append(make_run(), [outcome("a", seconds=9.0)])
    assert store.outcomes(make_run())["a"].seconds == 0.25
    with pytest.raises(ConfigurationError, match=r"two different outcomes of 'a' \(nfe 5 and 6\)"):
        store.append(make_run(), [outcome("b"), outcome("a", nfe=6)])
    assert set(Store(tmp_path).outcomes(make_run())) == {"a"}


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
    assert Store(tmp_path).outcomes(make_run()) == {}
    store.append(make_run(), [outcome("a")])


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
