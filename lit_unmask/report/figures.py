"""Figures of a report: accuracy against forwards, and paired differences."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lit_unmask.report.analysis import Analysis
from lit_unmask.report.comparisons import Comparison
from lit_unmask.report.documents import Picture
from lit_unmask.report.reading import Dataset, Setting

# Okabe-Ito colours, which can be told apart without full colour vision; with other markers too.
_HEURISTICS = (
    ("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#56B4E9", "v"),
    ("#D55E00", "h"), ("#8F8F8F", "p"), ("#0072B2", ">"), ("#E69F00", "<"), ("#009E73", "d"),
)  # fmt: skip
_LEARNED = (("#000000", "*"), ("#D55E00", "*"), ("#0072B2", "*"), ("#009E73", "*"))
_DPI = 150
# Characters of a title above one of several panels.
_PANEL_WIDTH = 38
# Ids of an SVG follow from the salt, so that the same figure is the same file. A dollar sign in a
# name is a dollar sign.
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "lit-unmask",
    "text.parse_math": False,
    "font.size": 9.0,
    "axes.titlesize": 10.0,
}


@dataclass(frozen=True)
class Style:
    """How a family is drawn."""

    colour: str
    marker: str
    size: float


def styles(datasets: Sequence[Dataset]) -> dict[tuple[str, str], Style]:
    """Return the style of each family by kind and name, the same in all figures of a report."""
    keys: list[tuple[str, str]] = list(
        dict.fromkeys(
            (setting.run.kind, setting.family)
            for dataset in datasets
            for setting in [*dataset.test, *dataset.tuning]
        )
    )
    found: dict[tuple[str, str], Style] = {}
    for kind, looks, size in (("learned", _LEARNED, 12.0), ("heuristic", _HEURISTICS, 5.5)):
        for index, key in enumerate(key for key in keys if key[0] == kind):
            found[key] = Style(*looks[index % len(looks)], size)
    return found


def frontier_picture(dataset: Dataset, looks: dict[tuple[str, str], Style], name: str) -> Picture:
    """Draw accuracy against NFE on the test problems of one dataset."""
    with rc_context(_SETTINGS):
        figure = Figure(figsize=(8.2, 4.6), layout="constrained")
        axes = figure.add_subplot()
        _draw_frontier(axes, dataset, looks)
        _scale(axes, [dataset])
        axes.set_title(f"{dataset.name}: {len(dataset.uids)} test problems")
        _legend(figure, [dataset], looks)
        return _picture(figure, name, *_frontier_words([dataset]))


def overview_picture(
    datasets: Sequence[Dataset], looks: dict[tuple[str, str], Style], name: str
) -> Picture:
    """Draw accuracy against NFE with one panel a dataset."""
    columns = min(len(datasets), 3)
    rows = -(-len(datasets) // columns)
    with rc_context(_SETTINGS):
        figure = Figure(figsize=(3.6 * columns + 1.9, 3.6 * rows), layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, dataset in zip(panels, datasets, strict=False):
            _draw_frontier(axes, dataset, looks)
            # The same scale everywhere, so that panels can be compared.
            _scale(axes, datasets)
            heading = textwrap.fill(dataset.name, _PANEL_WIDTH)
            length = dataset.run.gen_length
            axes.set_title(f"{heading}\n{len(dataset.uids)} test problems, L {length}")
        for axes in panels[len(datasets) :]:
            axes.set_axis_off()
        _legend(figure, datasets, looks)
        return _picture(figure, name, *_frontier_words(datasets))


def comparisons_picture(analysis: Analysis, name: str) -> Picture | None:
    """Draw the paired differences of accuracy with their intervals, if there are any."""
    comparisons = analysis.comparisons
    if not comparisons:
        return None
    with rc_context(_SETTINGS):
        figure = Figure(figsize=(8.2, 0.8 + 0.24 * len(comparisons)), layout="constrained")
        axes = figure.add_subplot()
        for place, comparison in enumerate(comparisons):
            _draw_difference(axes, place, comparison)
        axes.axvline(0, color="#000000", linewidth=0.8)
        axes.set_yticks(range(len(comparisons)), [_versus(c) for c in comparisons], fontsize=7.5)
        axes.set_ylim(len(comparisons) - 0.4, -0.6)
        axes.set_xlabel("difference of accuracy, first minus second (percentage points)")
        axes.set_title("forwards", loc="right", fontsize=7.5, x=1.01, ha="left")
        axes.grid(axis="x", alpha=0.3)
        title = f"{analysis.dataset.name}: paired differences of accuracy"
        text = (
            "Differences of accuracy with 95 % intervals. Filled: different after Holm's "
            "correction. At the right: how many fewer or more forwards the first needs."
        )
        return _picture(figure, name, title, text)


def _draw_difference(axes: Axes, place: int, comparison: Comparison) -> None:
    gain = comparison.accuracy
    colour = "#0072B2" if comparison.is_different else "#595959"
    axes.errorbar(
        gain.value * 100, place, xerr=_ends([(gain.value, gain.low, gain.high)], 100),
        fmt="o", markersize=5, color=colour, capsize=2, linewidth=1,
        markerfacecolor=colour if comparison.is_different else "white",
    )  # fmt: skip
    axes.annotate(
        _forwards(comparison), (1.01, place), fontsize=7.5, va="center",
        xycoords=("axes fraction", "data"), annotation_clip=False,
    )  # fmt: skip


def _forwards(comparison: Comparison) -> str:
    percent = comparison.saved.value * 100
    return f"{abs(percent):.0f} % {'fewer' if percent > 0 else 'more'}"


def _versus(comparison: Comparison) -> str:
    return f"{comparison.first.label}  vs  {comparison.second.label}"


def _draw_frontier(axes: Axes, dataset: Dataset, looks: dict[tuple[str, str], Style]) -> None:
    for key, style in looks.items():
        front = tuning_front([s for s in dataset.tuning if (s.run.kind, s.family) == key])
        if len(front) > 1:
            axes.plot(
                [setting.mean_nfe.value for setting in front],
                [setting.accuracy.value for setting in front],
                color=style.colour, linewidth=0.9, alpha=0.55, zorder=1, drawstyle="steps-post",
            )  # fmt: skip
        for setting in dataset.test:
            if (setting.run.kind, setting.family) == key:
                _draw_setting(axes, setting, style)


def _scale(axes: Axes, datasets: Sequence[Dataset]) -> None:
    """Set axes that hold all settings of the datasets."""
    settings = [s for dataset in datasets for s in [*dataset.test, *dataset.tuning]]
    most = max(dataset.run.gen_length for dataset in datasets)
    fewest = min(setting.mean_nfe.value for setting in settings)
    axes.set_xscale("log", base=2)
    axes.set_xlim(2 ** _floor_log2(fewest * 0.95), most * 1.12)
    ticks = [2**power for power in range(most.bit_length()) if 2**power < most] + [most]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.04, 1.04)
    axes.set(xlabel="denoiser forwards a problem (NFE)", ylabel="accuracy")
    axes.grid(alpha=0.3)


def _floor_log2(value: float) -> int:
    return max(int(value), 1).bit_length() - 1


def _draw_setting(axes: Axes, setting: Setting, style: Style) -> None:
    accuracy, nfe = setting.accuracy, setting.mean_nfe
    learned = setting.run.kind == "learned"
    axes.errorbar(
        nfe.value, accuracy.value,
        xerr=_ends([(nfe.value, nfe.low, nfe.high)]),
        yerr=_ends([(accuracy.value, accuracy.low, accuracy.high)]),
        fmt=style.marker, markersize=style.size, color=style.colour,
        markerfacecolor=style.colour if setting.is_full_diffusion else "white",
        elinewidth=0.9, zorder=4 if learned else 3,
    )  # fmt: skip


def _ends(values: Iterable[tuple[float, float, float]], scale: float = 1) -> list[list[float]]:
    """Return the lengths of error bars below and above, none where the interval is unknown."""
    pairs = [(max(v - low, 0.0), max(high - v, 0.0)) for v, low, high in values]
    return [[below * scale for below, _ in pairs], [above * scale for _, above in pairs]]


def tuning_front(settings: Sequence[Setting]) -> list[Setting]:
    """Return the settings that no other beats on the tuning problems, by rising NFE."""
    front: list[Setting] = []
    for setting in sorted(settings, key=lambda s: (s.mean_nfe.value, -s.accuracy.value)):
        if not front or setting.accuracy.value > front[-1].accuracy.value:
            front.append(setting)
    return front


def _legend(
    figure: Figure, datasets: Sequence[Dataset], looks: dict[tuple[str, str], Style]
) -> None:
    """Name families, and say what lines and hollow markers are, beside the panels."""
    drawn = {(s.run.kind, s.family) for dataset in datasets for s in dataset.test}
    entries = [
        Line2D([], [], color=style.colour, marker=style.marker, markersize=style.size,
               linestyle="", label=name)
        for (kind, name), style in looks.items() if (kind, name) in drawn
    ]  # fmt: skip
    settings = [setting for dataset in datasets for setting in dataset.test]
    if any(not setting.is_full_diffusion for setting in settings):
        entries.append(
            Line2D([], [], color="#595959", marker="o", markerfacecolor="white", linestyle="",
                   label="hollow: in blocks")
        )  # fmt: skip
    if any(dataset.tuning for dataset in datasets):
        entries.append(Line2D([], [], color="#595959", linewidth=0.9, label="front on tuning"))
    figure.legend(handles=entries, loc="outside right upper", fontsize=8, frameon=False)


def _frontier_words(datasets: Sequence[Dataset]) -> tuple[str, str]:
    """Return title and explanation."""
    names = ", ".join(dataset.name for dataset in datasets)
    return (
        f"{names}: accuracy against forwards",
        "Accuracy against denoiser forwards (logarithmic axis) on the test problems, with 95 % "
        "intervals. Stars are learned policies, thin lines the fronts on the tuning problems.",
    )


def _picture(figure: Figure, name: str, title: str, text: str) -> Picture:
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return Picture(name, title, text, png.getvalue(), svg.getvalue())
