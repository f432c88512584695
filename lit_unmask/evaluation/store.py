"""A store of evaluated problems: what was run, and what came out of each problem."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.runs import Outcome, Run
from lit_unmask.files import canonical_json, parse_json

FILE = "store.sqlite"
VERSION = 2
# "lunm", in the header of the file: tells it from the SQLite files of other programs.
_APPLICATION = 0x6C756E6D
_PATIENCE = 60.0  # seconds that a process waits for one that is appending
_SCHEMA = (
    "CREATE TABLE runs (key TEXT PRIMARY KEY, setting TEXT NOT NULL, fields TEXT NOT NULL, "
    "checksum INTEGER)",
    "CREATE TABLE outcomes (run TEXT, uid TEXT, correct REAL, nfe INTEGER, nfe_by_kind TEXT, "
    "tokens INTEGER, still_masked INTEGER, seconds REAL, checksum INTEGER, "
    "PRIMARY KEY (run, uid))",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)
_UNEQUAL = "it does not have the checksum noted for it"
_DAMAGED = "restore the file from a copy, or remove it to have its outcomes computed again"
_REMEDIES = {
    sqlite3.SQLITE_BUSY: f"another process has held it for {_PATIENCE:g} s, wait for it",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_ERROR: _DAMAGED,
}


class Store:
    """Runs and their outcomes: two tables of a SQLite file in a folder.

    The file is compared with itself when the store is opened (SQLite's integrity check), a run with
    its key and an outcome with its checksum when they are read.

    Every append is one transaction, flushed to the disk: an interrupted sweep keeps all that it
    appended, and several processes of one machine may append. Outcomes are checked when they are
    written and when they are read.

    Args:
        folder: Where the store is; made by the first append.

    Raises:
        ConfigurationError: If the file there is torn, or of another version or program.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder, self._file = Path(folder), Path(folder) / FILE
        for (found,) in self._read("PRAGMA integrity_check(1)"):
            if found != "ok":
                raise self._refused(found, sqlite3.SQLITE_CORRUPT)
        self.runs()

    def runs(self) -> list[Run]:
        """Return every run in the order of its first append, with the name it was given last."""
        query = "SELECT * FROM runs ORDER BY rowid"
        return [self._run(*row) for row in self._read(query)]

    def outcomes(self, run: Run | str) -> dict[str, Outcome]:
        """Return the outcomes of a run, or of the run of a key, by uid."""
        return self._outcomes("run = ?", run if isinstance(run, str) else run.key)

    def outcomes_of_other_seeds(self, run: Run) -> dict[str, Outcome]:
        """Return what the same setting gave with other seeds, where the run has no outcome yet."""
        return self._outcomes(
            "run IN (SELECT key FROM runs WHERE setting = ? AND key != ?) "
            "AND uid NOT IN (SELECT uid FROM outcomes WHERE run = ?)",
            *(run.setting, run.key, run.key),
        )

    def missing(self, run: Run, uids: Iterable[str]) -> list[str]:
        """Return those of the uids that the run has no outcome of, each once, in their order."""
        known = {uid for (uid,) in self._read("SELECT uid FROM outcomes WHERE run = ?", run.key)}
        return [uid for uid in dict.fromkeys(uids) if uid not in known]

    def append(self, run: Run, outcomes: Sequence[Outcome]) -> None:
        """Add outcomes of a run, all or none; those that are there already are not written again.

        Args:
            run: What was run; its name takes the place of a stored one.
            outcomes: What came out; none notes the run alone.

        Raises:
            ConfigurationError: If an outcome breaks a rule or differs from a stored one, the store
                is torn, or another process does not let go of it.
        """
        said = run.key, run.setting, canonical_json(asdict(run))
        noted = zlib.crc32("".join(said).encode())
        for outcome in outcomes:
            try:
                outcome.check()
            except ValueError as error:
                where = f"{run.label}, run {run.key}, problem {outcome.uid!r}"
                raise ConfigurationError(f"{where}: {error}; nothing was stored") from error
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._transaction(writes=True) as db:
            db.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?) ON CONFLICT (key) "
                "DO UPDATE SET fields = excluded.fields, checksum = excluded.checksum",
                (*said, noted),
            )
            values = (vars(o) | {"nfe_by_kind": canonical_json(o.nfe_by_kind)} for o in outcomes)
            sums = (_checksum(run.key, outcome) for outcome in outcomes)
            rows = [
                (run.key, *value.values(), end) for value, end in zip(values, sums, strict=True)
            ]
            before = db.total_changes
            db.executemany(f"INSERT OR IGNORE INTO outcomes VALUES (?{', ?' * 8})", rows)
            if db.total_changes - before < len(rows):
                self._check_equal(db, run.key, outcomes)

    def _check_equal(self, db: sqlite3.Connection, key: str, outcomes: Sequence[Outcome]) -> None:
        for new in outcomes:
            query = "SELECT * FROM outcomes WHERE run = ? AND uid = ?"
            stored = self._outcome(*db.execute(query, (key, new.uid)).fetchone())
            if not stored.agrees(new):
                pairs = [(name, value, getattr(new, name)) for name, value in vars(stored).items()]
                different = [f"{n} {a} and {b}" for n, a, b in pairs if a != b and n != "seconds"]
                raise ConfigurationError(
                    f"{self._file}: run {key} has two different outcomes of {new.uid!r} "
                    f"({', '.join(different)}); decoding rounds differently on another machine or "
                    "with another version: use one folder for each"
                )

    def _outcomes(self, where: str, *values: str) -> dict[str, Outcome]:
        """Return the outcomes for which a condition holds by uid, the first of each."""
        query = f"SELECT * FROM outcomes WHERE {where}"  # nosec B608  # conditions are ours
        query += " GROUP BY uid HAVING min(rowid) ORDER BY rowid"
        return {row[1]: self._outcome(*row) for row in self._read(query, *values)}

    def _run(self, key: str, setting: str, text: str, noted: int) -> Run:
        try:
            run = Run(**parse_json(text))
            if run.key != key:
                raise ValueError(f"its fields give the key {run.key}")
            if noted != zlib.crc32("".join((key, setting, text)).encode()):
                raise ValueError(_UNEQUAL)
        except (ValueError, TypeError) as error:
            raise self._refused(f"run {key}: {error}", sqlite3.SQLITE_CORRUPT) from error
        return run

    def _outcome(self, key: str, uid: str, *values: Any) -> Outcome:
        correct, nfe, by_kind, tokens, masked, seconds, noted = values
        try:
            masked = {0: False, 1: True}.get(masked, masked)
            outcome = Outcome(uid, correct, nfe, parse_json(by_kind), tokens, masked, seconds)
            outcome.check()
            if noted != _checksum(key, outcome):
                raise ValueError(_UNEQUAL)
        except (ValueError, TypeError) as error:
            what = f"run {key}, problem {uid!r}: {error}"
            raise self._refused(what, sqlite3.SQLITE_CORRUPT) from error
        return outcome

    def _read(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        # An empty file is what a crash leaves of a store before its first append.
        if not self._file.exists() or not self._file.stat().st_size:
            return []
        with self._transaction(writes=False) as db:
            return db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self, writes: bool) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction, so that forked processes share no connection."""
        # "rw" reads a write-protected file too, and undoes an append that a crash interrupted.
        uri = f"{self._file.absolute().as_uri()}?mode={'rwc' if writes else 'rw'}"
        try:
            connection = sqlite3.connect(uri, _PATIENCE, isolation_level=None, uri=True)
            with closing(connection) as db, db:
                db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
                if writes and not self._file.stat().st_size:
                    for statement in _SCHEMA:
                        db.execute(statement)
                self._check_version(db)
                yield db
        except sqlite3.DatabaseError as error:
            # Text that is none has no code.
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
            raise self._refused(str(error), code) from error

    def _check_version(self, db: sqlite3.Connection) -> None:
        asked = "application_id", "user_version", "page_size"
        program, version, page = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in asked)
        if self._file.stat().st_size % page:
            raise self._refused("its end is cut off", sqlite3.SQLITE_CORRUPT)
        if program != _APPLICATION:
            raise ConfigurationError(
                f"{self._file} is a file of another program, no results store; use another folder"
            )
        if version != VERSION:
            raise ConfigurationError(
                f"{self._file}: the version of the results store is {version}, not {VERSION}; use "
                "the version of lit_unmask that wrote it, or another folder"
            )

    def _refused(self, what: str, code: int) -> ConfigurationError:
        remedy = _REMEDIES.get(code & 255, "check its permissions and the room on the disk")
        return ConfigurationError(f"{self._file}: {what}; {remedy}")


def _checksum(key: str, outcome: Outcome) -> int:
    """Return a checksum of an outcome of a run, whatever kinds of numbers it was made with."""
    o = outcome
    numbers = float(o.correct), int(o.nfe), int(o.tokens), bool(o.still_masked), float(o.seconds)
    return zlib.crc32(canonical_json([key, o.uid, o.nfe_by_kind, *numbers]).encode())
