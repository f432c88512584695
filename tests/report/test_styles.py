"""Methods can be told apart, and a legend stays short however many there are."""

from dataclasses import replace

import numpy as np
from matplotlib import colors
from matplotlib.lines import Line2D
from toy_sweeps import make_dataset, make_setting

from lit_unmask.report.figures import (
    NAMED,
    beyond_predictor,
    frontier_picture,
    legend_entries,
    styles,
)


def dataset(learned, heuristics=3):
    said = {"kind": "learned", "params": {}}
    return make_dataset(
        [
            *(
                make_setting([1, 0], 9, name=f"p{i}/0", weights=str(i), **said)
                for i in range(learned)
            ),
            *(make_setting([1, 0], 9, name=f"h{i}") for i in range(heuristics)),
        ]
    )


def looks(learned):
    return styles([dataset(learned)])


def test_no_two_named_methods_look_alike():
    for learned in (1, 4, 5, 12, NAMED):
        found = list(looks(learned).values())
        assert len({(style.colour, style.marker) for style in found}) == len(found)
        assert all(style.named for style in found)
        assert all(style.marker in Line2D.markers for style in found)


def test_learned_policies_stand_out():
    for learned in (2, 12, 60):
        sizes = {kind: set() for kind in ("learned", "heuristic")}
        for (kind, _), style in looks(learned).items():
            sizes[kind].add(style.size)
        assert min(sizes["learned"]) > max(sizes["heuristic"])
    greys = [style.colour for key, style in looks(12).items() if key[0] == "heuristic"]
    assert all(len(set(colors.to_rgb(grey))) == 1 for grey in greys)


def test_a_legend_names_so_many_and_counts_the_rest():
    found = looks(NAMED + 7)
    entries = legend_entries(found, set(found))
    assert len(entries) == NAMED + 3 + 1
    assert entries[-1][0] == "7 further learned policies"
    assert legend_entries(found, {("learned", "p0")})[0][0] == "p0"


def test_a_figure_grows_with_its_legend():
    few, many = (
        frontier_picture([dataset(learned)], looks(learned), "x.png").png for learned in (3, 40)
    )
    # Width and height of a PNG are in its first chunk.
    sizes = [[int.from_bytes(png[i : i + 4], "big") for i in (16, 20)] for png in (few, many)]
    assert sizes[0][0] == sizes[1][0] and sizes[0][1] < sizes[1][1] < 2 * sizes[0][1]


def test_forwards_beside_those_of_the_steps_are_a_band():
    plain = dataset(1, 1)
    kinds = {"fresh": [4, 6], "unchanged": [1, 1], "corrector": [3, 5], "reward": [2, 0]}
    counts = {kind: np.array(each)[:, None] for kind, each in kinds.items()}
    mixed = replace(plain.test[0], nfe_by_kind=counts | {"particle": np.zeros((2, 1))})
    assert beyond_predictor(plain.test[0]) == {}
    assert beyond_predictor(mixed) == {"corrector": (6.0, 10.0), "reward": (10.0, 11.0)}
    drawn = replace(plain, test=[mixed, *plain.test[1:]])
    pictures = [frontier_picture([one], styles([one]), "x.png").svg for one in (plain, drawn)]
    assert [text.count(b"band: forwards, ") for text in pictures] == [0, 2]
    assert b"band: forwards, corrector" in pictures[1]
