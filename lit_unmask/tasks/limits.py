"""Problems whose prompts are short enough, and the count of the others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from lit_unmask.errors import ConfigurationError
from lit_unmask.tasks.base import ProblemSet
from lit_unmask.types import Problem, Prompt

# Prompts that are tokenised at once.
_CHUNK = 256


class PromptEncoder(Protocol):
    """What turns problems into tokens: a denoiser."""

    def encode(self, problems: Sequence[Problem], max_prompt_length: int | None = None) -> Prompt:
        """Return prompts; see :meth:`~lit_unmask.denoisers.text.ChatText.encode`."""


class ShortPrompts(ProblemSet):
    """The problems of a set whose prompts have at most a number of tokens, in their order.

    Prompts are never cut, because a question without its end is another question.

    Args:
        problems: The set.
        encoder: The denoiser that is to read the prompts.
        limit: Largest prompt in tokens.

    Attributes:
        left_out: Number of problems with longer prompts.
        longest: Longest prompt of the whole set, in tokens.

    Raises:
        ConfigurationError: If no prompt is short enough.
    """

    def __init__(self, problems: ProblemSet, encoder: PromptEncoder, limit: int) -> None:
        lengths = prompt_lengths(problems, encoder)
        self.problems = problems
        self._kept = [index for index, length in enumerate(lengths) if length <= limit]
        if not self._kept:
            raise ConfigurationError(
                f"data.max_prompt_tokens={limit} leaves out all {len(lengths)} problems, whose "
                f"prompts have {min(lengths)} tokens and more; raise it"
            )
        self.left_out, self.longest = len(lengths) - len(self._kept), max(lengths)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Problem:  # type: ignore[override]
        self._check(index)
        return self.problems[self._kept[index]]


def prompt_lengths(problems: ProblemSet, encoder: PromptEncoder) -> list[int]:
    """Return the number of tokens of every prompt, as the denoiser's chat template writes it."""
    lengths: list[int] = []
    source = iter(problems)
    while chunk := list(islice(source, _CHUNK)):
        lengths += encoder.encode(chunk, max_prompt_length=sys.maxsize).attention.sum(1).tolist()
    return lengths
