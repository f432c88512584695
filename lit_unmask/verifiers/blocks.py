"""Fences and marks around programs: where a completion's blocks of code begin and end."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

# Strings that end and comments; what looks like a fence or mark in one belongs to the program.
_QUOTED = re.compile(r"(\"\"\"|''')(?s:.*?)\1|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|\#[^\n]*")
_END = re.compile(
    r"<\|(?:eot_id|endoftext|im_end|end_of_text|eom_id|end)\|>|</s>|<eos>|<end_of_turn>"
    r"|\[DONE\]|\[/PYTHON\]|\[END\]|</(?:code|answer|solution|python)>"
)
_BEGIN = re.compile(r"\[BEGIN\]|\[PYTHON\]|<(?:code|answer|solution|python)>")
_THOUGHT = re.compile(r"</think(?:ing)?>")
_FENCE = re.compile(r"^([ \t>]*)(`{3,}|~{3,})([^`\n]*)$", re.M)
_OTHER_LANGUAGES = {
    *("bash", "sh", "shell", "console", "text", "output", "json", "java", "cpp", "c", "zsh"),
    *("javascript", "js", "typescript", "ts", "yaml", "sql", "html", "markdown", "md", "diff"),
    *("plaintext", "txt", "latex", "math", "go", "rust", "r", "powershell", "csv", "xml"),
}
_CODE = re.compile(r"(?:def|class|import|from|async def|@)\b")
_LANGUAGE_ALONE = re.compile(r"\A\s*(?:python3?|py)[ \t]*\n", re.I)
_PROMPT = re.compile(r"^(?:>>>|\.\.\.)(?: |$)", re.M)


@dataclass(frozen=True)
class Blocks:
    """What is fenced in a text.

    Attributes:
        python: The blocks that are, or may be, Python, in order.
        before: The text before the first fence, if that fence names no language and so may be one
            that only closes; else None.
    """

    python: list[str]
    before: str | None


def between_marks(text: str) -> str:
    """Return a text without what stands before its last opening mark and behind its first end.

    Marks inside strings and comments are the program's own.
    """
    thoughts = list(_THOUGHT.finditer(text))
    if thoughts:
        text = text[thoughts[-1].end() :]
    begins = _outside(_BEGIN, text)
    if begins:
        text = text[begins[-1].end() :]
    ends = _outside(_END, text)
    return text[: ends[0].start()] if ends else text


def blocks_of(text: str, quoted_too: bool = False) -> Blocks:
    """Return the fenced blocks of a text.

    Args:
        text: What was written.
        quoted_too: Whether fences inside strings count; they belong to the program, unless a
            string that never ends makes text between two others look like one.
    """
    fences = list(_FENCE.finditer(text)) if quoted_too else _outside(_FENCE, text)
    blocks: list[str] = []
    opened: re.Match[str] | None = None
    for fence in fences:
        mark, info = fence[2], fence[3].strip()
        if opened is None:
            opened = fence
        elif mark[0] == opened[2][0] and len(mark) >= len(opened[2]):
            _take(blocks, opened, text[opened.end() : fence.start()])
            # A fence with a language closes nothing; the one before was left open.
            opened = fence if info else None
    if opened is not None:
        _take(blocks, opened, text[opened.end() :])
    only_closes = bool(fences) and not fences[0][3].strip()
    return Blocks(blocks, text[: fences[0].start()] if only_closes else None)


def _take(blocks: list[str], fence: re.Match[str], body: str) -> None:
    info = fence[3].strip()
    if ">" in fence[1]:  # in a quotation of Markdown
        body = re.sub(r"^[ \t]*>[ \t]?", "", body, flags=re.M)
    if _CODE.match(info):  # the program begins behind the fence
        body = f"{info}{body}"
    else:
        language = info.strip("{.} ").split(None, 1)[:1]
        if language and language[0].strip("{.}").lower() in _OTHER_LANGUAGES:
            return
    body = body.removeprefix("\n")
    # Without need it would change lines of spaces, which may stand in a string.
    indented = body.lstrip("\n").startswith(" ")
    blocks.append(plain(textwrap.dedent(body) if indented else body))


def plain(code: str) -> str:
    """Return code without a language's name in front and without an interpreter's prompts."""
    code = _LANGUAGE_ALONE.sub("", code)
    lines = code.splitlines()
    if not lines or not lines[0].startswith(">>>"):
        return code
    return "\n".join(_PROMPT.sub("", line) for line in lines if _PROMPT.match(line)) + "\n"


def _outside(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """Return the matches that lie in no string and in no comment."""
    found, spans = [], [match.span() for match in _QUOTED.finditer(text)]
    at = 0
    for match in pattern.finditer(text):
        while at < len(spans) and spans[at][1] <= match.start():
            at += 1
        if at == len(spans) or spans[at][0] >= match.end():
            found.append(match)
    return found
