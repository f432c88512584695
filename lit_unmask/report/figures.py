"""Figures of a report: accuracy against forwards, and paired differences."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lit_unmask.report.analysis import Analysis
from lit_unmask.report.comparisons import Comparison
from lit_unmask.report.documents import Picture
from lit_unmask.report.heatmap import HeatRow, transfer_figure
from lit_unmask.report.reading import Dataset, Setting
from lit_unmask.report.styles import Key, Style, legend_entries
from lit_unmask.report.summary import answers

_DPI = 150
# Characters of a title above one of several panels, and of a line of the legend.
_PANEL_WIDTH, _LEGEND_WIDTH = 38, 30
# Inches that a line of the legend takes.
_LEGEND_LINE = 0.19
# Learned settings in one panel from which on intervals are drawn thin.
_CROWD = 8
# Rows of a figure of comparisons; of more comparisons the summary's are drawn.
_MOST_ROWS = 36
# Ids of an SVG follow from the salt, so that the same figure is the same file. A dollar sign in a
# name is a dollar sign.
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "lit-unmask",
    "text.parse_math": False,
    "font.size": 9.0,
    "axes.titlesize": 10.0,
}


def frontier_picture(dataset: Dataset, looks: dict[Key, Style], name: str) -> Picture:
    """Draw accuracy against NFE on the test problems of one dataset."""
    with rc_context(_SETTINGS):
        lines = _legend([dataset], looks)
        size = (8.2, _height(4.6, lines))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        _draw_frontier(axes, dataset, looks)
        _scale(axes, [dataset])
        axes.set_title(f"{dataset.name}: {len(dataset.uids)} test problems")
        figure.legend(handles=lines, loc="outside right upper", fontsize=8, frameon=False)
        return _picture(figure, name, *_frontier_words([dataset]))


def overview_picture(datasets: Sequence[Dataset], looks: dict[Key, Style], name: str) -> Picture:
    """Draw accuracy against NFE with one panel a dataset."""
    columns = min(len(datasets), 3)
    rows = -(-len(datasets) // columns)
    with rc_context(_SETTINGS):
        lines = _legend(datasets, looks)
        size = (3.6 * columns + 2.2, _height(3.6 * rows, lines))
        figure = Figure(figsize=size, layout="constrained")
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
        figure.legend(handles=lines, loc="outside right upper", fontsize=8, frameon=False)
        return _picture(figure, name, *_frontier_words(datasets))


def comparisons_picture(analysis: Analysis, name: str) -> Picture | None:
    """Draw the paired differences of accuracy with their intervals, if there are any."""
    comparisons, all_of_them = _drawn(analysis), len(analysis.comparisons)
    if not comparisons:
        return None
    with rc_context(_SETTINGS):
        figure = Figure(figsize=(8.2, 0.8 + 0.22 * len(comparisons)), layout="constrained")
        axes = figure.add_subplot()
        for place, comparison in enumerate(comparisons):
            _draw_difference(axes, place, comparison)
        axes.axvline(0, color="#000000", linewidth=0.8)
        axes.set_yticks(range(len(comparisons)), [_versus(c) for c in comparisons], fontsize=7.5)
        axes.set_ylim(len(comparisons) - 0.4, -0.6)
        axes.set_xlabel("difference of accuracy (points)")
        axes.set_title("forwards", loc="right", fontsize=7.5, x=1.01, ha="left")
        axes.grid(axis="x", alpha=0.3)
        title = f"{analysis.dataset.name}: paired differences of accuracy"
        text = (
            "Accuracy of the first minus that of the second, in percentage points, with 95 % "
            "intervals. Filled: different after Holm's correction. At the right: how many fewer or "
            "more forwards the first needs."
        )
        if len(comparisons) < all_of_them:
            text += (
                f" These are {len(comparisons)} of {all_of_them} comparisons, those with the "
                "strongest opponents; the table has all."
            )
        return _picture(figure, name, title, text)


def _drawn(analysis: Analysis) -> list[Comparison]:
    """Return all comparisons, or those with the strongest opponents if there are many."""
    if len(analysis.comparisons) <= _MOST_ROWS:
        return analysis.comparisons
    strongest = sorted(answers(analysis), key=lambda answer: answer.question)
    return [c for answer in strongest for c in answer.comparisons][: 2 * _MOST_ROWS]


def transfer_picture(rows: Sequence[HeatRow], name: str, title: str, text: str) -> Picture:
    """Draw the heat map of a policy under other conditions."""
    with rc_context(_SETTINGS):
        return _picture(transfer_figure(rows, title), name, title, text)


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


def _draw_frontier(axes: Axes, dataset: Dataset, looks: dict[Key, Style]) -> None:
    crowded = sum(setting.run.kind == "learned" for setting in dataset.test) > _CROWD
    for key, style in looks.items():
        front = tuning_front([s for s in dataset.tuning if (s.run.kind, s.family) == key])
        # Training seeds are no settings that one could choose among.
        if len(front) > 1 and key[0] == "heuristic":
            axes.plot(
                [setting.mean_nfe.value for setting in front],
                [setting.accuracy.value for setting in front],
                color=style.colour, linewidth=0.9, alpha=0.55, zorder=1, drawstyle="steps-post",
            )  # fmt: skip
        for setting in dataset.test:
            if (setting.run.kind, setting.family) == key:
                _draw_setting(axes, setting, style, crowded)


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


def _draw_setting(axes: Axes, setting: Setting, style: Style, crowded: bool) -> None:
    accuracy, nfe = setting.accuracy, setting.mean_nfe
    learned = setting.run.kind == "learned"
    axes.errorbar(
        nfe.value, accuracy.value,
        xerr=_ends([(nfe.value, nfe.low, nfe.high)]),
        yerr=_ends([(accuracy.value, accuracy.low, accuracy.high)]),
        fmt=style.marker, markersize=style.size, color=style.colour,
        markerfacecolor=style.colour if setting.is_full_diffusion else "white",
        elinewidth=0.5 if crowded else 0.9, zorder=4 if learned else 3,
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


def _legend(datasets: Sequence[Dataset], looks: dict[Key, Style]) -> list[Line2D]:
    """Return lines that name families, and say what lines and hollow markers are."""
    drawn: set[Key] = {(s.run.kind, s.family) for dataset in datasets for s in dataset.test}
    lines = [
        Line2D([], [], color=style.colour, marker=style.marker, markersize=style.size,
               linestyle="",
               label=textwrap.fill(name, _LEGEND_WIDTH, max_lines=2, placeholder=" ..."))
        for name, style in legend_entries(looks, drawn)
    ]  # fmt: skip
    settings = [setting for dataset in datasets for setting in dataset.test]
    if any(not setting.is_full_diffusion for setting in settings):
        lines.append(
            Line2D([], [], color="#595959", marker="o", markerfacecolor="white", linestyle="",
                   label="hollow: in blocks")
        )  # fmt: skip
    if any(s.run.kind == "heuristic" for dataset in datasets for s in dataset.tuning):
        lines.append(Line2D([], [], color="#595959", linewidth=0.9, label="front on tuning"))
    return lines


def _height(least: float, legend: Sequence[Line2D]) -> float:
    """Return the height in inches of a figure whose legend has these lines."""
    rows = sum(1 + str(line.get_label()).count("\n") for line in legend)
    return max(least, 0.5 + _LEGEND_LINE * rows)


def _frontier_words(datasets: Sequence[Dataset]) -> tuple[str, str]:
    """Return title and explanation."""
    names = ", ".join(dataset.name for dataset in datasets)
    return (
        f"{names}: accuracy against forwards",
        "Accuracy against denoiser forwards (logarithmic axis) on the test problems, with 95 % "
        "intervals. Large markers are learned policies, thin lines the fronts of heuristics on the "
        "tuning problems.",
    )


def _picture(figure: Figure, name: str, title: str, text: str) -> Picture:
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return Picture(name, title, text, png.getvalue(), svg.getvalue())
