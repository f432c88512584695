"""Problems of reasoning-gym, generated once into a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from lit_unmask.errors import ConfigurationError
from lit_unmask.tasks.base import ANSWER_REQUEST, Split
from lit_unmask.tasks.published import Parts, PublishedTask, name_of
from lit_unmask.tasks.rows import Row, read_rows
from lit_unmask.types import Problem
from lit_unmask.verifiers.answers import answer_part

_REQUEST = ANSWER_REQUEST.format(what="the answer")
_INSTALL = "pip install 'lit-unmask[gym]'"
# What the generator notes in a row: whether only one text is right.
EXACT = "exact"


class ReasoningGym(PublishedTask):
    """Problems of the package reasoning-gym (arXiv 2505.24760), from a file.

    ``lit-unmask-data generate`` writes the file. Fields: ``question``, ``answer``, ``metadata`` as
    the package has them, and ``exact``, which says that only this answer is right. Such problems
    are graded here; others ask the package, which then has to be installed. A score below 1 counts
    as wrong.

    Args:
        path: File of JSON lines.
        split: Part of the file: 70 % ``train``, 10 % ``tuning``, ``validation`` and ``test`` each.
        size: Number of problems, chosen by a hash of each; None takes all.
    """

    parts: ClassVar[Parts] = {
        "train": ("", range(0, 70)),
        "tuning": ("", range(70, 80)),
        "validation": ("", range(80, 90)),
        "test": ("", range(90, 100)),
    }

    def __init__(self, path: str, split: Split, size: int | None = None) -> None:
        super().__init__(split, size)
        self.path = path

    def rows(self) -> Iterator[Row]:
        """Iterate over the rows of the file."""
        return read_rows(Path(self.path), "write it with lit-unmask-data generate")

    def read(self, row: Row) -> Problem:
        """Turn a row into a problem."""
        question, answer, metadata = row.filled("question"), row.text("answer"), row.fields
        about: Any = metadata.get("metadata")
        if not isinstance(about, dict) or "source_dataset" not in about:
            raise row.error("the field 'metadata' must be an object with source_dataset")
        exact = bool(metadata.get(EXACT, False))
        if not exact:
            scorer(about["source_dataset"])
        entry = {"question": question, "answer": answer, "metadata": about}
        return Problem(
            uid=f"{about['source_dataset']}/{name_of(question)}",
            messages=({"role": "user", "content": f"{question.strip()}\n\n{_REQUEST}"},),
            answer=answer if exact else json.dumps(entry),
            verifier=grade_exact if exact else grade_by_gym,
        )


def grade_exact(completion: str, answer: str) -> float:
    """Return 1.0 if what stands in ``<answer>`` is the answer, whatever its spaces."""
    part = answer_part(completion)
    return float(part is not None and part.split() == answer.split())


def grade_by_gym(completion: str, answer: str) -> float:
    """Return 1.0 if reasoning-gym gives what stands in ``<answer>`` its full score.

    Args:
        completion: What was written.
        answer: JSON of the entry, with ``question``, ``answer`` and ``metadata``.

    Raises:
        ConfigurationError: If the package is not installed.
    """
    part = answer_part(completion)
    if part is None:
        return 0.0
    entry = json.loads(answer)
    return float(scorer(entry["metadata"]["source_dataset"])(part, entry) >= 1)


@cache
def scorer(name: str) -> Any:
    """Return the function ``(answer, entry) -> score`` of a dataset of reasoning-gym.

    Raises:
        ConfigurationError: If the package is not installed, or has no such dataset.
    """
    gym = _package(f"grading {name}, which has more than one right answer,")
    try:
        return gym.get_score_answer_fn(name)
    except ValueError as error:
        raise ConfigurationError(f"reasoning-gym has no dataset {name!r}") from error


def generated_rows(name: str, size: int, seed: int) -> Iterator[dict[str, Any]]:
    """Iterate over generated entries that survive being written as JSON.

    Args:
        name: Dataset of reasoning-gym, such as ``gsm_symbolic``.
        size: Number of entries.
        seed: Seed of the generator.

    Raises:
        ConfigurationError: If the package is not installed, has no such dataset, or an entry can
            be neither written nor graded afterwards.
    """
    gym = _package("generating problems")
    try:
        made = gym.create_dataset(name, size=size, seed=seed)
    except (ValueError, AssertionError) as error:  # its settings are checked by assertions
        raise ConfigurationError(f"reasoning-gym cannot make {name!r}: {error}") from error
    base = gym.dataset.ProceduralDataset
    exact = type(made).score_answer is base.score_answer
    for entry in made:
        # Fractions and the like become text; whether the entry can still be graded is seen below.
        row = json.loads(json.dumps(entry, default=str))
        if not isinstance(row["answer"], str) or made.score_answer(row["answer"], row) < 1:
            raise ConfigurationError(
                f"{name} cannot be graded from a file: an entry's own answer does not score 1"
            )
        yield row | {EXACT: exact}


def _package(purpose: str) -> Any:
    try:
        import reasoning_gym
        import reasoning_gym.dataset
    except ImportError as error:
        raise ConfigurationError(f"{purpose} needs reasoning-gym: {_INSTALL}") from error
    return reasoning_gym
