"""Countdown and Sudoku: solvable by construction, in disjoint splits, graded by the rules."""

from collections import Counter
from itertools import combinations, pairwise, product

import pytest

from lit_unmask.tasks import Countdown, Sudoku4x4
from lit_unmask.tasks.base import split_of
from lit_unmask.tasks.countdown import grade_countdown
from lit_unmask.tasks.sudoku import count_solutions, full_grids, grade_sudoku

SPLITS = ("train", "tuning", "validation", "test")
PUZZLES = [Countdown, Sudoku4x4]


@pytest.mark.parametrize("task", PUZZLES)
def test_puzzles_are_the_same_everywhere_and_splits_share_nothing(task):
    uids = {split: [problem.uid for problem in task(split, 60)] for split in SPLITS}
    assert all(set(uids[a]).isdisjoint(uids[b]) for a, b in combinations(SPLITS, 2))
    assert all(split_of(uid) == split for split in SPLITS for uid in uids[split])
    assert [task("test", 500)[index].uid for index in range(5)] == uids["test"][:5]
    assert task("test", 5, seed=1)[0].uid != uids["test"][0]


@pytest.mark.parametrize("task", PUZZLES)
def test_every_worked_solution_is_right_and_no_other_one(task):
    problems = list(task("train", 150))
    for problem, other in pairwise(problems):
        assert problem.grade(problem.solution) == 1.0
        assert problem.answer == other.answer or problem.grade(other.solution) == 0.0


def test_each_count_of_numbers_is_drawn_and_steps_stay_whole_and_positive():
    problems = list(Countdown("train", 200, numbers=(2, 5), largest=20))
    counts = Counter(len(problem.answer.split(" = ")[0].split()) for problem in problems)
    assert set(counts) == {2, 3, 4, 5} and min(counts.values()) > 20
    for problem in problems:
        steps = problem.solution.split("<reasoning>\n")[1].split("\n</reasoning>")[0]
        for step in steps.splitlines():
            expression, value = step.split(" = ")
            assert eval(expression) == int(value) > 0


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<answer>3 * (25 - 7) - 8</answer>", 1.0),
        ("<answer>\n(25 - 7) * 3 - 8 = 46\n</answer><|eot_id|>", 1.0),
        (r"<answer>\boxed{3 \times (25 - 7) - 8}</answer>", 1.0),
        (r"<answer>$\boxed{3 \cdot \left(25 - 7\right) - 8}$</answer>", 1.0),
        ("<answer>1</answer> no: <answer>3\u00d7(25-7)\u22128", 1.0),
        ("so it is\n3*(25-7)-8", 1.0),
        ("<answer>46</answer>", 0.0),
        ("<answer>3 * (25 - 7)</answer>", 0.0),
        ("<answer>3 * (25 - 7) - 8 + 25 - 25</answer>", 0.0),
        ("<answer>3 * 25 - 7 - 8</answer>", 0.0),
        ("<answer>3 * (25 - 7) - 8 / (7 - 7)</answer>", 0.0),
        ("<answer>2 ** 5 + 8</answer>", 0.0),
        ("<answer>-(-3 * (25 - 7) + 8)</answer>", 1.0),
        ("<answer>9**9**9**9</answer>", 0.0),
        ("<answer>__import__('os').getcwd()</answer>", 0.0),
        ("<answer>3 * (25 - 7 - 8</answer>", 0.0),
        ("<answer>" + "(" * 5000 + "</answer>", 0.0),
        ("<answer>" + "+".join("3" * 90) + "</answer>", 0.0),
        ("<answer>\u0663 * (25 - 7) - 8</answer>", 0.0),
        ("<answer>3 (25 - 7) - 8</answer>", 1.0),
        ("<answer></answer>", 0.0),
        ("\x00\ud800", 0.0),
        ("", 0.0),
    ],
)
def test_an_expression_counts_if_it_uses_each_number_once_and_makes_the_target(text, verdict):
    assert grade_countdown(text, "3 7 8 25 = 46") == verdict


SPELLINGS = [
    "(-3 + 10) * 7", "7(10-3)", "(10-3)7", "49 = (10-3)*7", "(10 - 3) x 7 = 49", "-7*(3-10)",
    r"\boxed{(10-3) \cdot 7}", r"\[7 \times (10 - 3)\]", r"\(7 (10 - 3) = 49\)", "**(10-3)*7**",
    "[10-3]*7", "{10-3}*7", "7*(10+-3)", "7*(+10-3)", "Answer: (10-3)*7.", "(10-3)*07",
    "The expression is (10 - 3) * 7 = 49.", "`(10-3)*7`", "7 * (10 - 3) = 7 * 7 = 49",
]  # fmt: skip
NO_SOLUTIONS = ["49", "7*7", "10*7-3*7", "10-3*7", "(10-3)**7", "10 3 7", "-(10-3)*7", "7 10 - 3"]


