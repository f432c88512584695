"""Countdown: make a number out of others. Order matters, because every step uses up numbers."""

from __future__ import annotations

import ast
import operator
import random
import re
from collections.abc import Callable
from fractions import Fraction

from lit_unmask.tasks.base import ANSWER_REQUEST, Split, Task, worked_answer
from lit_unmask.types import Problem
from lit_unmask.verifiers.answers import answer_part

_REQUEST = ANSWER_REQUEST.format(what="the expression")
_PROMPT = """\
Make {target} out of {numbers}. Use each number exactly once, with + - * / and parentheses.

{request}"""
_LARGEST_TARGET = 999
# Longer answers are wrong: six numbers with operators and parentheses need far less.
_LONGEST_ANSWER = 200
# Signs of multiplication, division and subtraction and brackets, as texts write them.
_SPELLINGS = str.maketrans(
    "\u00d7\u00b7\u22c5\u2217xX\u00f7\u2215:\u2212\u2013[]{}$`", "******///--()()  "
)
_TEX = (
    (r"\\(?:times|cdot|ast)", "*"), (r"\\div", "/"), (r"\\(?:left|right|[,;! ()\[\]])", ""),
    (r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"((\1)/(\2))"),
)  # fmt: skip
_PLAIN = (
    # Emphasis; what stands beside a bracket is multiplied; zeros in front of a number.
    (r"^\s*\*\*|\*\*[\s.]*$", " "), (r"(?<=[\d)])\s*(?=\()|(?<=\))\s*(?=\d)", "*"),
    (r"(?<!\d)0+(?=\d)", ""),
)  # fmt: skip
_LABEL = re.compile(
    r".*?(?:answer|expression|solution)\s*(?:is|:)[\s:*]*", re.IGNORECASE | re.DOTALL
)
_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Countdown(Task):
    """Numbers and a target that they can make, drawn from a seed.

    A problem is made by combining its numbers at random, so each can be solved; every value on the
    way is a positive whole number. The verifier takes any expression that uses each number once
    and has exactly the target as its value.

    Args:
        split: Part of the problem space.
        size: Number of problems.
        seed: Seed of the generator.
        numbers: Smallest and largest number of numbers.
        largest: Largest number that is given.

    Raises:
        ValueError: If ``numbers`` is not an increasing pair within ``[2, 6]``, or ``largest`` is
            below 10.
    """

    def __init__(
        self,
        split: Split,
        size: int,
        seed: int = 0,
        numbers: tuple[int, int] = (3, 4),
        largest: int = 99,
    ) -> None:
        super().__init__(split, size, seed)
        if not 2 <= numbers[0] <= numbers[1] <= 6:
            raise ValueError(f"numbers={numbers} must be an increasing pair within [2, 6]")
        if largest < 10:
            raise ValueError(f"largest={largest} must be at least 10")
        self.numbers, self.largest = tuple(numbers), largest

    def draw(self, rng: random.Random) -> Problem:
        """Draw numbers and combine them."""
        while True:
            count = rng.randint(self.numbers[0], self.numbers[1])
            given = sorted(rng.randint(1, self.largest) for _ in range(count))
            target, expression, steps = _combine(given, rng)
            if 10 <= target <= _LARGEST_TARGET and target not in given:
                break
        names = f"{', '.join(map(str, given[:-1]))} and {given[-1]}"
        question = _PROMPT.format(target=target, numbers=names, request=_REQUEST)
        return Problem(
            uid=f"countdown/{'-'.join(map(str, given))}={target}",
            messages=({"role": "user", "content": question},),
            answer=f"{' '.join(map(str, given))} = {target}",
            verifier=grade_countdown,
            solution=worked_answer("\n".join(steps), expression),
        )


def _combine(numbers: list[int], rng: random.Random) -> tuple[int, str, list[str]]:
    """Combine numbers two by two; returns the value, its expression and the steps."""
    terms = [(number, str(number)) for number in numbers]
    steps = []
    while len(terms) > 1:
        (a, left), (b, right) = (terms.pop(rng.randrange(len(terms))) for _ in range(2))
        if a < b:
            a, left, b, right = b, right, a, left
        choices = [("+", a + b), ("*", a * b)]
        choices += [("-", a - b)] if a > b else []
        choices += [("/", a // b)] if a % b == 0 and b > 1 else []
        sign, value = rng.choice(choices)
        steps.append(f"{a} {sign} {b} = {value}")
        terms.append((value, f"({left} {sign} {right})"))
    value, expression = terms[0]
    return value, expression[1:-1], steps


def grade_countdown(completion: str, answer: str) -> float:
    """Return 1.0 if the expression in ``<answer>`` uses each number once and makes the target.

    Args:
        completion: What was written. Without tags its last line counts. ``= 46`` on either side,
            a label, a box, dollar signs, signs in front of a number, products without a sign and
            other spellings of the operators are allowed.
        answer: Numbers and target, such as ``3 7 25 = 46``.
    """
    given, _, target = answer.partition("=")
    part = answer_part(completion)
    if part is None:
        part = (completion.strip().splitlines() or [""])[-1]
    used: list[int] = []
    try:
        value = _value(_parse(part), used)
    except (ArithmeticError, SyntaxError, ValueError):
        return 0.0
    numbers = sorted(map(int, given.split()))
    return float(sorted(used) == numbers and value == int(target))


def _parse(text: str) -> ast.expr:
    if len(text) > 10 * _LONGEST_ANSWER:
        raise ValueError("not an expression")
    if label := _LABEL.match(text):
        text = text[label.end() :]
    if box := re.fullmatch(r"[\s$\\\[(]*\\boxed\{(.*)\}[\s$.\\\])]*", text, re.DOTALL):
        text = box[1]
    for pattern, sign in _TEX:
        text = re.sub(pattern, sign, text)
    text = text.translate(_SPELLINGS)
    for pattern, sign in _PLAIN:
        text = re.sub(pattern, sign, text)
    left, equals, right = text.partition("=")
    # `46 = ...`, with the number that was asked for in front, or `... = 46`.
    text = right if equals and re.fullmatch(r"[\s(]*\d+[\s)]*", left) else left
    text = " ".join(text.split()).rstrip(". ,")
    if len(text) > _LONGEST_ANSWER or not re.fullmatch(r"[\d+\-*/() ]+", text, re.ASCII):
        raise ValueError("not an expression")
    return ast.parse(text, mode="eval").body


def _value(node: ast.expr, used: list[int]) -> Fraction:
    """Return the value of an expression, and note the numbers in it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        used.append(node.value)
        return Fraction(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand, used)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_value(node.left, used), _value(node.right, used))
    raise ValueError("not an expression")
