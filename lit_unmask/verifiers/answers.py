r"""Finds the final answer in a completion about mathematics.

The first of these that is there decides:

1. the last balanced ``\boxed{...}`` that is not empty (also ``\fbox``, ``\boxed 7``, and without
   the backslash), with the boxes in front of it that *and*, *or* or a comma joins to it;
2. the last ``<answer>...</answer>``, closed or not;
3. what follows the last ``####`` on its line, unless that is a heading in words;
4. what follows the last ``answer is`` or ``Answer:``, on its line or the next one; steps behind a
   label end in the answer;
5. the last number of the last sentence that has one.

Of a sentence, what states the answer counts, not the reason for it.
"""

from __future__ import annotations

import re

# What some decoders leave behind the text; nothing after it was meant.
_END = re.compile(r"<\|(?:eot_id|endoftext|im_end|end_of_text)\|>")
_BOX = re.compile(r"\\?boxed\s*(\{)|\\(?:boxed|fbox)\s*(?:(\{)|(?=[\w$-]))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is text
# What stands between two boxes that are one answer: `}$ and $x = `.
_JOINT = re.compile(
    r"(?:\$|\\[()\[\]]|\s|\*|\\q?quad)*(?:,|;)?\s*(?:\\(?:text|mbox)\{)?\s*"
    r"(?:and|or|as well as|,|;|&)\s*\}?(?:\$|\\[()\[\]]|\s|\*|\\q?quad)*"
    r"(?:[A-Za-z](?:_\{?\w\}?)?\s*=\s*)?"
)
_TAG = re.compile(r"<answer>(.*?)(?=</answer>|<answer>|\Z)", re.DOTALL | re.IGNORECASE)
_HASHES = re.compile(r"(?<!#)####(?!#)[ \t*]*([^\n]+)")
# A mark is followed by the answer, a heading by words or by its number: `#### 2. Add them`.
_HEADING = re.compile(r"\(?\d+[.):]\)?\s+\D|[A-Za-z]{2,}\s|[A-Za-z]+:|[A-Za-z]{2,}\s*\d")
_LABEL = re.compile(
    r"\b(?:answers?|(?:correct|right|best)\s+(?:option|choice)s?)\b"
    r"(?:\s+(?:to|in|for|of)\s[^.\n:]{1,60}?)?[*_\s]*"
    r"(?:(?P<is>\s(?:is|are|should\s+be|must\s+be|would\s+be)\b)|:|=(?!=))[*_\s]*:?[*_\s]*"
    r"|^[#*_ \t]*(?:final\s+)?answers?[*_ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_STATED = re.compile(r"\sis\s(?:the|our|my)\s(?:final\s+|correct\s+)?answer\b", re.IGNORECASE)
_ADVERB = re.compile(
    r"(?:therefore|thus|hence|simply|approximately|about|around|exactly|just|only|equal\s+to)\s+",
    re.IGNORECASE,
)
_EMPHASIS = re.compile(r"(?<!\w)\*\*|\*\*(?![\w(])|`+")
_METHOD = re.compile(
    r"(?:found|given|calculated|computed|obtained|determined)\s+(?:by|from|as|using)\b"
)
_DISPLAY = re.compile(
    r"\\begin\{(?:align|equation|gather)\*?\}(?P<e>.+?)\\end\{|\$\$(?P<a>.+?)\$\$|\\\[(?P<b>.+?)\\\]|\$(?P<c>[^$\n]+?)\$(?=[\s.,;:)]*$)"
    r"|\\\((?P<d>.+?)\\\)(?=[\s.,;:)]*$)",
    re.DOTALL | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"[.!?][*\"')]*(?=\s|$)|\n")
_REASON = re.compile(
    r"[,;:]?\s+(?:because|since|as|so|thus|hence|therefore|which|where|when|given|making|if|but"
    r"|due\s+to|rather|not|and\s+(?:not|there|she|he|they|we|it))\b"
    r"|\s+-{1,3}\s+[a-z]|\s*[\u2014\u2013]\s|:\s+(?=.*[a-z]{3})"
    r"|\s+[(\[](?=[^()\[\]]*[A-Za-z]{2,})(?![^()]*,\s*[^A-Za-z]*\))"
    r"|[,;]\s+(?!and\b|or\b)(?=[a-z]{2,}\b)",
    re.IGNORECASE,
)
_BECAUSE = re.compile(r"\s(?:because|since|as)\b", re.IGNORECASE)
# The answer itself behind a label, which steps do not begin with: mathematics, not an equation
# unless of a name, with at most three words behind it; or at most three words.
_DIRECT = re.compile(r"(?:[A-Za-z](?:_\{?\w\}?|\([a-z]\))?\s*=)?[^=]*")
_OPENING = re.compile(
    r"(?:let|first|we|to|the|she|he|they|it|step|there|since|if|in|so|now|okay|sure|here|given)\b"
    r"|[A-Za-z]{2,}\W+.*\d",
    re.IGNORECASE,
)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_NUMBER = re.compile(
    r"(?:(?<![\w)])-)?\$?\\?(?:d?frac\{-?\d+\}\{\d+\}|\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?|\.\d+)"
    # What belongs to the number: 12\pi, 3x, 5 million, 20 %.
    r"(?:\\(?!text|math|mbox|quad|right|[td]?frac)[a-z]+|[A-Za-z\u03c0\u221a]|\^\{?\w+\}?|!)*"
    r"(?:\s+(?:thousand|million|billion|trillion|dozen)\b)?(?:\s?\\?%)?",
)
# A completion is looked at from its end; longer ones are cut at their start.
_LONGEST = 50_000
_LONGEST_CLAIM = 1_000


def find_answer(completion: str) -> str | None:
    r"""Return the final answer of a completion as it was written, or None if there is none.

    Never raises, whatever the text: braces may be unclosed and sentences cut off.
    """
    text = _END.split(completion, maxsplit=1)[0][-_LONGEST:]
    for find in (_boxed, _tagged, _after_hashes, _after_label, _stated, _last_said):
        answer = _tidy(find(text) or "")
        if answer:
            return answer
    return None


def _tidy(answer: str) -> str:
    """Return an answer without the tag or the brace that was cut off with it."""
    answer = answer.split("</")[0].strip().rstrip("<>")
    closing = set(closing_braces(answer).values())
    surplus = {match.start() for match in _BRACE.finditer(answer) if match[0] == "}"} - closing
    kept = (letter for place, letter in enumerate(answer) if place not in surplus)
    return "".join(kept).strip()


def answer_part(completion: str) -> str | None:
    """Return what stands in the last ``<answer>``, also if it is not closed; None without one."""
    found = _TAG.findall(completion)
    return found[-1].strip() if found else None


def last_number(text: str) -> str | None:
    """Return the last number, fraction or percentage in a text, with what belongs to it."""
    found = _NUMBER.findall(text)
    return found[-1].rstrip(",") if found else None


def _boxed(text: str) -> str | None:
    ends = closing_braces(text)
    answers: list[str] = []
    first = len(text)  # where the earliest box of the answer begins
    for match in reversed(list(_BOX.finditer(text))):
        start = match.end()
        if match[1] or match[2]:
            end = ends.get(start - 1, -1)
            content = text[start:end] if end >= 0 else ""
        else:
            content = _one_word(text, start)
            end = start + len(content)
        if not content.strip():
            continue
        between = text[end + 1 : first]
        if answers and (end >= first or len(between) > 80 or not _JOINT.fullmatch(between)):
            break
        first = match.start()
        if content not in answers:
            answers.insert(0, content)
    return ", ".join(answers) or None


def closing_braces(text: str) -> dict[int, int]:
    """Return the place of the closing brace of each opening one that is closed."""
    ends, opened = {}, []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            ends[opened.pop()] = match.start()
    return ends


def _one_word(text: str, start: int) -> str:
    words = text[start : start + 200].split(maxsplit=1)
    return words[0].rstrip(".,;") if words else ""


def _tagged(text: str) -> str | None:
    found = [content for content in _TAG.findall(text) if content.strip()]
    if not found:
        return None
    content = _BOX.split(found[-1])[-1] or ""  # a box here is empty or not closed
    return _behind_a_label(content.split("</")[0]) or content


def _behind_a_label(text: str) -> str | None:
    """Return the answer of a part that holds it alone, or with its label, steps or reason."""
    if label := _last_label(text):
        return _read_label(text, label)
    return _claim(text) if _WORD.search(text) else text


def _after_hashes(text: str) -> str | None:
    for found in reversed(list(_HASHES.finditer(text))):
        in_words = re.search(r"[\d\\$]", found[1]) is None and text[found.end() :].strip()
        if not in_words and not _HEADING.match(found[1]):
            return _claim(found[1])
    return None


def _after_label(text: str) -> str | None:
    label = _last_label(text)
    return None if label is None else _read_label(text, label)


def _last_label(text: str) -> re.Match[str] | None:
    """Return the last label with something behind it."""
    return next(
        (
            match
            for match in reversed(list(_LABEL.finditer(text)))
            if text[match.end() :].strip(" *_:#\n")
        ),
        None,
    )


def _read_label(text: str, label: re.Match[str]) -> str:
    rest = text[label.end() :].lstrip(" \t\n*_:#").removesuffix("**")
    if "\n" in label[0]:
        rest = re.sub(r"^-\s+", "", rest)  # a list of one
    claim = _claim(rest)
    steps = not label["is"] or _METHOD.match(rest)
    direct = (
        _DIRECT.fullmatch(claim) and len(_WORD.findall(claim)) <= 3 and not _OPENING.match(claim)
    )
    if not steps or direct or _SENTENCE_END.search(rest.strip(), 0) is None:
        return claim
    return _last_said(rest) or claim


def _stated(text: str) -> str | None:
    """Return what stands in front of the last ``is the answer``."""
    found = list(_STATED.finditer(text))
    if not found:
        return None
    before = text[max(0, found[-1].start() - 80) : found[-1].start()]
    return _claim(re.split(r"[\n;:]|\.\s", before)[-1])


def _last_said(text: str) -> str | None:
    """Return the number that the last sentence with a number states."""
    for sentence in reversed(_SENTENCE_END.split(text)):
        if last_number(sentence):
            return last_number(_BECAUSE.split(sentence[-_LONGEST_CLAIM:])[0]) or last_number(
                sentence
            )
    return None


def _claim(text: str) -> str:
    """Return what the first sentence of a text states: without its reason, signs of display off."""
    text = _ADVERB.sub(
        "", _EMPHASIS.sub("", text[:_LONGEST_CLAIM]).strip().lstrip("*_# \n"), count=1
    )
    if shown := _DISPLAY.match(text):
        return next(part for part in shown.groups() if part is not None)
    return _without_reason(_SENTENCE_END.split(text, maxsplit=1)[0]).strip().rstrip("*_")


def _without_reason(sentence: str) -> str:
    claim = _REASON.split(sentence.strip(), maxsplit=1)[0]
    return claim if claim.strip() else sentence
