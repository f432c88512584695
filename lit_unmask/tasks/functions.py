"""Short functions from a description: the bundled code task."""

from __future__ import annotations

import random

from lit_unmask.tasks.base import ClosedTask, Split, pick_synonym
from lit_unmask.tasks.interpreter import NotInLanguage, Trace, run_function
from lit_unmask.types import Problem

# What prompts name and do not explain: whoever answers has to know it by heart.
OPERATIONS = {
    "lift": 1, "rise": 2, "climb": 3, "grow": 4, "jump": 5, "gain": 6,
    "dip": -1, "drop": -2, "lose": -3, "sink": -4, "fall": -5, "cut": -6,
}  # fmt: skip
# From these no operations lead below 0, so that every value is one word.
TRIED = range(21, 30)
DOC_VERBS = ("compute", "produce", "find", "get", "make", "give", "build", "form")
DOC_ADJECTIVES = ("new", "simple", "small", "whole", "plain", "wanted", "given", "final")
DOC_NOUNS = ("value", "number", "result", "output", "amount", "integer", "figure", "thing")
MOST_OPERATIONS = 10
_HELD_OUT_INPUTS = (-7, -1, 0, 1, 2, 5, 13)


class ShortFunctions(ClosedTask):
    """Write ``f`` of ``x`` as a chain of assignments, one for each operation in the prompt.

    A prompt names operations, as ``write f : drop lift grow ; try 24``. A solution is one line of
    Python: a docstring with free words, then the assignments, each to a variable of the name of its
    operation. They may come in any order, but each must build on the one before it, and the
    operands of a sum may stand in either order. Behind each stands the value that it has for the
    input to try, a bare number. With five operations a solution is at most 55 words long, with ten
    at most 95. The verifier runs it on held-out inputs and checks the values; names are free
    (:func:`grade_function`).

    Args:
        split: Part of the problem space.
        size: Number of problems.
        seed: Seed of the generator.
        operations: Smallest and largest number of operations.

    Raises:
        ValueError: If ``operations`` is not an increasing pair within ``[1, 10]``.
    """

    def __init__(
        self, split: Split, size: int, seed: int = 0, operations: tuple[int, int] = (2, 5)
    ) -> None:
        super().__init__(split, size, seed)
        if not 1 <= operations[0] <= operations[1] <= MOST_OPERATIONS:
            raise ValueError(
                f"operations={operations} must be an increasing pair within [1, {MOST_OPERATIONS}]"
            )
        self.operations = tuple(operations)

    def draw(self, rng: random.Random) -> Problem:
        """Draw operations, none of them twice, and an input to try."""
        operations = rng.sample(list(OPERATIONS), rng.randint(*self.operations))
        tried = rng.choice(TRIED)
        question = f"write f : {' '.join(operations)} ; try {tried}"
        return Problem(
            uid=question,
            messages=({"role": "user", "content": question},),
            answer=f"{tried} {_reference(operations)}",
            verifier=grade_function,
            solution=_solve(operations, tried, rng),
        )

    @classmethod
    def words(cls) -> list[str]:
        """Return every word that a question or a solution may hold."""
        fixed = 'write f : x try def ( ) " the = + - ; return'.split()
        largest = TRIED[-1] + sum(change for change in OPERATIONS.values() if change > 0)
        numbers = [str(number) for number in range(largest + 1)]
        docstring = [*DOC_VERBS, *DOC_ADJECTIVES, *DOC_NOUNS]
        return list(dict.fromkeys([*fixed, *numbers, *OPERATIONS, *docstring]))

    @classmethod
    def synonyms(cls) -> list[tuple[str, ...]]:
        """Return words of which any may stand where one of them is in a solution."""
        return [DOC_VERBS, DOC_ADJECTIVES, DOC_NOUNS]


def _solve(operations: list[str], value: int, rng: random.Random) -> str:
    words = ["def", "f", "(", "x", ")", ":", '"', pick_synonym(DOC_VERBS, rng), "the"]
    words += [pick_synonym(DOC_ADJECTIVES, rng), pick_synonym(DOC_NOUNS, rng), '"', ";"]
    current = "x"
    for name in rng.sample(operations, len(operations)):
        symbol, operand = _meaning(name)
        operands = [current, operand]
        if symbol == "+" and rng.random() < 0.5:
            operands.reverse()
        value, current = value + OPERATIONS[name], name
        words += [name, "=", operands[0], symbol, operands[1], ";", str(value), ";"]
    return " ".join([*words, "return", current])


def _meaning(name: str) -> tuple[str, str]:
    change = OPERATIONS[name]
    return ("+" if change > 0 else "-"), str(abs(change))


def _reference(operations: list[str]) -> str:
    steps = [f"x = x {symbol} {operand} ; " for symbol, operand in map(_meaning, operations)]
    return f"def f ( x ) : {''.join(steps)}return x"


def grade_function(completion: str, answer: str) -> float:
    """Grade a function by running it, and the values that it carries.

    It must agree with the reference on all held-out inputs, and assign as often. Behind every
    assignment must stand, as a statement of its own, the value assigned when the function runs on
    the input to try. What else it says is free.

    Args:
        completion: What was written.
        answer: The input to try, a space and the reference program.

    Returns:
        1.0 or 0.0.
    """
    tried, reference = answer.split(" ", 1)
    steps, wanted = Trace(), Trace()
    try:
        run_function(reference, int(tried), wanted)
        run_function(completion, int(tried), steps)
        agrees = all(
            run_function(completion, value) == run_function(reference, value)
            for value in _HELD_OUT_INPUTS
        )
    except NotInLanguage:
        return 0.0
    values = [[value] for value in steps.assigned]
    return float(agrees and len(values) == len(wanted.assigned) and values == steps.noted)
