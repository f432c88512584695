"""Results of settings on problem sets, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np

from lit_unmask.evaluation.runs import Outcome, Run
from lit_unmask.files import canonical_json
from lit_unmask.report.statistics import Array, Estimate, accuracy_estimate, mean_estimate

# What makes two runs on different problems, or with different noise, the same setting.
_NOT_THE_SETTING = ("stage", "problems", "num_problems", "limits", "name", "seed")


@dataclass(frozen=True)
class Result:
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
    def method(self) -> str:
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

    def of_seed(self, index: int) -> Result:
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
    test: list[Result]
    tuning: list[Result]
    uids: list[str]
    tuning_uids: list[str]
    unfinished: list[str]

    @property
    def run(self) -> Run:
        """Any test run: for all that the runs of a dataset have in common."""
        return self.test[0].run

    @cached_property
    def tuned(self) -> dict[str, Result]:
        """The tuning settings by identity."""
        return {setting.identity: setting for setting in self.tuning}


def gathered(pairs: list[tuple[Run, dict[str, Outcome]]], uids: list[str]) -> list[Result]:
    """Group finished runs into settings; one that lacks a seed that others have is left out."""
    groups: dict[str, list[tuple[Run, dict[str, Outcome]]]] = {}
    for run, outcomes in pairs:
        groups.setdefault(_identity(run), []).append((run, outcomes))
    seeds = max((len(group) for group in groups.values()), default=0)
    whole = [sorted(g, key=lambda p: p[0].seed) for g in groups.values() if len(g) == seeds]
    labels = _labels([group[0][0] for group in whole])
    return [_setting(label, group, uids) for label, group in zip(labels, whole, strict=True)]


def _setting(label: str, group: list[tuple[Run, dict[str, Outcome]]], uids: list[str]) -> Result:
    table = [[outcomes[uid] for _, outcomes in group] for uid in uids]
    kinds = dict.fromkeys(kind for row in table for outcome in row for kind in outcome.nfe_by_kind)

    def values(read: Callable[[Outcome], float]) -> Array:
        return np.array([[read(outcome) for outcome in row] for row in table], dtype=float)

    return Result(
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
