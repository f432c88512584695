"""How policies are drawn: colours and markers that can be told apart, for as many as are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lit_unmask.report.reading import Dataset

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
_MARKERS = ("*", "P", "X", "H")
_COLOURS = (_BLACK, _RED, _BLUE, _GREEN, _PINK, _ORANGE, _SKY)
_FEW = 4
# Learned policies with a look of their own, one for each pair of colour and marker; any others
# share one.
NAMED = len(_MARKERS) * len(_COLOURS)
_REST = "#B5B5B5"

Key = tuple[str, str]


@dataclass(frozen=True)
class Style:
    """How a family is drawn.

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
    """Return the style of each family by kind and name, the same in all figures of a report."""
    keys: list[Key] = list(
        dict.fromkeys(
            (setting.run.kind, setting.family)
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
    """Return what a legend says of the families that are drawn, those without a name in one."""
    entries = [(key[1], style) for key, style in looks.items() if key in drawn and style.named]
    rest = [style for key, style in looks.items() if key in drawn and not style.named]
    if rest:
        entries.append((f"{len(rest)} further learned policies", rest[0]))
    return entries
