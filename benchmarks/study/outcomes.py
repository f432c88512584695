"""Results of the study and the logs of its runs, as its tables read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lit_unmask.report.comparisons import Comparison, compare, corrected
from lit_unmask.report.methods import Method, Resampled, all_heuristics, methods
from lit_unmask.report.results import Dataset, Result
from lit_unmask.report.statistics import RESAMPLES, bootstrap_estimate
from lit_unmask.report.tables import points, with_interval
from study.evaluating import Trained, names
from study.logs import Log, read_log


@dataclass(frozen=True)
class Study:
    """Results of the study and of the heuristics, on the same problems.

    Attributes:
        dataset: The results.
        logs: Logs of the runs by name.
    """

    dataset: Dataset
    logs: dict[str, Log]

    @classmethod
    def of(cls, dataset: Dataset) -> Study:
        """Read the logs that go with results."""
        return cls(dataset, {name: read_log(name) for name in names()})

    @cached_property
    def resampled(self) -> Resampled:
        """Means over resampled problems."""
        return Resampled.of(self.dataset, RESAMPLES, 0)

    @cached_property
    def places(self) -> dict[str, int]:
        """Indices of the test settings of learned policies by name."""
        return {
            setting.run.name: index
            for index, setting in enumerate(self.dataset.test)
            if setting.run.kind == "learned"
        }

    def has(self, *wanted: Trained) -> bool:
        """Return whether all of the policies have results."""
        return all(one.name in self.places for one in wanted)

    def setting(self, one: Trained) -> Result:
        """Return the results of a policy."""
        return self.dataset.test[self.places[one.name]]

    def method(self, name: str, members: Sequence[Trained]) -> Method:
        """Return several policies as one, whose frontier is of interest."""
        return Method(name, "learned", {"": [self.places[one.name] for one in members]})

    @cached_property
    def beside(self) -> dict[str, list[Comparison]]:
        """Comparisons of each policy with the heuristics tuned over setting and block length."""
        heuristics = all_heuristics(methods(self.dataset))
        assert heuristics is not None
        subjects = [Method(name, "learned", {"": [i]}) for name, i in self.places.items()]
        found: dict[str, list[Comparison]] = {name: [] for name in self.places}
        for each in corrected(compare(self.dataset, self.resampled, subjects, [heuristics])):
            found[each.first.run.name].append(each)
        return found

    def numbers(self, one: Trained) -> list[str]:
        """Return a policy's accuracy and NFE with their intervals."""
        setting = self.setting(one)
        return [with_interval(setting.accuracy, 3), with_interval(setting.mean_nfe, 1)]

    def change_of_nfe(self, before: Trained, after: Trained) -> str:
        """Return the difference in NFE on the same problems."""
        nfe = self.resampled.nfe[[self.places[one.name] for one in (before, after)]]
        difference = nfe[1] - nfe[0]
        return with_interval(bootstrap_estimate(float(difference[0]), difference[1:]), 1)

    def change_of_accuracy(self, before: Trained, after: Trained) -> str:
        """Return the difference in accuracy on the same problems, in points."""
        accuracy = self.resampled.accuracy[[self.places[one.name] for one in (before, after)]]
        difference = accuracy[1] - accuracy[0]
        return points(bootstrap_estimate(float(difference[0]), difference[1:]))
