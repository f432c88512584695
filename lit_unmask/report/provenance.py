"""Where the numbers of a report come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lit_unmask import __version__
from lit_unmask.report.analysis import Analysis, Options
from lit_unmask.report.reading import Dataset, Setting
from lit_unmask.report.table import Table


@dataclass(frozen=True)
class Provenance:
    """What made a report.

    Attributes:
        stores: Folders of the stores, as they were given.
        commands: Commands that made the stores and the report.
        options: How it was computed.
    """

    stores: Sequence[str]
    commands: Sequence[str]
    options: Options


def provenance_table(analyses: Sequence[Analysis], provenance: Provenance) -> Table:
    """Return the denoisers, fingerprints, counts, seeds and commands behind the numbers."""
    rows = [row for analysis in analyses for row in _dataset_rows(analysis.dataset)]
    rows += [["stores", store] for store in provenance.stores]
    rows += [["command", command] for command in provenance.commands]
    rows += [
        ["bootstrap", f"{provenance.options.resamples} resamples, seed {provenance.options.seed}"],
        ["lit_unmask", __version__],
    ]
    return Table("Where the numbers come from", "", ["what", "value"], rows, names=2)


def _dataset_rows(dataset: Dataset) -> list[list[str]]:
    run = dataset.run
    values = {
        "denoiser": run.denoiser,
        "test problems": _problems(dataset.test, dataset.uids),
        "tuning problems": _problems(dataset.tuning, dataset.tuning_uids),
        "generation length": f"{run.gen_length} tokens",
        "token temperature": f"{run.temperature:g}",
        "noise seeds": ", ".join(str(one.seed) for one in dataset.test[0].runs),
    }
    return [[f"{dataset.name}: {name}", value] for name, value in values.items()]


def _problems(settings: Sequence[Setting], uids: Sequence[str]) -> str:
    if not settings:
        return "none"
    runs = sum(len(setting.runs) for setting in settings)
    return f"{len(uids)}, fingerprint {settings[0].run.problems}; {runs} runs"
