"""Figures of a report: accuracy against forwards, and how policies are drawn in them."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lit_unmask.report.documents import Picture
from lit_unmask.report.heatmap import HeatRow, transfer_figure
from lit_unmask.report.results import Dataset, Result
from lit_unmask.report.statistics import Estimate

_DPI = 150
# Characters of a title above one of several panels, and of a line of the legend.
_PANEL_WIDTH, _LEGEND_WIDTH = 38, 30
# Inches that a line of the legend takes.
_LEGEND_LINE = 0.19
# Learned settings in one panel from which on intervals are drawn thin.
_CROWD = 8
# Ids of an SVG follow from the salt, so that the same figure is the same file. A dollar sign in a
# name is a dollar sign.
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "lit-unmask",
    "text.parse_math": False,
    "font.size": 9.0,
    "axes.titlesize": 10.0,
}
# Okabe-Ito colours, which can be told apart without full colour vision; with other markers too.
_BLACK, _ORANGE, _SKY, _GREEN, _BLUE, _RED, _PINK = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
_HEURISTICS = (
    (_BLUE, "o"), (_ORANGE, "s"), (_GREEN, "^"), (_PINK, "D"), (_SKY, "v"),
    (_RED, "h"), ("#8F8F8F", "p"), (_BLUE, ">"), (_ORANGE, "<"), (_GREEN, "d"),
)  # fmt: skip
# Beside many learned policies heuristics are grey, and told apart by their markers.
_GREY = "#8A8A8A"
# Of further kinds of forwards, in the order in which they are stacked.
_DASHES: Any = ("-", ":", "--")
_MARKERS = ("*", "P", "X", "H")
_COLOURS = (_BLACK, _RED, _BLUE, _GREEN, _PINK, _ORANGE, _SKY)
_FEW = 4
# Learned policies with a look of their own, one for each pair of colour and marker; any others
# share one.
NAMED = len(_MARKERS) * len(_COLOURS)
_REST = "#B5B5B5"

Key = tuple[str, str]


def frontier_picture(datasets: Sequence[Dataset], looks: dict[Key, Style], name: str) -> Picture:
    """Draw accuracy against NFE on the test problems, with one panel a dataset."""
    columns, alone = min(len(datasets), 3), len(datasets) == 1
    rows = -(-len(datasets) // columns)
    with rc_context(_SETTINGS):
        lines = _legend(datasets, looks)
        width, height = (6.0, 4.6) if alone else (3.6 * columns, 3.6 * rows)
        figure = Figure(figsize=(width + 2.2, _height(height, lines)), layout="constrained")
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


def transfer_picture(rows: Sequence[HeatRow], name: str, title: str, text: str) -> Picture:
    """Draw the heat map of a policy under other conditions."""
    with rc_context(_SETTINGS):
        return _picture(transfer_figure(rows, title), name, title, text)


def _draw_frontier(axes: Axes, dataset: Dataset, looks: dict[Key, Style]) -> None:
    crowded = sum(setting.run.kind == "learned" for setting in dataset.test) > _CROWD
    for key, style in looks.items():
        front = tuning_front([s for s in dataset.tuning if (s.run.kind, s.method) == key])
        # Training seeds are no settings that one could choose among.
        if len(front) > 1 and key[0] == "heuristic":
            axes.plot(
                [setting.mean_nfe.value for setting in front],
                [setting.accuracy.value for setting in front],
                color=style.colour, linewidth=0.9, alpha=0.55, zorder=1, drawstyle="steps-post",
            )  # fmt: skip
        for setting in dataset.test:
            if (setting.run.kind, setting.method) == key:
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


def beyond_predictor(setting: Result) -> dict[str, tuple[float, float]]:
    """Return what correctors, particles and wrappers cost beside the steps of the policy.

    Returns:
        Mean forwards before and with each further kind, one upon the other; the last is the NFE.
    """
    means = {kind: float(nfe.mean()) for kind, nfe in setting.nfe_by_kind.items()}
    stack = means.pop("fresh", 0.0) + means.pop("unchanged", 0.0)
    found = {}
    for kind, mean in means.items():
        if mean:
            found[kind] = stack, stack + mean
            stack += mean
    return found


def _draw_setting(axes: Axes, setting: Result, style: Style, crowded: bool) -> None:
    accuracy, nfe = setting.accuracy, setting.mean_nfe
    for place, ends in enumerate(beyond_predictor(setting).values()):
        axes.plot(
            ends, [accuracy.value] * 2, color=style.colour, linewidth=4, alpha=0.35, zorder=2,
            linestyle=_DASHES[place % len(_DASHES)], solid_capstyle="butt",
        )  # fmt: skip
    learned = setting.run.kind == "learned"
    axes.errorbar(
        nfe.value, accuracy.value,
        xerr=_ends(nfe), yerr=_ends(accuracy),
        fmt=style.marker, markersize=style.size, color=style.colour,
        markerfacecolor=style.colour if setting.is_full_diffusion else "white",
        elinewidth=0.5 if crowded else 0.9, zorder=4 if learned else 3,
    )  # fmt: skip


def _ends(of: Estimate) -> list[list[float]]:
    """Return the lengths of error bars below and above, none where the interval is unknown."""
    return [[max(of.value - of.low, 0.0)], [max(of.high - of.value, 0.0)]]


def tuning_front(settings: Sequence[Result]) -> list[Result]:
    """Return the settings that no other beats on the tuning problems, by rising NFE."""
    front: list[Result] = []
    for setting in sorted(settings, key=lambda s: (s.mean_nfe.value, -s.accuracy.value)):
        if not front or setting.accuracy.value > front[-1].accuracy.value:
            front.append(setting)
    return front


def _legend(datasets: Sequence[Dataset], looks: dict[Key, Style]) -> list[Line2D]:
    """Return lines that name methods, and say what lines and hollow markers are."""
    drawn: set[Key] = {(s.run.kind, s.method) for dataset in datasets for s in dataset.test}
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
    kinds = [list(beyond_predictor(setting)) for setting in settings]
    for place in range(max(map(len, kinds), default=0)):
        names = ", ".join(dict.fromkeys(mine[place] for mine in kinds if len(mine) > place))
        lines.append(
            Line2D([], [], color="#595959", linewidth=4, alpha=0.35,
                   linestyle=_DASHES[place % len(_DASHES)], label=f"band: forwards, {names}")
        )  # fmt: skip
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


@dataclass(frozen=True)
class Style:
    """How a method is drawn.

    Attributes:
        colour: Of marker and lines.
        marker: Matplotlib's sign for it.
        size: Of the marker in points.
        named: Whether the legend names it, and not just as one of several.
    """

    colour: str
    marker: str
    size: float
    named: bool = True


def styles(datasets: Sequence[Dataset]) -> dict[Key, Style]:
    """Return the style of each method by kind and name, the same in all figures of a report."""
    keys: list[Key] = list(
        dict.fromkeys(
            (setting.run.kind, setting.method)
            for dataset in datasets
            for setting in [*dataset.test, *dataset.tuning]
        )
    )
    learned = [key for key in keys if key[0] == "learned"]
    heuristics = [key for key in keys if key[0] == "heuristic"]
    return {
        **{key: _learned(place, len(learned)) for place, key in enumerate(learned)},
        **{key: _heuristic(place, len(learned)) for place, key in enumerate(heuristics)},
    }


def _learned(place: int, of: int) -> Style:
    if of <= _FEW:
        return Style(_COLOURS[place], "*", 12.0)
    if place >= NAMED:
        return Style(_REST, "*", 7.0, named=False)
    marker = _MARKERS[place % len(_MARKERS)]
    return Style(_COLOURS[place % len(_COLOURS)], marker, 10.0 if marker == "*" else 7.0)


def _heuristic(place: int, learned: int) -> Style:
    colour, marker = _HEURISTICS[place % len(_HEURISTICS)]
    return Style(colour if learned <= _FEW else _GREY, marker, 5.5 if learned <= _FEW else 4.5)


def legend_entries(looks: Mapping[Key, Style], drawn: set[Key]) -> list[tuple[str, Style]]:
    """Return what a legend says of the methods that are drawn, those without a name in one."""
    entries = [(key[1], style) for key, style in looks.items() if key in drawn and style.named]
    rest = [style for key, style in looks.items() if key in drawn and not style.named]
    if rest:
        entries.append((f"{len(rest)} further learned policies", rest[0]))
    return entries
