r"""Compares answers by their text and as numbers; what that cannot decide is left open."""

from __future__ import annotations

import re

from lit_unmask.verifiers.answers import last_number
from lit_unmask.verifiers.notation import TEXT, compact, spelled
from lit_unmask.verifiers.quantities import quantity, same

# Beyond this many characters an answer is no number, and no comparison is worth its time.
LONGEST = 500
_LETTER = re.compile(r"\(?([A-Ja-j])\)?")
_CHOICE = re.compile(
    r"(?:(?:option|choice|answer)\s+)?"
    r"(?:[(\[]([A-Ja-j])[)\]]|([A-J])\s?[).:=,](?=[\s\d\\]|$)"
    r"|([A-J])(?=\s*$|\s+[\d\\(]|\s+(?:-|only\b)))(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_WORDS = re.compile(r"(?=.*[A-Za-z]{2})(?!.*(?:\s-|-\s))[A-Za-z][A-Za-z'\s,.!-]*")
_BASED = re.compile(r"([0-9A-Fa-f]+)_\{?(\d+|[a-z]+)\}?")
_BASES = {
    **{"two": "2", "three": "3", "five": "5", "six": "6", "seven": "7", "eight": "8", "ten": "10"},
}
# The name of what is asked for: x, f(x), m+n, \angle ABC, P(A), area.
_NAME = re.compile(
    r"\s*(?=\\?[A-Za-z])(?:[A-Za-z\\'\x22+\s]|_\w|_\{[^{}]*\}|\^\{-1\}|\([^()=]*\))+"
)
_HEADED = re.compile(r"^[A-Za-z][A-Za-z\s]+:\s+")
_NO_VARIABLES = re.compile(r"\\[a-z]+|[A-Za-z]{2,}|\b[ei]\b")


def compare(gold: str, answer: str) -> bool | None:
    """Return whether an answer equals the reference, or None if that takes algebra.

    Texts are equal if they differ in spacing, delimiters and typography alone. Numbers are equal
    by value (:func:`~lit_unmask.verifiers.quantities.same`). Of a choice its letter counts, of a
    number in a base its digits, and its base if it is given.

    Returns:
        True or False where both are plain, None otherwise.
    """
    if len(answer) > LONGEST:
        return False
    expected, given = spelled(gold), spelled(answer)
    if compact(expected) == compact(given):
        return bool(given)
    for decide in (_choices, _words, _based):
        if (verdict := decide(gold, expected, given)) is not None:
            return verdict
    return _numbers(expected, given)


def sides(text: str) -> tuple[str, str]:
    """Return the name in front of a value, empty without one, and the value.

    Of a chain such as ``m+n = 256+37 = 293`` the last part is the value, if what stands before it
    is a name or numbers alone.
    """
    *before, last = re.split(r"(?<![<>!:\\])=|\\approx(?![a-z])", _HEADED.sub("", text))
    if not before or not last.strip():
        return "", last if not before else text
    if _NAME.fullmatch(before[0]):
        return before[0].strip(), last.strip()
    variables = any(re.search(r"[A-Za-z]", _NO_VARIABLES.sub("", part)) for part in before)
    return "", text if variables else last.strip()


def _choices(gold: str, expected: str, given: str) -> bool | None:
    """Return whether a choice is the one of the reference; None if that is no choice."""
    letter, text = _LETTER.fullmatch(_letters(expected)), _letters(given)
    if letter is None or not ("(" in expected or '"' in expected or letter[1].isupper()):
        return None
    bare = _LETTER.fullmatch(text)
    if bare is not None:
        return bare[1].casefold() == letter[1].casefold()
    chosen = _CHOICE.fullmatch(text)
    if chosen is None or re.match(
        r"[\s,.)]*(?:(?:and|or|,)\s*)?\(?[A-J]\)?(?:\W|$)", chosen["rest"]
    ):
        return None
    found = next(group for group in chosen.groups() if group)
    return found.casefold() == letter[1].casefold()


def _letters(text: str) -> str:
    """Return a text without the quotes of single letters, and without spaces in brackets."""
    return re.sub(r"(?<=[(\[])\s+|\s+(?=[)\]])", "", text.replace('"', "")).strip()


def _words(gold: str, expected: str, given: str) -> bool | None:
    """Return whether words are those of the reference; None if that is not in words."""
    plain = [re.sub(r"[^\w\s]", "", text).casefold().split() for text in (expected, given)]
    if not _WORDS.fullmatch(expected) or quantity(expected) is not None:
        return None
    if plain[0] == plain[1]:
        return True
    as_text = TEXT.search(gold) is not None or len(expected) > 3
    return False if as_text and _WORDS.fullmatch(given) else None


def _based(gold: str, expected: str, given: str) -> bool | None:
    """Return whether numerals of a base are equal; None if neither has one."""
    numerals = [_BASED.fullmatch(compact(text)) for text in (expected, given)]
    if numerals[0] is None and numerals[1] is None:
        return None
    (digits, base), (other, its_base) = (
        (found[1], _BASES.get(found[2], found[2])) if found else (compact(text), "")
        for found, text in zip(numerals, (expected, given), strict=True)
    )
    if not base and its_base != "10":
        return False
    return digits.casefold() == other.casefold() and its_base in ("", base or "10")


def _numbers(expected: str, given: str) -> bool | None:
    """Return whether numbers are equal; None if one is no number."""
    (name, gold_value), (its_name, value) = sides(expected), sides(given)
    wanted = quantity(gold_value)
    if wanted is None:
        return None
    if name and its_name and compact(name) != compact(its_name):
        return None
    found = quantity(value) or _of_a_sentence(given) or _of_a_choice(given)
    return None if found is None else same(wanted, found)


def _of_a_choice(text: str):
    """Return the number behind the letter of a choice, such as ``(E) 17``."""
    chosen = _CHOICE.fullmatch(_letters(text))
    return chosen and quantity(chosen["rest"].strip())


def _of_a_sentence(text: str):
    """Return the number of an answer in words, such as ``She has 3 * 5 = 15 apples``."""
    if "\\text" in text or not re.match(r"[A-Za-z]{2,}\s+[A-Za-z]{2,}\b|[A-Z][a-z]+ \d|I ", text):
        return None
    found = last_number(text)
    behind = text.rpartition(found)[2] if found else ""
    return (
        None if found is None else quantity(spelled(found + (behind if " " in behind[:1] else "")))
    )
