"""Sudoku of four by four. Order matters, because each digit follows from others."""

from __future__ import annotations

import random
import re
from functools import cache
from itertools import permutations

from lit_unmask.tasks.base import ANSWER_REQUEST, Split, Task
from lit_unmask.types import Problem
from lit_unmask.verifiers.answers import answer_part

FEWEST_CLUES = 4
MOST_CLUES = 12
_REQUEST = ANSWER_REQUEST.format(what="the filled grid, as four lines of four digits")
_PROMPT = """\
Fill in this Sudoku, in which 0 is an empty cell. Every row, every column and every two-by-two box \
must hold 1, 2, 3 and 4.

{grid}

{request}"""


@cache
def full_grids() -> tuple[str, ...]:
    """Return the 288 filled grids, each as sixteen digits by rows."""
    rows = ["".join(row) for row in permutations("1234")]
    grids = [""]
    for _ in range(4):
        grids = [grid + row for grid in grids for row in rows if _fits(grid, row)]
    return tuple(grids)


def _fits(grid: str, row: str) -> bool:
    """Return whether a row may stand below the rows of a grid."""
    columns = all(digit not in grid[column::4] for column, digit in enumerate(row))
    if len(grid) % 8 == 0:
        return columns
    return columns and not set(grid[-4:-2]) & set(row[:2])


@cache
def _grids_with(cell: int, digit: str) -> int:
    """Return a bit for each filled grid, set where the cell holds the digit."""
    return sum(1 << number for number, grid in enumerate(full_grids()) if grid[cell] == digit)


def count_solutions(clues: str) -> int:
    """Return in how many ways a grid can be filled.

    Args:
        clues: Sixteen digits by rows, 0 for empty.
    """
    fitting = (1 << len(full_grids())) - 1
    for cell, digit in enumerate(clues):
        if digit != "0":
            fitting &= _grids_with(cell, digit)
    return fitting.bit_count()


class Sudoku4x4(Task):
    """Grids with one solution each and a varied number of clues, drawn from a seed.

    The verifier wants the solution, whose sixteen digits may be written with any spaces, lines
    and bars between them.

    Args:
        split: Part of the problem space.
        size: Number of problems.
        seed: Seed of the generator.
        clues: Smallest and largest number of given digits.

    Raises:
        ValueError: If ``clues`` is not an increasing pair within ``[4, 12]``.
    """

    def __init__(
        self,
        split: Split,
        size: int,
        seed: int = 0,
        clues: tuple[int, int] = (FEWEST_CLUES + 1, 10),
    ) -> None:
        super().__init__(split, size, seed)
        if not FEWEST_CLUES <= clues[0] <= clues[1] <= MOST_CLUES:
            raise ValueError(
                f"clues={clues} must be an increasing pair within [{FEWEST_CLUES}, {MOST_CLUES}]"
            )
        self.clues = tuple(clues)

    def draw(self, rng: random.Random) -> Problem:
        """Draw a full grid and take digits away while its solution stays the only one."""
        wanted = rng.randint(*self.clues)
        full = clues = rng.choice(full_grids())
        while 16 - clues.count("0") != wanted:
            full = rng.choice(full_grids())
            clues = _take_away(full, wanted, rng)
        question = _PROMPT.format(grid=_lines(clues), request=_REQUEST)
        return Problem(
            uid=f"sudoku4x4/{clues}",
            messages=({"role": "user", "content": question},),
            answer=full,
            verifier=grade_sudoku,
            solution=f"<answer>\n{_lines(full)}\n</answer>",
        )


def _take_away(full: str, wanted: int, rng: random.Random) -> str:
    """Empty cells in random order, down to ``wanted`` clues if the solution stays the only one."""
    clues = full
    for cell in rng.sample(range(16), 16):
        if 16 - clues.count("0") == wanted:
            break
        fewer = f"{clues[:cell]}0{clues[cell + 1 :]}"
        if count_solutions(fewer) == 1:
            clues = fewer
    return clues


def grade_sudoku(completion: str, answer: str) -> float:
    """Return 1.0 if the digits in ``<answer>`` are those of the solution.

    Args:
        completion: What was written. Without tags its last sixteen digits count.
        answer: The sixteen digits of the solution, by rows.
    """
    part = answer_part(completion)
    if part is None:
        return float("".join(re.findall(r"[0-9]", completion))[-16:] == answer)
    return float("".join(re.findall(r"[0-9]", part)) == answer)


def _lines(grid: str) -> str:
    return "\n".join(" ".join(grid[start : start + 4]) for start in range(0, 16, 4))
