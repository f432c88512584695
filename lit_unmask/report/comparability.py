"""Which runs of results stores may stand in one comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.store import Run

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
        mine = [run for run in runs if run.dataset == dataset]
        for name, remedy in _COMMON.items():
            for other in mine[1:]:
                one, two = getattr(mine[0], name), getattr(other, name)
                if one != two:
                    who = [_label(run, places) for run in (mine[0], other)]
                    raise ConfigurationError(
                        f"{dataset}: {who[0]} has {name}={one} and {who[1]} has "
                        f"{name}={two}, which cannot be compared; {remedy}"
                        f"{_or_apart(mine[0], other, places)}"
                    )
        _check_seeds(dataset, mine, places)


def _label(run: Run, places: Mapping[str, str] | None) -> str:
    place = (places or {}).get(run.key)
    return run.label if place is None else f"{run.label} in {place}"


def _or_apart(one: Run, other: Run, places: Mapping[str, str] | None) -> str:
    first, second = ((places or {}).get(run.key) for run in (one, other))
    return f", or report {first} and {second} apart" if first != second else ""


def _check_seeds(dataset: str, runs: Sequence[Run], places: Mapping[str, str] | None) -> None:
    seeds: dict[str, set[int]] = {}
    firsts_of: dict[str, Run] = {}
    for run in runs:
        policy = replace(run, seed=0).key
        seeds.setdefault(policy, set()).add(run.seed)
        firsts_of.setdefault(policy, run)
    for policy, its in seeds.items():
        first, firsts = next(iter(seeds.items()))
        if its != firsts:
            one, other = firsts_of[first], firsts_of[policy]
            raise ConfigurationError(
                f"{dataset}: {_label(one, places)} has the seeds {sorted(firsts)} and "
                f"{_label(other, places)} has {sorted(its)}, which cannot be compared; run both "
                f"with the same seeds{_or_apart(one, other, places)}"
            )
