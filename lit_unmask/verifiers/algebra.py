r"""Compares expressions with sympy, piece by piece, exactly; runs in a process that can be killed.

latex2sympy2-extended reads expressions, and raises where it cannot read all of one. It joins
numbers that stand beside each other, so those are refused before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

from latex2sympy2_extended import latex2sympy
from sympy import Basic, Float, I, MatrixBase, Rational, Symbol, simplify
from sympy.core.relational import Eq, Relational

from lit_unmask.verifiers.comparison import compare, sides
from lit_unmask.verifiers.notation import compact, spelled
from lit_unmask.verifiers.quantities import quantity, without_unit

_OPEN, _CLOSE = "([{", ")]}"
_SEPARATOR = re.compile(r",|;|&|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|\\(?:cup|mid)(?![a-z])")
_SIGN = re.compile(r"[=<>]|\\(?:le|ge|ne)(?![a-z])")
_BOUNDED = re.compile(r"[<>]|\\(?:le|ge|infty)(?![a-z])|[\[\]]")
_VARIABLE = re.compile(r"\\?[A-Za-z]+(?:\([A-Za-z]\))?")
_MEMBER = re.compile(r"\\?[A-Za-z]+\s*\\in(?![a-z])\s*")
# Values that symbols take, of both signs; where one side is not real, that place says nothing.
_PLACES = tuple(Rational(n, 7) for n in (17, 5, -9, 23, -4, 30, -25, 3, 11, -2))
_DIGITS = 300


class Unreadable(ValueError):
    """A text that is no expression as a whole."""


def equal(gold: str, answer: str) -> bool:
    """Return whether an answer equals the reference.

    Both are taken apart first: unions, sets and answers without brackets have no order, tuples,
    intervals and ratios have one, and brackets count. What cannot be read is equal to the same text
    alone.
    """
    verdict = compare(gold, answer)
    return _alike(spelled(gold), spelled(answer)) if verdict is None else verdict


def _alike(gold: str, answer: str) -> bool:
    gold, answer = _MEMBER.sub("", gold, 1), _MEMBER.sub("", answer, 1)
    kinds = [_taken_apart(text) for text in (gold, answer)]
    if any(kind != "" for kind, _ in kinds):
        return _same_parts(*kinds)
    if (verdict := compare(gold, answer)) is not None:
        return verdict
    try:
        return _same_value(gold, answer)
    except Unreadable:
        return False


def _taken_apart(text: str) -> tuple[str, list[str]]:
    r"""Return what kind of collection a text is (its brackets, ``,`` or ``:``), and its parts."""
    text = _interval(text)
    parts = list(_split(text, _SEPARATOR))
    if len(parts) > 1:
        return ("u" if r"\cup" in text else ","), list(_both_signs(parts))
    inner = re.fullmatch(r"(\\\{|\\langle|[(\[])(.*?)(\\\}|\\rangle|[)\]])", text, re.DOTALL)
    if inner and _closed(inner[2]):
        inside = list(_split(inner[2], re.compile("[,;]")))
        if inner[1] == r"\{":
            return "{", list(_both_signs(inside))
        if len(inside) > 1:
            return inner[1].replace(r"\langle", "(") + inner[3].replace(r"\rangle", ")"), inside
    if len(both := list(_both_signs(parts))) > 1:
        return ",", both
    ratio = list(_split(text, re.compile(":")))
    return (":", ratio) if len(ratio) > 1 else ("", [text])


def _interval(text: str) -> str:
    r"""Return a bound on one variable as an interval: ``2 < x \le 5`` is ``(2,5]``."""
    if compact(text) == r"\mathbb{R}":
        return r"(-\infty,\infty)"
    sides: list[str] = re.split(r"(<|>|\\le(?![a-z])|\\ge(?![a-z]))", text)
    if len(sides) not in (3, 5) or "," in text:
        return text
    if ">" in sides or r"\ge" in sides:
        turned = {">": "<", r"\ge": r"\le"}
        if any(sign in ("<", r"\le") for sign in sides[1::2]):
            return text
        sides = [turned.get(side, side) for side in reversed(sides)]
    if len(sides) == 3:
        if _VARIABLE.fullmatch(sides[0].strip()):
            sides = [r"-\infty", "<", *sides]
        elif _VARIABLE.fullmatch(sides[2].strip()):
            sides = [*sides, "<", r"\infty"]
        else:
            return text
    low, left, name, right, high = sides
    if not _VARIABLE.fullmatch(name.strip()):
        return text
    return f"{'(['[left != '<']}{low.strip()},{high.strip()}{')]'[right != '<']}"


def _split(text: str, separator: re.Pattern[str]) -> Iterator[str]:
    """Yield the parts of a text between separators outside brackets, without empty ones."""
    if re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        yield text
        return
    depth, start, place = 0, 0, 0
    while place < len(text):
        depth += (text[place] in _OPEN) - (text[place] in _CLOSE)
        found = separator.match(text, place) if depth == 0 and r"\begin" not in text else None
        thousands = re.match(r"\d,\d{3}(?!\d)", text[max(place - 1, 0) :])
        if found and (found[0] != "," or not thousands):
            if text[start:place].strip():
                yield text[start:place].strip()
            start = place = found.end()
        else:
            place += 1
    if text[start:].strip():
        yield text[start:].strip()


def _closed(text: str) -> bool:
    """Return whether no bracket of a text closes one outside it."""
    depth = 0
    for letter in text:
        depth += (letter in _OPEN) - (letter in _CLOSE)
        if depth < 0:
            return False
    return depth == 0


def _both_signs(parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        if r"\pm" in part or r"\mp" in part:
            yield part.replace(r"\pm", "+").replace(r"\mp", "-")
            yield part.replace(r"\pm", "-").replace(r"\mp", "+")
        else:
            yield part


def _same_parts(gold: tuple[str, list[str]], answer: tuple[str, list[str]]) -> bool:
    (kind, expected), (its_kind, given) = gold, answer
    if len(expected) != len(given):
        return False
    kinds = {kind, its_kind}
    loose = {",", "()"} if not any(r"\infty" in part for part in (*expected, *given)) else set()
    if kinds <= {",", "{", "u", ""}:
        if "u" in kinds and len(kinds) > 1 and not all(map(_BOUNDED.search, (*expected, *given))):
            return False
        return _matched(expected, given)
    if len(kinds) == 1 or kinds == loose:
        return all(map(_alike, expected, given))
    return False


def _matched(expected: list[str], given: list[str]) -> bool:
    """Return whether each part has a partner of its own; equality is transitive, so greedily."""
    left = list(given)
    for part in expected:
        partner = next((other for other in left if _alike(part, other)), None)
        if partner is None:
            return False
        left.remove(partner)
    return True


def _same_value(gold: str, answer: str) -> bool:
    (name, value), (its_name, its_value) = sides(without_unit(gold)), sides(without_unit(answer))
    if name and its_name and compact(name) != compact(its_name):
        return _same_relation(_read(gold), _read(answer))
    if _SIGN.search(value) or _SIGN.search(its_value):  # an equation, and its name a side of it
        return _same_relation(_read(gold), _read(answer))
    left, right = _read(value), _read(its_value)
    if isinstance(left, MatrixBase) or isinstance(right, MatrixBase):
        return _same_matrix(left, right)
    if _rounded(left, its_value) or _rounded(right, value):
        return True
    return _same_expression(left, right)


def _rounded(exact: Basic, text: str) -> bool:
    """Return whether a text is a decimal with enough digits of an irrational number."""
    decimal = quantity(text)
    if decimal is None or not decimal.exact_enough or not exact.is_number or exact.is_rational:
        return False
    value = exact.evalf(decimal.places + 20)
    return bool(value.is_real) and round(Fraction(str(value)), decimal.places) == decimal.value


def _read(text: str) -> Basic | MatrixBase:
    r"""Return an expression, exact: decimals are fractions, and i is the imaginary unit.

    Raises:
        Unreadable: If it cannot be read as a whole.
    """
    text = re.sub(r"\\log_\{?(\w+)\}?\s*", r"\\log_{\1}", compact(text))
    if re.search(r"\d [\d.\\]*\d|\d['_]|\\ldots|\"", text) or not text:
        raise Unreadable(text)
    try:
        found = latex2sympy(text.replace("%", r"\%"), normalization_config=None)
    except MemoryError:
        raise
    except Exception as error:  # the parser raises whatever its stages raise
        raise Unreadable(text) from error
    if not isinstance(found, (Basic, MatrixBase)):
        raise Unreadable(text)
    exact: Callable[[Basic], Basic] = lambda part: _exact(part)  # noqa: E731
    return found.applyfunc(exact) if isinstance(found, MatrixBase) else exact(found)


def _exact(found: Basic) -> Basic:
    decimals = {number: Rational(str(number)) for number in found.atoms(Float)}
    return found.xreplace(decimals | {Symbol("i"): I, Symbol("i", real=True): I}).doit()


def _same_matrix(left: Basic | MatrixBase, right: Basic | MatrixBase) -> bool:
    if not (isinstance(left, MatrixBase) and isinstance(right, MatrixBase)):
        return False
    return left.shape == right.shape and all(map(_same_expression, left, right))


def _same_relation(left: Basic, right: Basic) -> bool:
    """Return whether two relations hold for the same values: one is a multiple of the other."""
    if not (isinstance(left, Relational) and isinstance(right, Relational)):
        return False
    left, right = (side.reversed if ">" in side.rel_op else side for side in (left, right))
    if left.rel_op != right.rel_op:
        return False
    ratio = simplify((left.lhs - left.rhs) / (right.lhs - right.rhs))
    return bool(ratio.is_number and ratio.is_finite and ratio.is_nonzero) and (
        isinstance(left, Eq) or left.rel_op == "!=" or bool(ratio.is_positive)
    )


def _same_expression(left: Basic, right: Basic) -> bool:
    """Return whether two expressions have one value wherever both are real, or complex alike."""
    if left == right:
        return True
    difference = left - right
    if difference.is_zero:
        return True
    symbols = sorted(difference.free_symbols, key=str)
    if not symbols:
        return _vanishes(difference)
    complex_ = difference.has(I)
    compared = 0
    for start in range(len(_PLACES)):
        at = {s: _PLACES[(start + 3 * n) % len(_PLACES)] for n, s in enumerate(symbols)}
        values = [side.subs(at) for side in (left, right)]
        numbers = [value.evalf(15) for value in values]
        if not complex_ and not all(number.is_real for number in numbers):
            continue
        if not _vanishes(values[0] - values[1]):
            return False
        compared += 1
    return compared >= 2


def _vanishes(number: Basic) -> bool:
    """Return whether a number is zero to all digits that are looked at."""
    if number.is_Rational or number.is_zero:
        return bool(number.is_zero)
    value = number.evalf(15, maxn=_DIGITS)
    if not value.is_number or not value.is_finite:
        return False
    # A value that is lost in cancellation does not reach the accuracy that was asked for.
    return all(part == 0 or getattr(part, "_prec", 53) < 40 for part in value.as_real_imag())
