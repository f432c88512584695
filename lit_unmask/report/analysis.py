"""All numbers of a report, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lit_unmask.errors import ConfigurationError
from lit_unmask.report.comparisons import Comparison, compare, corrected
from lit_unmask.report.methods import (
    AreaDifference,
    Method,
    MethodAreas,
    Resampled,
    all_heuristics,
    area_differences,
    method_areas,
    methods,
)
from lit_unmask.report.results import Dataset, Result
from lit_unmask.report.statistics import RESAMPLES


@dataclass(frozen=True)
class Options:
    """How a report is computed.

    Attributes:
        subjects: Methods to compare with all others; all learned ones if empty.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.
    """

    subjects: Sequence[str] = ()
    resamples: int = RESAMPLES
    seed: int = 0


@dataclass(frozen=True)
class Spread:
    """How a learned policy varies over its training seeds, with one way of decoding."""

    method: str
    block_length: int
    accuracy: list[float]
    nfe: list[float]


@dataclass(frozen=True)
class Analysis:
    """What is known about one dataset.

    Attributes:
        dataset: The results themselves.
        subjects: Methods that are asked about.
        areas: Areas of each method, and of all heuristics together.
        differences: Areas of the subjects minus those of the others.
        comparisons: Paired comparisons, corrected over the whole report.
        spreads: Training seeds of learned policies, where there are several.
    """

    dataset: Dataset
    subjects: list[Method]
    areas: list[MethodAreas]
    differences: list[AreaDifference]
    comparisons: list[Comparison]
    spreads: list[Spread]


def analyse(datasets: Sequence[Dataset], options: Options) -> list[Analysis]:
    """Compute everything; p-values are corrected over the comparisons of all datasets.

    Raises:
        ConfigurationError: If no dataset has a method that was asked for.
    """
    known = {method.name for dataset in datasets for method in methods(dataset)}
    for name in options.subjects:
        if name not in known:
            raise ConfigurationError(
                f"--subject {name!r} is in no store; there are {', '.join(sorted(known))}"
            )
    found = [_analyse(dataset, options) for dataset in datasets]
    fixed = iter(corrected([c for analysis in found for c in analysis.comparisons]))
    return [replace(a, comparisons=[next(fixed) for _ in a.comparisons]) for a in found]


def _analyse(dataset: Dataset, options: Options) -> Analysis:
    resampled = Resampled.of(dataset, options.resamples, options.seed)
    everyone = methods(dataset)
    subjects = [method for method in everyone if _is_subject(method, options)]
    others = [method for method in everyone if method not in subjects]
    together = all_heuristics(others)
    areas = [method_areas(dataset, resampled, method) for method in everyone]
    if together is not None:
        areas.append(method_areas(dataset, resampled, together))
    return Analysis(
        dataset=dataset,
        subjects=subjects,
        areas=areas,
        differences=area_differences(
            [area for area in areas if area.method in subjects],
            [area for area in areas if area.method not in subjects],
        ),
        comparisons=compare(dataset, resampled, subjects, others),
        spreads=[spread for method in everyone for spread in _spreads(dataset, method)],
    )


def _is_subject(method: Method, options: Options) -> bool:
    return method.name in options.subjects if options.subjects else method.kind == "learned"


def _spreads(dataset: Dataset, method: Method) -> list[Spread]:
    groups: dict[str, list[Result]] = {}
    for index in method.indices:
        run = dataset.test[index].run
        decoding = f"{run.block_length} {run.on_empty} {run.approximate} {run.further}"
        groups.setdefault(decoding, []).append(dataset.test[index])
    return [
        Spread(
            method=method.name,
            block_length=group[0].run.block_length,
            accuracy=[setting.accuracy.value for setting in group],
            nfe=[setting.mean_nfe.value for setting in group],
        )
        for group in groups.values()
        if len({setting.training_seed for setting in group}) == len(group) > 1
    ]
