"""The heat map and the table of a transfer, from the store that it was made in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lit_unmask.report.analysis import Options
from lit_unmask.report.documents import Transfer
from lit_unmask.report.figures import transfer_picture
from lit_unmask.report.heatmap import CellRuns, HeatRow, Shown, read_cells
from lit_unmask.report.results import Dataset, Result
from lit_unmask.report.statistics import bootstrap_counts, bootstrap_estimate, resampled_means
from lit_unmask.report.tables import Table, count, number, points, with_interval

_READING = (
    "Rows are conditions. Purple is better than the tuned heuristic of the row, orange worse. The "
    "closest heuristic reaches the policy's accuracy on the tuning problems in the fewest forwards "
    "(if none does, it is the most accurate one); the most accurate heuristic was so there."
)


@dataclass(frozen=True)
class _Cell:
    said: CellRuns
    policy: Result
    closest: Result
    best: Result

    @property
    def condition(self) -> str:
        run = self.policy.run
        return f"{self.said.denoiser}, {self.said.task}, L {run.gen_length}, BL {run.block_length}"

    @property
    def heat_row(self) -> HeatRow:
        shown = [
            Shown(one.label, one.accuracy.value, one.mean_nfe.value)
            for one in (self.policy, self.closest, self.best)
        ]
        return HeatRow(self.said.cell, self.condition, self.policy.run.gen_length, *shown)


def transfers(
    stores: Sequence[Path], datasets: Sequence[Dataset], options: Options
) -> list[Transfer]:
    """Return the transfers that the stores hold, one a store.

    Raises:
        ConfigurationError: If a store's list of cells is damaged.
    """
    known = {run.key: one for dataset in datasets for one in dataset.test for run in one.runs}
    found: list[Transfer] = []
    for store in stores:
        listed = read_cells(store)
        cells = [
            _Cell(said, known[said.policy], known[said.closest], known[said.best])
            for said in listed
            if {said.policy, said.closest, said.best} <= known.keys()
        ]
        if cells:
            name = f"transfer{f'-{len(found) + 1}' * bool(found)}.png"
            missing = [said.cell for said in listed if said not in [cell.said for cell in cells]]
            found.append(_transfer(cells, missing, name, options))
    return found


def _transfer(
    cells: Sequence[_Cell], missing: Sequence[str], name: str, options: Options
) -> Transfer:
    who = " and ".join(dict.fromkeys(cell.policy.run.name for cell in cells))
    title = f"Transfer of {who} to {count(len(cells), 'cell')}"
    note = (
        "Accuracy and NFE of the policy; its accuracy minus that of the heuristic, and its NFE "
        "divided by that of the heuristic, on the same problems. 95 % intervals, not corrected for "
        "the number of comparisons; tests are with each dataset."
    )
    if missing:
        note += f" Left out, as outcomes are missing: {', '.join(missing)}."
    table = Table(
        title="The transfer in numbers",
        note=note,
        columns=[
            *("cell", "opponent", "which is", "accuracy", "NFE"),
            *("accuracy difference, points", "NFE ratio"),
        ],
        rows=[row for cell in cells for row in _cell_rows(cell, options)],
        names=3,
    )
    rows = [cell.heat_row for cell in cells]
    datasets = frozenset(cell.policy.run.dataset for cell in cells)
    return Transfer(transfer_picture(rows, name, title, _READING), table, datasets)


def _cell_rows(cell: _Cell, options: Options) -> list[list[str]]:
    problems = count(len(cell.policy.correct), "problem")
    said = [with_interval(cell.policy.accuracy, 3), number(cell.policy.mean_nfe.value, 1)]
    opponents = {"closest": cell.closest, "most accurate": cell.best}
    return [
        [
            f"{cell.said.cell} ({cell.condition}; {problems})",
            *(opponent.label, which),
            *(said + _against(cell.policy, opponent, options)),
        ]
        for which, opponent in opponents.items()
    ]


def _against(first: Result, second: Result, options: Options) -> list[str]:
    """Return the difference of accuracy and the ratio of forwards, with their intervals."""
    counts = bootstrap_counts(len(first.correct), options.resamples, options.seed)
    gain = resampled_means(first.correct, counts) - resampled_means(second.correct, counts)
    more = resampled_means(first.nfe, counts) / resampled_means(second.nfe, counts)
    difference = bootstrap_estimate(float(first.correct.mean() - second.correct.mean()), gain)
    ratio = bootstrap_estimate(float(first.nfe.mean() / second.nfe.mean()), more)
    return [points(difference), with_interval(ratio, 2)]
