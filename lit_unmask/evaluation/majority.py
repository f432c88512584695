"""The majority of several answers to a problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from lit_unmask.evaluation.decode import Evaluation
from lit_unmask.types import PARTICLE, Problem
from lit_unmask.verifiers.answers import find_answer


def ballots(problems: Sequence[Problem], votes: int) -> list[Problem]:
    """Return each problem several times, copies side by side, with noise of their own.

    The first copy is the problem itself, and is decoded as it is alone. What the others draw
    follows from their uids.
    """
    return [
        replace(problem, uid=f"{problem.uid}, vote {vote}") if vote else problem
        for problem in problems
        for vote in range(votes)
    ]


def majority(
    evaluation: Evaluation, votes: int, extract: Callable[[str], str | None] = find_answer
) -> Evaluation:
    """Return what comes out of each problem if its most frequent answer is taken.

    Answers are compared as they are written; of those as frequent, the first found wins, and a
    completion without an answer has no vote. If none has one, the first completion is taken. The
    forwards of all copies are charged, those of the others as ``particle``.

    Args:
        evaluation: Of :func:`ballots`.
        votes: Copies of each problem.
        extract: Finds the answer of a completion as the task's verifier does; that of mathematics
            if it is left out.

    Raises:
        ValueError: If the problems are no whole number of ballots.
    """
    rows = torch.arange(len(evaluation.completions))
    if votes < 1 or len(rows) % votes:
        raise ValueError(
            f"votes={votes} must be at least 1 and divide the {len(rows)} completions; evaluate "
            "what ballots returns"
        )
    chosen = torch.tensor([
        first + _winner([extract(evaluation.completions[first + vote]) for vote in range(votes)])
        for first in range(0, len(rows), votes)
    ], dtype=torch.int64)  # fmt: skip
    price = {kind: each[chosen] for kind, each in evaluation.price.items()}
    nfe = evaluation.nfe.view(-1, votes).sum(1)
    price[PARTICLE] = nfe - sum(each for kind, each in price.items() if kind != PARTICLE)
    return replace(
        evaluation,
        correct=evaluation.correct[chosen],
        nfe=nfe,
        tokens=evaluation.tokens[chosen],
        still_masked=evaluation.still_masked[chosen],
        completions=[evaluation.completions[row] for row in chosen.tolist()],
        price=price,
    )


def _winner(answers: Sequence[str | None]) -> int:
    """Return the place of the first of the most frequent answers."""
    counted = Counter(answer for answer in answers if answer is not None)
    return answers.index(counted.most_common(1)[0][0]) if counted else 0
