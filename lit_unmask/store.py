"""An append-only store of evaluated problems: what was run, and what came out of each problem."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from filelock import FileLock, Timeout

from lit_unmask.errors import ConfigurationError
from lit_unmask.files import replace_file
from lit_unmask.jsonl import JSONLines, canonical_json

VERSION = 1
# Seconds that a writer waits for another one, which holds the store for one append only.
_PATIENCE = 60.0


@dataclass(frozen=True)
class Run:
    """What was run: one policy with one way of decoding and one seed, on one set of problems.

    Attributes:
        dataset: Name of the problem set.
        stage: Whether the problems chose settings (``tuning``) or are reported on (``test``).
        problems: Fingerprint of the set: uids and encoded prompts, in order.
        num_problems: Problems of the set, each uid counted once.
        denoiser: What names the denoiser and its weights.
        name: What to call the policy in tables; no part of ``key``.
        kind: Whether the policy was trained.
        policy: Class name of the policy.
        params: Settings of the policy, as JSON.
        weights: Short hash of the policy's weights and settings; empty for a heuristic.
        gen_length: Generation length in tokens.
        block_length: Block length in tokens.
        temperature: Token temperature.
        on_empty: What happens when the policy chooses nothing.
        approximate: Approximations of the decoding, as JSON.
        seed: Seed of the noise.
        limits: What grading may use, such as time and memory of programs, each set of limits once;
            empty where verdicts do not depend on any.
    """

    dataset: str
    stage: Literal["tuning", "test"]
    problems: str
    num_problems: int
    denoiser: str
    name: str
    kind: Literal["heuristic", "learned"]
    policy: str
    params: dict[str, Any]
    weights: str
    gen_length: int
    block_length: int
    temperature: float
    on_empty: str
    approximate: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    limits: list[dict[str, Any]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """16 hex digits that follow from everything but ``name``."""
        said = {name: value for name, value in asdict(self).items() if name != "name"}
        if not self.limits:  # keys are those of before there were limits
            del said["limits"]
        return hashlib.blake2b(canonical_json(said).encode(), digest_size=8).hexdigest()

    @property
    def approximations(self) -> dict[str, Any]:
        """The approximations that are in use; empty for the exact engine."""
        off = ("none", False, None)
        return {name: value for name, value in self.approximate.items() if value not in off}

    @property
    def label(self) -> str:
        """Name, settings and block length, for instance ``threshold (threshold=0.9), BL 8``."""
        settings = ", ".join(f"{name}={value}" for name, value in self.params.items())
        mode = "".join(f", {name}={value}" for name, value in self.approximations.items())
        return f"{self.name}{f' ({settings})' * bool(settings)}, BL {self.block_length}{mode}"


@dataclass(frozen=True)
class Outcome:
    """What came out of one problem in one run.

    Attributes:
        uid: The problem's uid.
        correct: Verdict in ``[0, 1]``.
        nfe: Denoiser forwards that the row was charged for.
        nfe_by_kind: The same forwards by kind. ``fresh`` ones had a new buffer to look at,
            ``unchanged`` ones the buffer of the step before, and need not be computed.
        tokens: Tokens before the first end token.
        still_masked: Whether the response ended with masks.
        seconds: Share of the wall time of the batch that the problem was decoded in; depends on
            the batch and the machine, and is left out where outcomes are compared.
    """

    uid: str
    correct: float
    nfe: int
    nfe_by_kind: dict[str, int]
    tokens: int
    still_masked: bool
    seconds: float

    def __post_init__(self) -> None:
        """Refuse what no evaluation gives.

        Raises:
            ValueError: If a field has a value that it cannot have; names the problem.
        """
        counts = {"nfe": self.nfe, "tokens": self.tokens}
        if not isinstance(self.uid, str):
            raise ValueError(f"uid={self.uid!r} must be text")
        if not isinstance(self.nfe_by_kind, dict):
            self._refuse("nfe_by_kind", "an object of counts")
        counts |= {f"nfe_by_kind.{kind}": count for kind, count in self.nfe_by_kind.items()}
        if not _is_number(self.correct) or not 0 <= self.correct <= 1:
            self._refuse("correct", "a number in [0, 1]")
        for name, count in counts.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise ValueError(f"{name}={count!r} of {self.uid!r} must be a count of at least 0")
        if not isinstance(self.still_masked, bool):
            self._refuse("still_masked", "true or false")
        if not _is_number(self.seconds) or not 0 <= self.seconds < math.inf:
            self._refuse("seconds", "a number of at least 0")

    def _refuse(self, name: str, rule: str) -> NoReturn:
        raise ValueError(f"{name}={getattr(self, name)!r} of {self.uid!r} must be {rule}")

    def agrees(self, other: Outcome) -> bool:
        """Return whether everything but ``seconds`` is the same."""
        return replace(self, seconds=other.seconds) == other


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


class Store:
    """Runs and their outcomes in a folder, as JSON lines that are only ever added to.

    ``runs.jsonl`` has one line a run, ``outcomes.jsonl`` one line a problem of a run. Whole lines
    are written and flushed to the disk under a lock, so that an interrupted sweep keeps all that
    it appended, and several processes may append. The last line, if a crash tore it, is ignored
    by readers and removed by the next append.

    Args:
        folder: Where the store is; made by the first append.

    Raises:
        ConfigurationError: If the folder holds another version of store, or something else.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._run_file = JSONLines(self.folder / "runs.jsonl")
        self._outcome_file = JSONLines(self.folder / "outcomes.jsonl")
        self._forget()
        self._check_version()

    def runs(self) -> list[Run]:
        """Return every run in the order of its first append, with the name it was given last."""
        self._refresh()
        return list(self._runs.values())

    def outcomes(self, run: Run | str) -> dict[str, Outcome]:
        """Return the outcomes of a run, or of the run of a key, by uid."""
        self._refresh()
        key = run if isinstance(run, str) else run.key
        return dict(self._outcomes.get(key, {}))

    def outcomes_of_other_seeds(self, run: Run) -> dict[str, Outcome]:
        """Return what the same setting gave with other seeds, where the run has no outcome yet."""
        known = self.outcomes(run)
        found: dict[str, Outcome] = {}
        for other in self._runs.values():
            if replace(other, seed=run.seed, name=run.name) == run:
                found = self._outcomes.get(other.key, {}) | found
        return {uid: outcome for uid, outcome in found.items() if uid not in known}

    def missing(self, run: Run | str, uids: Iterable[str]) -> list[str]:
        """Return those of the uids that the run has no outcome of, each once, in their order."""
        known = self.outcomes(run)
        return [uid for uid in dict.fromkeys(uids) if uid not in known]

    def complete(self, run: Run) -> bool:
        """Return whether the run has an outcome of every problem of its set."""
        return len(self.outcomes(run)) >= run.num_problems

    def append(self, run: Run, outcomes: Sequence[Outcome]) -> None:
        """Add outcomes of a run; those that are there already are not written again.

        Args:
            run: What was run. A name that differs from the stored one takes its place.
            outcomes: What came out; may be empty, to note the run alone.

        Raises:
            ConfigurationError: If a stored outcome differs from a new one, the store is corrupt,
                or another process does not let go of it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / "lock", timeout=_PATIENCE):
                self._write_version()
                self._refresh()
                self._append(run, outcomes)
        except Timeout as error:
            raise ConfigurationError(
                f"{self.folder}/lock has been held for {_PATIENCE:g} s by another process; "
                "wait for it, or use another folder"
            ) from error

    def _append(self, run: Run, outcomes: Sequence[Outcome]) -> None:
        key = run.key
        known, new = dict(self._outcomes.get(key, {})), []
        for outcome in outcomes:
            stored = known.setdefault(outcome.uid, outcome)
            if stored is outcome:
                new.append(outcome)
            elif not stored.agrees(outcome):
                raise ConfigurationError(self._disagreement(key, stored, outcome))
        # The run comes first, so that no outcome is ever without one.
        if key not in self._runs or self._runs[key].name != run.name:
            self._run_file.append([{"key": key, **asdict(run)}])
        self._outcome_file.append([{"run": key, **asdict(outcome)} for outcome in new])
        self._refresh()

    def _refresh(self) -> None:
        """Read what has been added since the last time."""
        # A run is written before its outcomes, so outcomes have to be read before their runs.
        outcomes = self._outcome_file.new()
        try:
            for line in self._run_file.new():
                self._run_file.parse(*line, self._take_run)
            for line in outcomes:
                self._outcome_file.parse(*line, self._take_outcome)
        except ConfigurationError:
            # What was half read is read again, so that no later call overlooks the error.
            self._forget()
            raise

    def _forget(self) -> None:
        self._runs: dict[str, Run] = {}
        self._outcomes: dict[str, dict[str, Outcome]] = {}
        self._run_file.rewind()
        self._outcome_file.rewind()

    def _take_run(self, row: dict[str, Any]) -> None:
        key = row.pop("key")
        run = Run(**row)
        if run.key != key:
            raise ValueError(f"the fields of run {key} give the key {run.key}")
        self._runs[key] = run

    def _take_outcome(self, row: dict[str, Any]) -> None:
        key = row.pop("run")
        outcome = Outcome(**row)
        if key not in self._runs:
            raise ValueError(f"run {key} is not in runs.jsonl")
        stored = self._outcomes.setdefault(key, {}).setdefault(outcome.uid, outcome)
        if not stored.agrees(outcome):
            raise ValueError(self._disagreement(key, stored, outcome))

    def _disagreement(self, key: str, stored: Outcome, new: Outcome) -> str:
        pairs = [(f.name, getattr(stored, f.name), getattr(new, f.name)) for f in fields(Outcome)]
        different = [f"{n} {a} and {b}" for n, a, b in pairs if a != b and n != "seconds"]
        return (
            f"run {key} has two different outcomes of {new.uid!r} ({', '.join(different)}); "
            "decoding rounds differently on another machine or with another version: use one "
            "folder for each"
        )

    def _check_version(self) -> bool:
        """Return whether the folder is a store; refuse one of another kind or version."""
        path, version = self.folder / "store.json", None
        if path.exists():
            with suppress(ValueError, TypeError, KeyError):
                version = json.loads(path.read_text())["version"]
        elif not any(file.path.exists() for file in (self._run_file, self._outcome_file)):
            return False
        if version != VERSION:
            raise ConfigurationError(
                f"{path}: the version of the results store is {version}, not {VERSION}; use the "
                "version of lit_unmask that wrote it, or another folder"
            )
        return True

    def _write_version(self) -> None:
        if self._check_version():
            return
        head = canonical_json({"format": "lit_unmask results", "version": VERSION})
        replace_file(self.folder / "store.json", f"{head}\n".encode())
