"""Trajectories: what was seen and written at each step of a problem, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.evaluation.decode import attempt, content_tokens, rollout_numbers
from lit_unmask.evaluation.grading import Grader, InProcess, Verdicts
from lit_unmask.files import parse_json, replace_file
from lit_unmask.inspection.trace import Trace
from lit_unmask.inspection.writes import (
    TrajectoryWrite,
    forwards_of,
    writes_of,
)
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Decoding, Noise
from lit_unmask.types import Problem

SCHEMA = "lit_unmask.trajectories"
VERSION = 2


@dataclass(frozen=True)
class NamedPolicy:
    """A policy with how to decode it, under the name that its trajectories carry.

    Attributes:
        label: What to call it.
        policy: Learned policy or heuristic.
        decoding: Lengths, temperature and forcing.
    """

    label: str
    policy: Policy
    decoding: Decoding


@dataclass(frozen=True)
class TrajectoryStep:
    """One step: what the policy saw, what it wanted and what was written.

    Attributes:
        masked: Positions that are masked when the policy acts, after a corrector.
        eligible: Those of them that may be committed in it.
        committed: Positions that the step commits.
        forced: Those of them that the policy had not chosen.
        confidence: Largest token probability at each of the **L** positions, to 3 decimals.
        probability: Probability that the policy opens each of the **L** positions, to 3 decimals;
            0 or 1 for a deterministic heuristic.
        writes: What was written, in order; the text follows from it (:meth:`Trajectory.texts`).
        forwards: Forwards that were charged for it, by kind.
    """

    masked: tuple[int, ...]
    eligible: tuple[int, ...]
    committed: tuple[int, ...]
    forced: tuple[int, ...]
    confidence: tuple[float, ...]
    probability: tuple[float, ...]
    writes: tuple[TrajectoryWrite, ...] = ()
    forwards: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Trajectory:
    """One problem decoded by one policy, step by step; holds nothing that JSON cannot.

    Attributes:
        uid: The problem's name.
        question: The last message of its chat.
        answer: Its reference answer.
        label: The policy's name.
        block_length: Block length in tokens.
        gen_length: Generation length **L** in tokens.
        verdict: Grade of the completion in ``[0, 1]``.
        nfe: Forwards.
        content: Tokens before the first end token.
        separator: What stands between two tokens in text: nothing where tokens hold their spaces.
        tokens: Text of the final token at each of the **L** positions; None where a mask is left.
        steps: The steps in order.
        dataset: Name of the problem set, where it has one.
    """

    uid: str
    question: str
    answer: str
    label: str
    block_length: int
    gen_length: int
    verdict: float
    nfe: int
    content: int
    separator: str
    tokens: tuple[str | None, ...]
    steps: tuple[TrajectoryStep, ...]
    dataset: str = ""

    def texts(self) -> Iterator[tuple[str | None, ...]]:
        """Iterate over the texts of the **L** positions after each step; None where masked."""
        tokens: list[str | None] = [None] * self.gen_length
        for step in self.steps:
            for write in step.writes:
                for position, token in zip(write.positions, write.tokens, strict=True):
                    tokens[position] = token
            yield tuple(tokens)


def record_trajectories(
    denoiser: Denoiser,
    who: NamedPolicy,
    problems: Sequence[Problem],
    seed: int = 0,
    grader: Grader = InProcess(),  # noqa: B008  (stateless)
) -> list[Trajectory]:
    """Decode problems as :func:`~lit_unmask.evaluate` does, and keep every step.

    Args:
        denoiser: The frozen dLLM.
        who: The policy, how to decode it and its name.
        problems: What to solve.
        seed: Seed of the noise.
        grader: Where verifiers run.

    Returns:
        One trajectory a problem, in the order of ``problems``.
    """
    if not problems:
        return []
    prompt = denoiser.encode(problems).to(denoiser.device)
    noise = Noise(seed, rollout_numbers(problems).to(denoiser.device))
    verdicts = Verdicts(grader, denoiser, problems)
    result, grades = attempt(verdicts, who.policy, prompt, who.decoding, noise, record=True)
    trace = Trace.of(who.policy, result, denoiser.end_ids)
    content = content_tokens(denoiser, result.response).tolist()
    assert result.log is not None
    written = result.log.tokens[result.log.where]
    text = _texts(denoiser, torch.cat([result.response.flatten(), written]))
    texts = [tuple(text[token] for token in response) for response in result.response.tolist()]
    return [
        Trajectory(
            uid=problem.uid,
            question=problem.messages[-1]["content"],
            answer=problem.answer,
            label=who.label,
            block_length=who.decoding.block_length,
            gen_length=who.decoding.gen_length,
            verdict=float(grades[row]),
            nfe=int(trace.nfe[row]),
            content=content[row],
            separator=_separator(denoiser, result.response[row].tolist(), texts[row]),
            tokens=texts[row],
            steps=tuple(
                replace(step, writes=writes, forwards=forwards)
                for step, writes, forwards in zip(
                    _steps(trace, row),
                    writes_of(result, row, text),
                    forwards_of(result, row),
                    strict=True,
                )
            ),
        )
        for row, problem in enumerate(problems)
    ]


def _texts(denoiser: Denoiser, ids: Tensor) -> dict[int, str | None]:
    """Return the text of each of some tokens; None for the mask."""
    tokenizer = denoiser.tokenizer
    text: dict[int, str | None] = {denoiser.mask_id: None}
    for token in ids.unique().tolist():
        if token not in text:
            decoded = str(tokenizer.decode([token]))
            # Part of a character has no text of its own.
            broken = "\ufffd" in decoded
            text[token] = str(tokenizer.convert_ids_to_tokens(token)) if broken else decoded
    return text


def _separator(denoiser: Denoiser, response: list[int], texts: Sequence[str | None]) -> str:
    """Return what the tokenizer puts between tokens: a space if they are words, else nothing."""
    written = [text for text in texts if text is not None]
    ids = [token for token in response if token != denoiser.mask_id]
    return " " if str(denoiser.tokenizer.decode(ids)) == " ".join(written) else ""


def _steps(trace: Trace, row: int) -> Iterator[TrajectoryStep]:
    """Iterate over the steps of one rollout in order."""
    rows = np.flatnonzero(trace.rollout == row)
    for step in rows[trace.index[rows].argsort()]:
        yield TrajectoryStep(
            masked=_positions(trace.masked[step]),
            eligible=_positions(trace.eligible[step]),
            committed=_positions(trace.committed[step]),
            forced=_positions(trace.forced[step]),
            confidence=_rounded(trace.confidence[step]),
            probability=_rounded(trace.probability[step]),
        )


def _positions(chosen: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(chosen).tolist())


def _rounded(values: NDArray[np.floating]) -> tuple[float, ...]:
    """Return values to 3 decimals; 0 and 1 as integers, which are shorter in JSON."""
    rounded = (round(value, 3) for value in values.tolist())
    return tuple(int(value) if value in (0, 1) else value for value in rounded)


def as_json(trajectories: Sequence[Trajectory]) -> str:
    """Return trajectories as one line of JSON, under the name and version of its schema."""
    content = {"schema": SCHEMA, "version": VERSION, "trajectories": list(trajectories)}
    return json.dumps(content, default=vars, separators=(",", ":"), allow_nan=False)


def save(path: Path, trajectories: Sequence[Trajectory]) -> None:
    """Write trajectories as JSON, in one step; makes the folder, and replaces a file."""
    content = as_json(trajectories) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content.encode())


def load(path: Path) -> list[Trajectory]:
    """Read trajectories that :func:`save` wrote.

    Raises:
        ValueError: If the file holds something else, or trajectories of another version.
    """
    try:
        content = parse_json(path.read_bytes())
        schema, version = content["schema"], content["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no trajectories; choose a file that save wrote") from error
    if schema != SCHEMA or version != VERSION:
        raise ValueError(
            f"{path} holds {schema!r} of version {version}, not {SCHEMA!r} of version {VERSION}; "
            "record the trajectories again"
        )
    return [_trajectory(record) for record in content["trajectories"]]


def _trajectory(record: dict[str, Any]) -> Trajectory:
    steps = [_step(step) for step in record["steps"]]
    return Trajectory(**record | {"tokens": tuple(record["tokens"]), "steps": tuple(steps)})


def _step(record: dict[str, Any]) -> TrajectoryStep:
    values = {name: tuple(value) for name, value in record.items() if name != "forwards"}
    writes = (
        TrajectoryWrite(write["by"], tuple(write["positions"]), tuple(write["tokens"]))
        for write in record["writes"]
    )
    return TrajectoryStep(**values | {"writes": tuple(writes), "forwards": record["forwards"]})
