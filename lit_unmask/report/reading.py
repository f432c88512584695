"""Results stores as arrays, and which of their runs may stand in one comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.runs import Outcome, Run
from lit_unmask.evaluation.store import Store
from lit_unmask.report.results import Dataset, gathered

# What two runs on one dataset must have in common, and what to do where they do not.
_COMMON = {
    "stage": "compare the runs of one stage at a time",
    "problems": "use the same problems and prompts, and one store for each version of them",
    "denoiser": "keep one store for each denoiser",
    "gen_length": "run both with the same decoding.gen_length",
    "temperature": "run both with the same decoding.temperature",
    "limits": "grade both with the same limits of the verifier, in a store of their own",
    "approximations": "run both with the same decoding.approximate",
}


def read(folders: Sequence[Path]) -> list[Dataset]:
    """Read stores and refuse what cannot be compared.

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
    firsts = [pairs[0][0] for pairs in of_stage.values() if pairs]
    for one, other in pairwise(firsts):
        for field in ("denoiser", "gen_length", "temperature"):
            _check_equal((one, other), field, "tune and test problems need the same", places)
    whole = {
        stage: [pair for pair in pairs if len(pair[1]) >= pair[0].num_problems]
        for stage, pairs in of_stage.items()
    }
    uids = {stage: _uids(pairs) for stage, pairs in whole.items()}
    return Dataset(
        name=name,
        test=gathered(whole["test"], uids["test"]),
        tuning=gathered(whole["tuning"], uids["tuning"]),
        uids=uids["test"],
        tuning_uids=uids["tuning"],
        unfinished=[
            f"{run.label}, seed {run.seed} ({run.stage}: {len(found)} of {run.num_problems})"
            for run, found in results
            if len(found) < run.num_problems
        ],
    )


def _uids(pairs: list[tuple[Run, dict[str, Outcome]]]) -> list[str]:
    return sorted(pairs[0][1]) if pairs else []


def check_comparable(runs: Sequence[Run], places: Mapping[str, str] | None = None) -> None:
    """Check that runs may stand in one comparison.

    Runs of one dataset must agree in stage, problems, denoiser, generation length, temperature,
    approximations and limits of grading, and every policy must have been run with the same seeds.
    All else is what is compared.

    Args:
        runs: The runs, of any number of datasets.
        places: Where runs are stored, by their keys, for messages; None says nothing of it.

    Raises:
        ConfigurationError: If two of them do not fit together; names both, the difference and
            the remedy.
    """
    for dataset in dict.fromkeys(run.dataset for run in runs):
        first, *others = mine = [run for run in runs if run.dataset == dataset]
        for name, remedy in _COMMON.items():
            for other in others:
                _check_equal((first, other), name, remedy, places)
        policies = {run.setting: run for run in reversed(mine)}
        seeds = {key: sorted({r.seed for r in mine if r.setting == key}) for key in policies}
        for key, run in policies.items():
            if seeds[key] != seeds[first.setting]:
                said = f"the seeds {seeds[first.setting]}", f"the seeds {seeds[key]}"
                _refuse((first, run), said, "run both with the same seeds", places)


def _check_equal(
    pair: tuple[Run, Run], name: str, remedy: str, places: Mapping[str, str] | None
) -> None:
    one, other = (getattr(run, name) for run in pair)
    if one != other:
        _refuse(pair, (f"{name}={one}", f"{name}={other}"), remedy, places)


def _refuse(
    pair: tuple[Run, Run], said: tuple[str, str], remedy: str, places: Mapping[str, str] | None
) -> NoReturn:
    """Say what two runs have that cannot be compared, and what to do."""
    where = [(places or {}).get(run.key) for run in pair]
    who = [
        f"{run.label}{f' in {place}' * (place is not None)} has {has}"
        for run, place, has in zip(pair, where, said, strict=True)
    ]
    apart = f", or report {where[0]} and {where[1]} apart" * (where[0] != where[1])
    raise ConfigurationError(
        f"{pair[0].dataset}: {who[0]} and {who[1]}, which cannot be compared; {remedy}{apart}"
    )
