"""Numbers with and without units, exact, in digits or in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+"
_FRACTION = r"\\frac\{(-?\d{1,50})\}\{(-?\d{1,50})\}"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s*[$\u20ac\u00a3]?\s*(?:(?P<whole>\d{{1,50}})?\s*{_FRACTION}"
    rf"|(?P<top>{_DIGITS})(?:\s*/\s*(?P<bottom>\d{{1,50}}))?)"
    r"(?:\s*\\cdot\s*10\^\{?(?P<power>-?\d{1,2})\}?(?!\d))?"
)
_SCALES = {
    **{"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12},
    **{"dozen": 12},
}
_SCALE = re.compile(rf"\s*({'|'.join(_SCALES)})s?\b", re.IGNORECASE)
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_WORDS = {
    **{word: value for value, word in enumerate(_ONES)},
    **{word: 10 * value for value, word in enumerate(_TENS, 2)},
}
# Units of one kind, by their size: a value in two of them is the same.
_KINDS: tuple[dict[str, int | str | Fraction], ...] = (
    {"second sec s": 1, "minute min": 60, "hour hr h": 3600, "day": 86400, "week": 604800},
    {"month": 1, "year yr": 12},
    {
        **{"millimeter millimetre mm": Fraction(1, 1000), "centimeter centimetre cm": "1/100"},
        **{"meter metre m": 1, "kilometer kilometre km": 1000, "inch inche in": "0.0254"},
        **{"foot feet ft": "0.3048", "yard yd": "0.9144", "mile mi": "1609.344"},
    },
    {"cent \u00a2": 1, "dollar buck usd $": 100},
    {
        **{"milligram mg": "1/1000", "gram g": 1, "kilogram kg": 1000},
        **{"ounce oz": "28.349523125", "pound lb": "453.59237"},
    },
    {"milliliter millilitre ml": "1/1000", "liter litre l": 1},
    {"degree deg": 1},
)
_UNITS = {
    name: ((kind, 1), Fraction(size))
    for kind, units in enumerate(_KINDS)
    for names, size in units.items()
    for name in names.split()
}
_TIGHT = {"cm", "mm", "km", "kg", "mg", "ml", "in", "ft", "hr", "min", "lb", "oz", "mph", "yd"}
# Letters are a word if they look like one: a product of variables such as `abc` does not.
_WORD = (
    r"(?:[A-Za-z]{4,}|[^\W\d_aeiouAEIOU][aeiouy][^\W\d_aeiouxyzAEIOU]"
    r"|(?:egg|inch|day|way|toy|key|guy|pie|box|USD|mph|all|ice|tie|men|ton)s?)"
)
_POWER = re.compile(r"(?:\s*\^\s*\{?([123])\}?)?")
_RATE = re.compile(rf"\s*(?:/|per\b)\s*\"?[A-Za-z]+\"?{_POWER.pattern}")
_PERCENT = re.compile(r"%|(?:percent(?:age points?)?|per cent)\b", re.IGNORECASE)
_UNIT = re.compile(
    r'(?:(?:square|cubic|sq\.?|cu\.?)\s+)?(?:"(?P<quoted>[A-Za-z])"|(?P<sign>[%\u00a2$\u20ac\u00a3])|(?P<word>[A-Za-z]+)\.?)'
)
# What can follow a number of things: `12 of the 30 boxes`, but not `2 cats and 3 dogs`.
_LINK = re.compile(r"\b(?:of|out|in|for|per|at|from|with|by|on|after|than|every|each|over)\b")
_NO_WORDS = re.compile(
    r"[\\=<>^|/*+]|\b(?:pi|sqrt|sin|cos|tan|log|ln|exp|mod|inf|infinity|or|and)\b"
)
_TRAILING = re.compile(
    rf"(?<=[\w}})\]])\s+(?:(?:square|cubic|sq\.?|cu\.?)\s+)?"
    rf"((?:{_WORD}|{'|'.join(sorted(_TIGHT))})\.?|\"[A-Za-z]\"){_POWER.pattern}(?:{_RATE.pattern})?$"
)
_Unit = tuple[tuple[int, int], Fraction]  # kind and power, size in the basic unit of its kind
_REFUSED = "\\"


@dataclass(frozen=True)
class Quantity:
    """A number, what it is measured in, and how it was written.

    Attributes:
        value: In the unit that was written; of several (1 hour 30 minutes), in the largest.
        smallest: In the smallest of its units.
        kind: Which units, in which power, it can be compared with; None without a known unit.
        base: Its value in the basic unit of its kind.
        percent: Whether a percent sign stands behind it.
        places: Digits behind the point; 0 for a fraction.
    """

    value: Fraction
    smallest: Fraction
    kind: tuple[int, int] | None = None
    base: Fraction = Fraction(0)
    percent: bool = False
    places: int = 0

    @property
    def exact_enough(self) -> bool:
        """Whether it is a decimal of six places and six digits, to stand for what has no end."""
        return self.places >= 6 and abs(self.value) * 10**self.places >= 10**5


def quantity(text: str) -> Quantity | None:
    """Return a number with its unit, from a text in one spelling; None for anything else.

    The number comes first and words alone may follow it, or more numbers with units of its kind.
    """
    text = _in_digits(text.strip())
    match = _NUMBER.match(text)
    if match is None or (number := _value(match)) is None:
        return None
    number, rest = _scaled(number, text[match.end() :])
    places = len((match["top"] or "").partition(".")[2]) if not match["bottom"] else 0
    unit, rest, percent = _unit(rest, match[0])
    if unit is not None and (compound := _compound(number, unit, rest)) is not None:
        return compound
    if rest and not _words_alone(rest):
        return None
    kind, size = unit or (None, Fraction(1))
    return Quantity(number, number, kind, number * size, percent, places)


def without_unit(text: str) -> str:
    r"""Return an expression without the words behind it: ``12\pi square units``."""
    match = _TRAILING.search(text)
    return text[: match.start()] if match and not _NO_WORDS.search(match[1]) else text


def same(gold: Quantity, given: Quantity) -> bool:
    """Return whether two quantities are equal.

    Units count only where both have one that is known. Where one alone has a percent sign, both 20
    and 0.2 equal 20 %. A decimal of six places and six digits may stand for the number that it is
    rounded from.
    """
    if gold.percent != given.percent:
        pair = (gold.value, given.value) if gold.percent else (given.value, gold.value)
        return pair[1] in (pair[0], pair[0] / 100)
    if gold.kind is not None and given.kind is not None:
        return gold.kind == given.kind and gold.base == given.base
    if gold.value in (given.value, given.smallest) or given.value == gold.smallest:
        return True
    return _rounds_to(gold.value, given) or _rounds_to(given.value, gold)


def _rounds_to(exact: Fraction, decimal: Quantity) -> bool:
    return (
        decimal.exact_enough and _endless(exact) and round(exact, decimal.places) == decimal.value
    )


def _endless(value: Fraction) -> bool:
    bottom = value.denominator
    for factor in (2, 5):
        while bottom % factor == 0:
            bottom //= factor
    return bottom != 1


def _scaled(number: Fraction, rest: str) -> tuple[Fraction, str]:
    """Return a number times the words of size behind it: 2 hundred thousand."""
    while match := _SCALE.match(rest):
        number, rest = number * _SCALES[match[1].casefold()], rest[match.end() :]
    return number, rest


def _unit(text: str, signed: str) -> tuple[_Unit | None, str, bool]:
    """Return the known unit at the start of a text, what follows it, and whether it is percent.

    Args:
        text: What stands behind a number.
        signed: The number as it was written; a sign of currency in it is its unit.
    """
    money = _UNITS["$"] if "$" in signed else None
    spaced, text = text[:1] in " ", text.strip()
    if percent := _PERCENT.match(text):
        return money, text[percent.end() :].strip(), True
    match = _UNIT.match(text)
    if match is None:
        return money, text, False
    name, rest = match["quoted"] or match["sign"] or match["word"], text[match.end() :]
    if match["word"] and not (
        len(name) > 1 and (spaced or len(name) > 3 or name.casefold() in _TIGHT)
    ):
        return None, _REFUSED, False  # letters next to a number are variables
    if rate := _RATE.match(rest):
        return None, rest[rate.end() :].strip(), False
    unit = next((_UNITS[form] for form in _singulars(name) if form in _UNITS), None)
    if unit is None and match["word"]:
        return money, text, False
    if unit is None or money is not None:
        return money, rest, False
    power = _POWER.match(rest)
    assert power is not None
    raised = int(power[1] or {"sq": 2, "cu": 3}.get(text[:2].casefold(), 1))
    return ((unit[0][0], raised), unit[1] ** raised), rest[power.end() :].strip(), False


def _singulars(name: str) -> tuple[str, ...]:
    return name, name.casefold(), name.casefold().removesuffix("s")


def _words_alone(text: str) -> bool:
    """Return whether a text behind a number says no more of it than what it counts."""
    first = re.match(r"\W*([A-Za-z]{2,})", text)
    if first is None:
        return text.strip(" .,") in ("", '"')
    if _NO_WORDS.search(text):
        return False
    known = first[1].casefold() in _UNITS or _LINK.match(first[1])
    if not known and not re.fullmatch(_WORD, first[1]):
        return False
    number = re.search(r"\d", text)
    return number is None or _LINK.search(text[: number.start()]) is not None


def _compound(number: Fraction, unit: _Unit, rest: str) -> Quantity | None:
    """Return a quantity of several parts, each in a smaller unit than the one before."""
    kind, size = unit
    if not rest:
        return None
    base, last = number * size, size
    while rest.strip(" .,"):
        rest = re.sub(r"^\s*(?:,|and\b)?\s*(?:and\b)?\s*", "", rest)
        match = _NUMBER.match(rest)
        if match is None or (part := _value(match)) is None:
            return None
        following, rest, percent = _unit(rest[match.end() :], match[0])
        if following is None or percent or following[0] != kind or following[1] >= last:
            return None
        base, last = base + part * following[1], following[1]
    return Quantity(base / size, base / last, kind, base)


def _in_digits(text: str) -> str:
    """Return a text whose first words, if they are a number, are digits: `twenty-one cats`."""
    text = re.sub(r"^(?:(?:a|one)[ -])?half\b", r"1/2", text, flags=re.IGNORECASE)
    words = re.findall(r"[A-Za-z]+|[^A-Za-z]+", text[:200])
    total, current, end, seen = 0, 0, 0, False
    for place, word in enumerate(words):
        name = word.casefold()
        if name in _WORDS:
            current, seen, end = current + _WORDS[name], True, place + 1
        elif name in _SCALES and (seen or (place == 2 and words[0].casefold() in ("a", "an"))):
            scale, current, seen, end = _SCALES[name], current or 1, True, place + 1
            if scale == 100:
                current *= 100
            else:
                total, current = total + current * scale, 0
        elif not (
            name.strip() in ("", "-")
            or (name == "and" and seen)
            or (name in ("a", "an") and place == 0)
        ):
            break
    if not seen:
        return text
    return f"{total + current}{''.join(words[end:])}{text[200:]}"


def _value(match: re.Match[str]) -> Fraction | None:
    sign = -1 if match["sign"] == "-" else 1
    try:
        if match["top"] is None:
            whole, top, bottom = (int(part or 0) for part in match.group(2, 3, 4))
            number = whole + Fraction(top, bottom)
        else:
            digits = match["top"].replace(",", "")
            number = Fraction(digits if len(digits) < 100 else "x") / int(match["bottom"] or 1)
        return sign * number * Fraction(10) ** int(match["power"] or 0)
    except (ValueError, ZeroDivisionError):
        return None
