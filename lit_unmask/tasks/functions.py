"""Short functions from a description: the bundled code task."""

from __future__ import annotations

import random

from lit_unmask.tasks.base import ClosedTask
from lit_unmask.tasks.interpreter import NotInLanguage, run_function
from lit_unmask.types import Problem

VARIABLES = ("a", "b", "c", "d", "e", "g", "h", "k")
DOC_VERBS = ("compute", "return", "find", "get", "make", "give", "build", "form")
DOC_ADJECTIVES = ("new", "simple", "small", "whole", "plain", "wanted", "given", "final")
DOC_NOUNS = ("value", "number", "result", "output", "amount", "integer", "figure", "thing")
_SYMBOLS = {"plus": "+", "minus": "-", "times": "*"}
_HELD_OUT_INPUTS = (-7, -1, 0, 1, 2, 5, 13)


class ShortFunctions(ClosedTask):
    """Write ``f`` of ``x`` as a chain of assignments, one for each operation in the prompt.

    A solution is one line of Python: a docstring with free words, then statements whose variable
    names are free but must agree with each other and whose operands may stand in either order.
    It is at most 48 words long. The verifier runs it on held-out inputs in a whitelisting
    interpreter (:func:`~lit_unmask.tasks.interpreter.run_function`).
    """

    def draw(self, rng: random.Random) -> Problem:
        """Draw a chain of 2 to 5 operations."""
        operations = []
        for _ in range(rng.randint(2, 5)):
            name = rng.choice(("plus", "plus", "minus", "minus", "times"))
            operations.append((name, rng.randint(2, 9)))
        question = "write f : x " + " then ".join(f"{name} {value}" for name, value in operations)
        return Problem(
            uid=question,
            messages=({"role": "user", "content": question},),
            answer=_reference(operations),
            verifier=grade_function,
            solution=_solve(operations, rng),
        )

    @classmethod
    def words(cls) -> list[str]:
        """Return every word that a question or a solution may hold."""
        fixed = 'write f : x then plus minus times def ( ) " the = + - * ; return'.split()
        numbers = [str(number) for number in range(2, 10)]
        docstring = [*DOC_VERBS, *DOC_ADJECTIVES, *DOC_NOUNS]
        return list(dict.fromkeys([*fixed, *numbers, *VARIABLES, *docstring]))


def _solve(operations: list[tuple[str, int]], rng: random.Random) -> str:
    words = ["def", "f", "(", "x", ")", ":", '"', rng.choice(DOC_VERBS), "the"]
    words += [rng.choice(DOC_ADJECTIVES), rng.choice(DOC_NOUNS), '"', ";"]
    current = "x"
    for (name, value), target in zip(
        operations, rng.sample(VARIABLES, len(operations)), strict=True
    ):
        operands = [current, str(value)]
        if name != "minus" and rng.random() < 0.5:
            operands.reverse()
        words += [target, "=", operands[0], _SYMBOLS[name], operands[1], ";"]
        current = target
    return " ".join([*words, "return", current])


def _reference(operations: list[tuple[str, int]]) -> str:
    body = "".join(f"x = x {_SYMBOLS[name]} {value} ; " for name, value in operations)
    return f"def f ( x ) : {body}return x"


def grade_function(completion: str, answer: str) -> float:
    """Return 1.0 if the completion agrees with the reference program on all held-out inputs."""
    try:
        agrees = all(
            run_function(completion, value) == run_function(answer, value)
            for value in _HELD_OUT_INPUTS
        )
    except NotInLanguage:
        return 0.0
    return float(agrees)
