r"""Finds the final answer in a completion about mathematics.

The first of these that is there decides:

1. the last balanced ``\boxed{...}`` that is not empty (also ``\fbox``, ``\boxed 7``, and without
   the backslash);
2. the last ``<answer>...</answer>``, closed or not;
3. what follows the last ``####`` on its line;
4. what follows the last ``answer is`` or ``answer:``, to the end of the sentence;
5. the last number.
"""

from __future__ import annotations

import re

# What some decoders leave behind the text; nothing after it was meant.
_END = re.compile(r"<\|(?:eot_id|endoftext|im_end|end_of_text)\|>")
_BOX = re.compile(r"\\?boxed\s*(\{)|\\(?:boxed|fbox)\s*(?:(\{)|(?=[\w$-]))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is text
_TAG = re.compile(r"<answer>(.*?)(?=</answer>|<answer>|\Z)", re.DOTALL | re.IGNORECASE)
_HASHES = re.compile(r"####[ \t]*([^\n]+)")
_PHRASE = re.compile(r"answer(?:\s+is|\s*:)\s*:?\s*([^\n]+)", re.IGNORECASE)
_NUMBER = re.compile(
    r"-?\$?\\?(?:d?frac\{-?\d+\}\{\d+\}|\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?|\.\d+)(?:\\?%)?"
)
# A completion is looked at from its end; longer ones are cut at their start.
_LONGEST = 50_000


def find_answer(completion: str) -> str | None:
    r"""Return the final answer of a completion as it was written, or None if there is none.

    Never raises, whatever the text: braces may be unclosed and sentences cut off.
    """
    text = _END.split(completion, maxsplit=1)[0][-_LONGEST:]
    for find in (_boxed, _tagged, _after_hashes, _after_phrase, last_number):
        answer = _tidy(find(text) or "")
        if answer:
            return answer
    return None


def _tidy(answer: str) -> str:
    """Return an answer without the tag or the brace that was cut off with it."""
    answer = answer.split("</")[0].strip().rstrip("<>")
    closing = set(_closing_braces(answer).values())
    surplus = {match.start() for match in _BRACE.finditer(answer) if match[0] == "}"} - closing
    kept = (letter for place, letter in enumerate(answer) if place not in surplus)
    return "".join(kept).strip()


def last_number(text: str) -> str | None:
    """Return the last number, fraction or percentage in a text."""
    found = _NUMBER.findall(text)
    return found[-1].rstrip(",") if found else None


def _boxed(text: str) -> str | None:
    ends = _closing_braces(text)
    for match in reversed(list(_BOX.finditer(text))):
        start = match.end()
        if match[1] or match[2]:
            content = text[start : ends[start - 1]] if start - 1 in ends else ""
        else:
            content = _one_word(text, start)
        if content.strip():
            return content
    return None


def _closing_braces(text: str) -> dict[int, int]:
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
    return _BOX.split(found[-1])[-1] if found else None  # a box here is empty or not closed


def _after_hashes(text: str) -> str | None:
    found = _HASHES.findall(text)
    return found[-1] if found else None


def _after_phrase(text: str) -> str | None:
    found = _PHRASE.findall(text)
    if not found:
        return None
    # A full stop ends the sentence, the point of a decimal does not.
    return re.split(r"\.(?:\s|$)", found[-1], maxsplit=1)[0]
