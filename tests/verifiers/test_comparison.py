"""What is decided without algebra is right, and what is not sure is left open."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_unmask.verifiers.comparison import LONGEST, compare, sides
from lit_unmask.verifiers.notation import spelled
from lit_unmask.verifiers.quantities import quantity

EQUAL = [
    ("320.0", "320"), ("1/2", "0.5"), (r"\frac12", r"\dfrac{1}{2}"), (r"\frac{3}{24}", r"\frac18"),
    ("1,234", "1234.00"), (r"11,\!111", "11111"), ("1{,}000", "1000"), (r"3\frac12", "3.5"),
    ("(1,2)", "(1, 2)"), (r"\left( 1, 2 \right)", "(1,2)"), (r"\text{(C)}", "C"), ("(c)", "C"),
    ("x=5", "5"), ("5", "x = 5"), ("12", "$12"), (r"-\$5", "-5"), (r"\$36", "36.00"),
    (r"5\text{ cm}^2", "5"), (r"5\text{ m}", "5"), ("5", r"5 \text{ ounces}"), ("7", "7 apples"),
    ("5", "5 miles/hour"), (r"55^\circ", "55"), ("55°", r"55^{\circ}"), ("Eve", r"\text{Eve}"),
    ("2k+2", "2k + 2"), (r"\sqrt2", r"\sqrt{2}"), ("7", "She has 3 + 4 = 7 apples"),
    ("20", r"20\%"), (r"50\%", "50"), (r"50\%", "0.5"), ("0.5", r"50\%"), ("3", r"\(3\)"),
    ("3", "**3**"), ("-7", "-7."), ("4", "$4$"), ("1e5", "1e5"),
    ("2516_8", "2516"),
]  # fmt: skip
DIFFERENT = [
    ("320.0", "32"), ("1/2", "0.51"), ("3.14", "3.14159"), ("12", "-12"), ("5", "x = 6"),
    ("5", "7 of the 12 are left"), (r"50\%", "5"), ("0.5", "50"), ("1000", "1,00,1"),
    ("5", "x" * (LONGEST + 1)), ("12", "12e5"), ("5", r"5 \text{ million}"),
]  # fmt: skip
OPEN = [
    ("2", "2x"), ("2", r"2\pi"), ("2", r"2\sqrt{3}"), ("5", "5i"), ("3", "3!"),
    ("10^2", "100"), ("1,2", "12"), ("x+1", "1+x"), (r"\frac{0}{0}", "1"),
    ("2", "2 pi"), ("(1,000)", "1000"), ("1, 2", "2, 1"),
]  # fmt: skip


@pytest.mark.parametrize(("pairs", "verdict"), [(EQUAL, True), (OPEN, None)])
def test_answers_compare(pairs, verdict):
    assert {pair: compare(*pair) for pair in pairs} == dict.fromkeys(pairs, verdict)


def test_different_numbers_are_never_equal():
    assert not any(compare(*pair) for pair in DIFFERENT)
    assert compare("320.0", "32") is False


def test_empty_answers_are_not_equal():
    assert not compare("", "") and not compare("$$", "")


NUMBERS = st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=1000)


def written(value: Fraction) -> list[str]:
    """Return ways to write a number."""
    sign, top, bottom = "-" * (value < 0), abs(value.numerator), value.denominator
    forms = [
        f"{value}",
        rf"{sign}\frac{{{top}}}{{{bottom}}}",
        rf"${sign}\dfrac{{{top}}}{{{bottom}}}$",
    ]
    if bottom == 1:
        forms += [
            f"{sign}{top:,}",
            f"{value}.0",
            rf"{sign}\${top}",
            rf"{value} \text{{ cm}}",
            f"x={value}",
        ]
    return forms


@given(NUMBERS, NUMBERS)
def test_every_way_to_write_a_number_has_its_value(first, second):
    found = [quantity(sides(spelled(text))[1]) for text in written(first)]
    assert {number and number.value for number in found} == {first}
    for text in written(second):
        assert compare(str(first), text) is (first == second)


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_breaks_the_comparison(gold, answer):
    assert compare(gold, answer) in (True, False, None)
    assert compare(gold, gold) in (True, False)
