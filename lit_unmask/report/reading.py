"""Results stores as arrays: settings, their noise seeds, and what must not be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.store import Outcome, Run, Store
from lit_unmask.files import canonical_json
from lit_unmask.report.comparability import check_comparable
from lit_unmask.report.statistics import Array, Estimate, accuracy_estimate, mean_estimate

# What makes two runs on different problems, or with different noise, the same setting.
_NOT_THE_SETTING = ("stage", "problems", "num_problems", "limits", "name", "seed")


@dataclass(frozen=True)
class Setting:
    """One policy with one way of decoding on one problem set, with all its noise seeds.

    Attributes:
        label: What to call it, different for each setting of a dataset.
        runs: Its runs, by rising seed.
        correct: ``[P, S]`` verdicts in ``[0, 1]``.
        nfe: ``[P, S]`` denoiser forwards.
        nfe_by_kind: The same by kind, each ``[P, S]``.
        tokens: ``[P, S]`` tokens before the first end token.
        still_masked: ``[P, S]`` 0 or 1.
        seconds: ``[P, S]`` shares of the wall time.
    """

    label: str
    runs: tuple[Run, ...]
    correct: Array
    nfe: Array
    nfe_by_kind: dict[str, Array]
    tokens: Array
    still_masked: Array
    seconds: Array

    @property
    def run(self) -> Run:
        """The run of the first seed."""
        return self.runs[0]

    @property
    def identity(self) -> str:
        """What the setting has in common with itself on other problems of the dataset."""
        return _identity(self.run)

    @property
    def family(self) -> str:
        """Name that groups settings: of a learned policy, without its training seed."""
        name = self.run.name
        return name.partition("/")[0] if self.run.kind == "learned" else name

    @property
    def training_seed(self) -> str:
        """What tells training seeds of a learned policy apart: the name after the first ``/``."""
        return self.run.name.partition("/")[2] if self.run.kind == "learned" else ""

    @property
    def is_full_diffusion(self) -> bool:
        """Whether there are no blocks."""
        return self.run.block_length == self.run.gen_length

    @cached_property
    def accuracy(self) -> Estimate:
        """Share of problems solved."""
        return accuracy_estimate(self.correct)

    @cached_property
    def mean_nfe(self) -> Estimate:
        """Mean forwards a problem."""
        return mean_estimate(self.nfe.mean(1))

    @property
    def tokens_per_forward(self) -> float:
        """Tokens before the end token for each forward."""
        return float(self.tokens.sum() / self.nfe.sum())

    def of_seed(self, index: int) -> Setting:
        """Return the setting with its seed number ``index`` alone."""
        pick = slice(index, index + 1)
        arrays = ("correct", "nfe", "tokens", "still_masked", "seconds")
        return replace(
            self,
            runs=self.runs[pick],
            nfe_by_kind={kind: nfe[:, pick] for kind, nfe in self.nfe_by_kind.items()},
            **{name: getattr(self, name)[:, pick] for name in arrays},
        )


@dataclass(frozen=True)
class Dataset:
    """All results on one problem set.

    Attributes:
        name: Name of the dataset.
        test: Settings that were run on the test problems.
        tuning: Settings that were run on the tuning problems.
        uids: Test problems, in the order of the arrays.
        tuning_uids: Tuning problems.
        unfinished: Labels of the runs that lack outcomes, which are left out.
    """

    name: str
    test: list[Setting]
    tuning: list[Setting]
    uids: list[str]
    tuning_uids: list[str]
    unfinished: list[str]

    @property
    def run(self) -> Run:
        """Any test run: for all that the runs of a dataset have in common."""
        return self.test[0].run

    @cached_property
    def tuned(self) -> dict[str, Setting]:
        """The tuning settings by identity."""
        return {setting.identity: setting for setting in self.tuning}


def read(folders: Sequence[Path]) -> list[Dataset]:
    """Read stores and refuse what cannot be compared.

    Args:
        folders: Results stores, taken together.

    Raises:
        ConfigurationError: If a store is missing, empty or corrupt, stores contradict each other,
            runs of one dataset do not fit together, or no dataset has a finished test run.
    """
    results: dict[str, tuple[Run, dict[str, Outcome]]] = {}
    places: dict[str, str] = {}
    for folder in folders:
        _merge(results, places, _load(folder), folder)
    names = dict.fromkeys(run.dataset for run, _ in results.values())
    datasets = [
        _dataset(name, [pair for pair in results.values() if pair[0].dataset == name], places)
        for name in names
    ]
    reported = [dataset for dataset in datasets if dataset.test]
    if not reported:
        raise ConfigurationError(
            f"{', '.join(map(str, folders))}: no run of stage 'test' has all its outcomes; "
            "finish the sweep first"
        )
    return reported


def _load(folder: Path) -> dict[str, tuple[Run, dict[str, Outcome]]]:
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: there is no results store; check the path")
    store = Store(folder)
    runs = store.runs()
    if not runs:
        raise ConfigurationError(f"{folder}: the results store has no runs; run a sweep first")
    return {run.key: (run, store.outcomes(run)) for run in runs}


def _merge(
    results: dict[str, tuple[Run, dict[str, Outcome]]],
    places: dict[str, str],
    more: dict[str, tuple[Run, dict[str, Outcome]]],
    folder: Path,
) -> None:
    for key, (run, outcomes) in more.items():
        merged = dict(results[key][1]) if key in results else {}
        for uid, outcome in outcomes.items():
            if uid in merged and not merged[uid].agrees(outcome):
                raise ConfigurationError(
                    f"{folder}: {run.label}, seed {run.seed}, has another outcome of {uid!r} than "
                    f"{places[key]}, as on another machine or with another version; report one of "
                    "the two stores"
                )
            merged.setdefault(uid, outcome)
        results[key] = (run, merged)
        places.setdefault(key, str(folder))


def _dataset(
    name: str, results: list[tuple[Run, dict[str, Outcome]]], places: dict[str, str]
) -> Dataset:
    of_stage = {
        stage: [pair for pair in results if pair[0].stage == stage] for stage in ("test", "tuning")
    }
    for pairs in of_stage.values():
        check_comparable([run for run, _ in pairs], places)
    _check_stages(name, [run for run, _ in results], places)
    whole = {
        stage: [pair for pair in pairs if len(pair[1]) >= pair[0].num_problems]
        for stage, pairs in of_stage.items()
    }
    uids = {stage: _uids(pairs) for stage, pairs in whole.items()}
    return Dataset(
        name=name,
        test=_settings(whole["test"], uids["test"]),
        tuning=_settings(whole["tuning"], uids["tuning"]),
        uids=uids["test"],
        tuning_uids=uids["tuning"],
        unfinished=[
            f"{run.label}, seed {run.seed} ({run.stage}: {len(found)} of {run.num_problems})"
            for run, found in results
            if len(found) < run.num_problems
        ],
    )


def _check_stages(name: str, runs: Sequence[Run], places: dict[str, str]) -> None:
    """Refuse settings that were tuned for another denoiser or length than they are tested with."""
    for field in ("denoiser", "gen_length", "temperature"):
        values = {run.stage: (getattr(run, field), places[run.key]) for run in runs}
        if len({value for value, _ in values.values()}) > 1:
            (tuned, tuning), (tested, test) = values["tuning"], values["test"]
            raise ConfigurationError(
                f"{name}: the tuning runs in {tuning} have {field}={tuned} and the test runs in "
                f"{test} have {field}={tested}, which cannot be compared; tune and test with the "
                "same"
            )


def _uids(pairs: list[tuple[Run, dict[str, Outcome]]]) -> list[str]:
    return sorted(pairs[0][1]) if pairs else []


def _settings(pairs: list[tuple[Run, dict[str, Outcome]]], uids: list[str]) -> list[Setting]:
    """Group finished runs into settings; one that lacks a seed that others have is left out."""
    groups: dict[str, list[tuple[Run, dict[str, Outcome]]]] = {}
    for run, outcomes in pairs:
        groups.setdefault(_identity(run), []).append((run, outcomes))
    seeds = max((len(group) for group in groups.values()), default=0)
    whole = [sorted(g, key=lambda p: p[0].seed) for g in groups.values() if len(g) == seeds]
    labels = _labels([group[0][0] for group in whole])
    return [_setting(label, group, uids) for label, group in zip(labels, whole, strict=True)]


def _setting(label: str, group: list[tuple[Run, dict[str, Outcome]]], uids: list[str]) -> Setting:
    table = [[outcomes[uid] for _, outcomes in group] for uid in uids]
    kinds = dict.fromkeys(kind for row in table for outcome in row for kind in outcome.nfe_by_kind)

    def values(read: Callable[[Outcome], float]) -> Array:
        return np.array([[read(outcome) for outcome in row] for row in table], dtype=float)

    return Setting(
        label=label,
        runs=tuple(run for run, _ in group),
        correct=values(lambda outcome: outcome.correct),
        nfe=values(lambda outcome: outcome.nfe),
        nfe_by_kind={
            kind: values(lambda outcome, kind=kind: outcome.nfe_by_kind.get(kind, 0))  # type: ignore[misc]
            for kind in kinds
        },
        tokens=values(lambda outcome: outcome.tokens),
        still_masked=values(lambda outcome: outcome.still_masked),
        seconds=values(lambda outcome: outcome.seconds),
    )


def _identity(run: Run) -> str:
    said = {name: value for name, value in asdict(run).items() if name not in _NOT_THE_SETTING}
    return canonical_json(said)


def _labels(runs: Sequence[Run]) -> list[str]:
    """Return the runs' labels, with what tells apart those that are alike."""
    labels = []
    for run in runs:
        alike = [other for other in runs if other.label == run.label]
        extra = [
            f"{name} {getattr(run, name)}"
            for name in ("policy", "on_empty", "approximate", "further", "weights")
            if len({str(getattr(other, name)) for other in alike}) > 1
        ]
        labels.append(", ".join([run.label, *extra]))
    return labels
