"""Where the answer stands in a completion that was asked for ``<answer>`` tags."""

from __future__ import annotations

import re

# How puzzles ask for steps and answer.
ANSWER_REQUEST = (
    "Think it through step by step between <reasoning> and </reasoning>. "
    "Then put {what}, and nothing else, between <answer> and </answer>."
)
_OPEN = re.compile(r"<answer>", re.IGNORECASE)
_CLOSE = re.compile(r"</answer>", re.IGNORECASE)


def answer_part(completion: str) -> str | None:
    """Return what stands in the last ``<answer>``, also if it is not closed; None without one."""
    opened = list(_OPEN.finditer(completion))
    if not opened:
        return None
    return _CLOSE.split(completion[opened[-1].end() :], maxsplit=1)[0].strip()


def worked_answer(steps: str, answer: str) -> str:
    """Return steps and answer in the form that :data:`ANSWER_REQUEST` asks for."""
    return f"<reasoning>\n{steps}\n</reasoning>\n<answer>\n{answer}\n</answer>"
