"""Methods of settings, and the areas under their frontiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from lit_unmask.report.results import Dataset, Result
from lit_unmask.report.statistics import (
    Array,
    Estimate,
    bootstrap_counts,
    bootstrap_estimate,
    hypervolume,
    log_area,
    resampled_means,
)

ALL_HEURISTICS = "all heuristics"
Area = Callable[[Array, Array, Array, int], Array]
AREAS: dict[str, Area] = {"hypervolume": hypervolume, "area over log NFE": log_area}


@dataclass(frozen=True)
class Resampled:
    """Means of every test setting of a dataset over the same resampled problems.

    Attributes:
        accuracy: ``[R, B + 1]``; the first column is that of the problems themselves.
        nfe: ``[R, B + 1]`` forwards.
    """

    accuracy: Array
    nfe: Array

    @classmethod
    def of(cls, dataset: Dataset, resamples: int, seed: int) -> Resampled:
        """Resample the problems of a dataset; seeds of a problem stay together."""
        problems = len(dataset.uids)
        counts = bootstrap_counts(problems, resamples, seed)
        counts = np.concatenate([np.ones((1, problems)), counts])
        return cls(
            np.stack([resampled_means(setting.correct, counts) for setting in dataset.test]),
            np.stack([resampled_means(setting.nfe, counts) for setting in dataset.test]),
        )


@dataclass(frozen=True)
class Method:
    """Settings that belong together: a heuristic over its settings, or a learned policy.

    Attributes:
        name: What to call it.
        kind: ``heuristic`` or ``learned``.
        members: Indices of test settings by training seed; a heuristic has one member.
    """

    name: str
    kind: str
    members: dict[str, list[int]]

    @property
    def indices(self) -> list[int]:
        """All its test settings."""
        return [index for member in self.members.values() for index in member]


def methods(dataset: Dataset) -> list[Method]:
    """Return the methods of a dataset, learned ones first."""
    found: dict[tuple[str, str], dict[str, list[int]]] = {}
    for index, setting in enumerate(dataset.test):
        members = found.setdefault((setting.run.kind, setting.method), {})
        members.setdefault(setting.training_seed, []).append(index)
    grouped = [Method(name, kind, members) for (kind, name), members in found.items()]
    return sorted(grouped, key=lambda method: method.kind != "learned")


def all_heuristics(members: Sequence[Method]) -> Method | None:
    """Return the method of all settings of all heuristics, if there is more than one heuristic."""
    heuristics = [method for method in members if method.kind == "heuristic"]
    if len(heuristics) < 2:
        return None
    together = [index for method in heuristics for index in method.indices]
    return Method(ALL_HEURISTICS, "heuristic", {"": together})


@dataclass(frozen=True)
class MethodAreas:
    """Areas under the frontier of one method.

    Attributes:
        method: The method.
        areas: Estimates by the name of the area.
        samples: ``[B + 1]`` resampled areas by name, the first of the problems themselves.
        settings: Test settings that the frontier is made of.
        chosen_on_test: Whether the accuracies of the frontier were picked among several on the
            very problems that they are reported on, which makes the areas too large.
    """

    method: Method
    areas: dict[str, Estimate]
    samples: dict[str, Array]
    settings: int
    chosen_on_test: bool


def method_areas(dataset: Dataset, resampled: Resampled, method: Method) -> MethodAreas:
    """Return the areas of a method: of several training seeds, their mean.

    Settings that were tuned are preferred in the order of their accuracy on the tuning problems.
    Where none was and there are several, the test accuracies themselves have to choose.
    """
    used = {seed: _used(dataset, member) for seed, member in method.members.items()}
    samples = {
        name: np.mean([_area(dataset, resampled, m, area) for m in used.values()], axis=0)
        for name, area in AREAS.items()
    }
    return MethodAreas(
        method=method,
        areas={name: bootstrap_estimate(float(a[0]), a[1:]) for name, a in samples.items()},
        samples=samples,
        settings=sum(len(member) for member in used.values()),
        chosen_on_test=any(_preference(dataset, member) is None for member in used.values()),
    )


def _used(dataset: Dataset, member: list[int]) -> list[int]:
    """Return the settings with tuning results; all of them if there are none."""
    tuned = [index for index in member if dataset.test[index].identity in dataset.tuned]
    return tuned or member


def _area(dataset: Dataset, resampled: Resampled, member: list[int], area: Area) -> Array:
    accuracy, nfe = resampled.accuracy[member].T, resampled.nfe[member].T
    preference = _preference(dataset, member)
    return area(
        nfe, accuracy, accuracy if preference is None else preference, dataset.run.gen_length
    )


def _preference(dataset: Dataset, member: list[int]) -> Array | None:
    """Return ranks ``[R]`` of settings on the tuning problems, or None if test must choose."""
    if len(member) == 1:
        return np.zeros(1)
    tuned = [dataset.tuned.get(dataset.test[index].identity) for index in member]
    known = [setting for setting in tuned if setting is not None]
    if len(known) < len(member):
        return None
    order = sorted(range(len(known)), key=lambda i: preference_key(known[i]))
    ranks = np.empty(len(known))
    ranks[order] = np.arange(len(known))
    return ranks


def preference_key(setting: Result) -> tuple[float, float]:
    """Order settings by accuracy, then by fewer forwards."""
    return setting.accuracy.value, -setting.mean_nfe.value


@dataclass(frozen=True)
class AreaDifference:
    """How much more area one method has than another, on the same resampled problems."""

    first: MethodAreas
    second: MethodAreas
    differences: dict[str, Estimate]


def area_differences(
    firsts: Sequence[MethodAreas], seconds: Sequence[MethodAreas]
) -> list[AreaDifference]:
    """Compare the areas of each of the first methods with each of the second."""
    pairs = [(a, b) for a, b in product(firsts, seconds) if a.method != b.method]
    return [AreaDifference(a, b, {n: _difference(a, b, n) for n in AREAS}) for a, b in pairs]


def _difference(first: MethodAreas, second: MethodAreas, name: str) -> Estimate:
    difference = first.samples[name] - second.samples[name]
    return bootstrap_estimate(float(difference[0]), difference[1:])
