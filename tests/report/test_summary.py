"""The short answer names each policy's strongest opponents, chosen without test verdicts."""

import numpy as np
from toy_sweeps import make_dataset, make_setting

from lit_unmask.report.analysis import Options, analyse
from lit_unmask.report.summary import summary_table

PROBLEMS = 200


def right(share):
    return (np.arange(PROBLEMS) < share * PROBLEMS).astype(float)


def policy(share, nfe=20, name="policy"):
    return make_setting(right(share), nfe, name=name, kind="learned", params={}, weights=name)


def heuristic(name, test, tuning, nfe):
    """One setting, with its accuracy on the test and on the tuning problems."""
    said = {"name": name, "params": {"k": nfe}}
    return (
        make_setting(right(test), nfe, **said),
        make_setting(right(tuning), nfe, stage="tuning", **said),
    )


def analysed(policies, heuristics):
    test = [*policies, *(pair[0] for pair in heuristics)]
    dataset = make_dataset(test, [pair[1] for pair in heuristics])
    return analyse([dataset], Options(resamples=200))[0]


OPPONENTS = [
    heuristic("a", 0.6, 0.30, 10),
    heuristic("b", 0.4, 0.45, 15),  # best within 20 forwards on tuning, and not on test
    heuristic("c", 0.5, 0.90, 40),  # best of all on tuning
    heuristic("d", 0.9, 0.60, 50),
]


def test_the_strongest_opponents_are_those_of_the_tuning_problems():
    table = summary_table(analysed([policy(0.7)], OPPONENTS), 8)
    assert [row[:3] for row in table.rows] == [
        ["policy, BL 64", "b (k=15), BL 64", "matched NFE"],
        ["policy, BL 64", "c (k=40), BL 64", "most accurate"],
    ]
    assert [row[3] for row in table.rows] == ["more accurate"] * 2
    assert table.rows[0][4].startswith("+30.0 (") and table.rows[1][4].startswith("+20.0 (")
    # Fifteen forwards are fewer than twenty, and forty are twice as many.
    assert table.rows[0][5].startswith("\N{MINUS SIGN}33 (") and table.rows[1][5].startswith("50 (")
    assert "McNemar test, corrected for 8 comparisons" in table.note


def test_where_all_need_more_the_cheapest_of_each_kind_stand_in():
    [matched, _] = summary_table(analysed([policy(0.7, 5)], OPPONENTS), 8).rows
    assert matched[1:3] == ["c (k=40), BL 64", "cheapest (all need more)"]


def test_training_seeds_share_a_row_from_the_lowest_to_the_highest():
    seeds = [
        policy(share, nfe, f"policy/{share}") for share, nfe in ((0.7, 12), (0.39, 20), (0.2, 20))
    ]
    rows = summary_table(analysed(seeds, OPPONENTS), 8).rows
    assert rows[0] == [
        *("policy (3 training seeds)", "a (k=10), BL 64; b (k=15), BL 64", "at matched NFE"),
        "more accurate in 1, not told apart in 1, less accurate in 1 of 3",
        *("\N{MINUS SIGN}20.0 to +10.0", "\N{MINUS SIGN}33 to \N{MINUS SIGN}20"),
    ]
    assert len(rows) == 2


def test_without_tuning_runs_every_setting_is_counted():
    test = [policy(0.7), *(pair[0] for pair in OPPONENTS)]
    [analysis] = analyse([make_dataset(test)], Options(resamples=50))
    [row] = summary_table(analysis, 4).rows
    assert row[:3] == ["policy (1 setting)", "a (k=10), BL 64; b (k=15), BL 64 and 2 more",
                       "every setting"]  # fmt: skip
    assert row[3] == "more accurate in 3, less accurate in 1 of 4"