@pytest.mark.parametrize("form", ["<answer>{}</answer>", "{}", "<Answer>\n{}\n</Answer>"])
def test_an_expression_counts_however_it_is_spelled(form):
    verdicts = {text: grade_countdown(form.format(text), "3 7 10 = 49") for text in SPELLINGS}
    assert verdicts == dict.fromkeys(SPELLINGS, 1.0)
    wrong = {text: grade_countdown(form.format(text), "3 7 10 = 49") for text in NO_SOLUTIONS}
    assert wrong == dict.fromkeys(NO_SOLUTIONS, 0.0)
    assert grade_countdown(form.format(r"\frac{7}{2} * 4"), "2 4 7 = 14") == 1.0


def test_a_quotient_need_not_be_whole_on_the_way():
    assert grade_countdown("<answer>8 / (3 - 8 / 3)</answer>", "3 3 8 8 = 24") == 1.0
    assert grade_countdown("<answer>(8 / 3) * 3 * 3</answer>", "3 3 8 8 = 24") == 0.0


def oracle(clues):
    """All fillings, by trying every one of the rows and boxes."""
    rows = [row for row in product("1234", repeat=4) if len(set(row)) == 4]
    fit = [
        [r for r in rows if all(c in ("0", d) for c, d in zip(clues[4 * i :], r, strict=False))]
        for i in range(4)
    ]
    found = []
    for grid in product(*fit):
        columns = all(len(set(column)) == 4 for column in zip(*grid, strict=True))
        boxes = all(
            len({grid[r + i][c + j] for i in (0, 1) for j in (0, 1)}) == 4
            for r in (0, 2)
            for c in (0, 2)
        )
        if columns and boxes:
            found.append("".join("".join(row) for row in grid))
    return found


def test_a_sudoku_has_exactly_one_solution():
    for problem in Sudoku4x4("train", 12, clues=(6, 9)):
        assert oracle(problem.uid.partition("/")[2]) == [problem.answer]


def test_solutions_are_counted_as_by_trying_everything():
    for problem in Sudoku4x4("test", 6, clues=(8, 8)):
        clues = problem.uid.partition("/")[2]
        fewer = clues.translate(str.maketrans("1", "0"))
        assert count_solutions(fewer) == len(oracle(fewer)) >= 1


def test_there_are_288_full_grids_and_all_are_drawn_alike():
    assert len(set(full_grids())) == count_solutions("0" * 16) == 288
    seen = Counter(problem.answer for problem in Sudoku4x4("train", 600, clues=(12, 12)))
    assert len(seen) > 200 and max(seen.values()) < 12


@pytest.mark.parametrize("clues", [(4, 4), (5, 10), (12, 12)])
def test_clues_bound_the_number_of_given_digits(clues):
    given = Counter(16 - problem.uid.count("0") for problem in Sudoku4x4("train", 60, clues=clues))
    assert set(given) == set(range(clues[0], clues[1] + 1))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<answer>\n1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1\n</answer>", 1.0),
        ("<answer>1234 | 3412 | 2143 | 4321</answer><|eot_id|>", 1.0),
        ("1 is clear.\n\n1234\n3412\n2143\n4321", 1.0),
        ("<answer>1234 3412 2143 4312</answer>", 0.0),
        ("<answer>1234 3412 2143</answer>", 0.0),
        ("<answer>1234 3412 2143 4321 1</answer>", 0.0),
        ("1234341221434321 <answer></answer>", 0.0),
        ("", 0.0),
    ],
)
def test_a_grid_counts_however_it_is_spaced(text, verdict):
    assert grade_sudoku(text, "1234341221434321") == verdict


@pytest.mark.parametrize(
    ("task", "arguments", "said"),
    [
        (Countdown, {"numbers": (1, 3)}, r"numbers=\(1, 3\).*\[2, 6\]"),
        (Countdown, {"numbers": (4, 3)}, r"numbers=\(4, 3\)"),
        (Countdown, {"largest": 9}, "largest=9 must be at least 10"),
        (Sudoku4x4, {"clues": (3, 9)}, r"clues=\(3, 9\).*\[4, 12\]"),
        (Sudoku4x4, {"clues": (9, 8)}, r"clues=\(9, 8\)"),
    ],
)
def test_impossible_puzzles_are_refused(task, arguments, said):
    with pytest.raises(ValueError, match=said):
        task("train", 1, **arguments)
