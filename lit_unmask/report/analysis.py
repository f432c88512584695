"""All numbers of a report, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lit_unmask.errors import ConfigurationError
from lit_unmask.report.comparisons import Comparison, compare, corrected
from lit_unmask.report.families import (
    AreaDifference,
    Family,
    FamilyAreas,
    Resampled,
    all_heuristics,
    area_differences,
    families,
    family_areas,
)
from lit_unmask.report.reading import Dataset, Setting
from lit_unmask.report.statistics import RESAMPLES


@dataclass(frozen=True)
class Options:
    """How a report is computed.

    Attributes:
        subjects: Families to compare with all others; all learned ones if empty.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.
    """

    subjects: Sequence[str] = ()
    resamples: int = RESAMPLES
    seed: int = 0


@dataclass(frozen=True)
class Spread:
    """How a learned policy varies over its training seeds, with one way of decoding.

    Attributes:
        family: Name of the policy.
        block_length: Block length in tokens.
        seeds: Names of the training seeds.
        accuracy: Accuracy of each.
        nfe: Mean NFE of each.
    """

    family: str
    block_length: int
    seeds: list[str]
    accuracy: list[float]
    nfe: list[float]

    @property
    def accuracy_deviation(self) -> float:
        """Standard deviation of the accuracy over training seeds."""
        return float(np.std(self.accuracy, ddof=1))

    @property
    def nfe_deviation(self) -> float:
        """Standard deviation of the mean NFE over training seeds."""
        return float(np.std(self.nfe, ddof=1))


@dataclass(frozen=True)
class Analysis:
    """What is known about one dataset.

    Attributes:
        dataset: The results themselves.
        subjects: Families that are asked about.
        areas: Areas of each family, and of all heuristics together.
        differences: Areas of the subjects minus those of the others.
        comparisons: Paired comparisons, corrected over the whole report.
        spreads: Training seeds of learned policies, where there are several.
    """

    dataset: Dataset
    subjects: list[Family]
    areas: list[FamilyAreas]
    differences: list[AreaDifference]
    comparisons: list[Comparison]
    spreads: list[Spread]


def analyse(datasets: Sequence[Dataset], options: Options) -> list[Analysis]:
    """Compute everything; p-values are corrected over the comparisons of all datasets.

    Raises:
        ConfigurationError: If no dataset has a family that was asked for.
    """
    known = {family.name for dataset in datasets for family in families(dataset)}
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
    everyone = families(dataset)
    subjects = [family for family in everyone if _is_subject(family, options)]
    others = [family for family in everyone if family not in subjects]
    together = all_heuristics(others)
    areas = [family_areas(dataset, resampled, family) for family in everyone]
    if together is not None:
        areas.append(family_areas(dataset, resampled, together))
    return Analysis(
        dataset=dataset,
        subjects=subjects,
        areas=areas,
        differences=area_differences(
            [area for area in areas if area.family in subjects],
            [area for area in areas if area.family not in subjects],
        ),
        comparisons=compare(dataset, resampled, subjects, others),
        spreads=[spread for family in everyone for spread in _spreads(dataset, family)],
    )


def _is_subject(family: Family, options: Options) -> bool:
    return family.name in options.subjects if options.subjects else family.kind == "learned"


def _spreads(dataset: Dataset, family: Family) -> list[Spread]:
    groups: dict[str, list[Setting]] = {}
    for index in family.indices:
        run = dataset.test[index].run
        decoding = f"{run.block_length} {run.on_empty} {run.approximate} {run.further}"
        groups.setdefault(decoding, []).append(dataset.test[index])
    return [
        Spread(
            family=family.name,
            block_length=group[0].run.block_length,
            seeds=[setting.training_seed for setting in group],
            accuracy=[setting.accuracy.value for setting in group],
            nfe=[setting.mean_nfe.value for setting in group],
        )
        for group in groups.values()
        if len({setting.training_seed for setting in group}) == len(group) > 1
    ]
