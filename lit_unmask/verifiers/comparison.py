r"""Compares answers by their text and as numbers; what that cannot decide is left open."""

from __future__ import annotations

import re
from fractions import Fraction

from lit_unmask.verifiers.answers import last_number

_SPACING = re.compile(r"\\[,;:! ]|\\q?quad|\\left(?![a-z])|\\right(?![a-z])|~|\s+")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|textit|operatorname)\s*\{([^{}]*)\}")
_DELIMITERS = ("$$", "$", r"\(", r"\)", r"\[", r"\]")
_SHORT_FRACTION = re.compile(r"\\frac(?:(\d)(\d)|(\d)\{([^{}]*)\}|\{([^{}]*)\}(\d))")
_SHORT_ROOT = re.compile(r"\\sqrt(\w)")
_DEGREES = re.compile(r"\^\{?\\circ\}?|\\degrees?|°")
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+"
_FRACTION = re.compile(r"\\frac\{(-?\d{1,50})\}\{(-?\d{1,50})\}")
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)(?:(?P<whole>\d{{1,50}})?{_FRACTION.pattern}"
    rf"|(?P<top>{_DIGITS})(?:/(?P<bottom>\d{{1,50}}))?)"
)
# A single letter behind a number is a variable, unless it is set as text.
_UNIT = re.compile(r"([A-Za-z]{2,})\.?(?:\^\{?[23]\}?)?(?:/[a-z]+)?")
_TEXT_UNIT = re.compile(r"(?<=[\d}%])\s*\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}(?:\^\{?[23]\}?)?$")
_NO_UNITS = {
    *("pi", "tau", "sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "mod"),
    *("inf", "infinity", "hundred", "thousand", "million", "billion", "trillion", "dozen", "half"),
}
# Beyond this many characters an answer is no number, and no comparison is worth its time.
LONGEST = 500


def compare(gold: str, answer: str) -> bool | None:
    """Return whether an answer equals the reference, or None if that takes algebra.

    Texts are equal if they differ in spacing, delimiters and typography alone. Numbers are equal
    by value: thousands separators, currency, degrees and units do not count. Where one alone has a
    percent sign, both 20 and 0.2 equal 20 %.

    Args:
        gold: The reference answer.
        answer: The answer that was found.

    Returns:
        True or False where both are plain, None otherwise.
    """
    if len(answer) > LONGEST:
        return False
    texts = plain_text(gold), plain_text(answer)
    if texts[0] == texts[1]:
        return bool(texts[0])
    expected, given = (plain_number(text) for text in (gold, answer))
    if expected is None:
        return None
    if given is None:
        given = _number_of_a_sentence(answer)
    if given is None:
        return None
    percent = [text.endswith("%") for text in texts]
    if percent == [True, False]:
        return given in (expected, expected / 100)
    return expected == given or (percent == [False, True] and expected == given / 100)


def without_delimiters(text: str) -> str:
    """Return an answer without the signs that begin and end mathematics, and emphasis."""
    text = text.strip().strip("*").strip()
    for delimiter in _DELIMITERS:
        text = text.removeprefix(delimiter).removesuffix(delimiter).strip()
    return text.rstrip(".,;")


def plain_text(text: str) -> str:
    """Return an answer without what typography alone puts into it."""
    text = without_delimiters(text)
    text = text.replace("dfrac", "frac").replace("tfrac", "frac").replace("{,}", ",")
    words = _TEXT.sub(r"\1", text)
    if re.fullmatch(r"\(?[A-Za-z][A-Za-z\s]*\)?", words):  # a word or a choice, such as (C)
        return " ".join(words.strip("()").casefold().split())
    text = _SPACING.sub("", _DEGREES.sub("", words))
    text = text.replace(r"\$", "").replace(r"\%", "%")
    text = _SHORT_FRACTION.sub(_long_fraction, text)
    return _SHORT_ROOT.sub(r"\\sqrt{\1}", text)


def plain_number(text: str) -> Fraction | None:
    """Return the value of an answer that is a number with or without a unit, or None."""
    text = plain_text(_TEXT_UNIT.sub(_unless_part_of_the_value, without_delimiters(text)))
    if text.count("=") == 1 and re.fullmatch(r"\\?[A-Za-z]+(?:_\w)?", text.split("=")[0]):
        text = text.split("=")[1]
    text = text.lstrip("$€£").rstrip("$€£%")
    text = re.sub(r"^([-+])[$€£]", r"\1", text)
    match = _NUMBER.match(text)
    if match is None:
        return None
    if match.end() < len(text):
        unit = _UNIT.fullmatch(text[match.end() :])
        if unit is None or unit[1].casefold() in _NO_UNITS:
            return None
    return _value(match)


def _unless_part_of_the_value(match: re.Match[str]) -> str:
    return match[0] if match[1].strip().casefold() in _NO_UNITS else ""


def _value(match: re.Match[str]) -> Fraction | None:
    sign = -1 if match["sign"] == "-" else 1
    try:
        if match["top"] is None:
            inner = _FRACTION.search(match[0])
            assert inner is not None
            part = Fraction(int(inner[1]), int(inner[2]))
            return sign * (int(match["whole"] or 0) + part)
        digits = match["top"].replace(",", "")
        return sign * Fraction(digits if len(digits) < 100 else "x") / int(match["bottom"] or 1)
    except (ValueError, ZeroDivisionError):
        return None


def _number_of_a_sentence(text: str) -> Fraction | None:
    """Return the number of an answer in words, such as ``She has 3 * 5 = 15 apples``."""
    if len(re.findall(r"[A-Za-z]{2,}", _TEXT.sub(r"\1", text))) < 2:
        return None
    found = last_number(text)
    return None if found is None else plain_number(found)


def _long_fraction(match: re.Match[str]) -> str:
    top, bottom = (group for group in match.groups() if group is not None)
    return rf"\frac{{{top}}}{{{bottom}}}"
