"""Trajectories as plain text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from lit_unmask.inspection.trajectories import Trajectory, TrajectoryStep
from lit_unmask.inspection.writes import CORRECTOR, POLICY, summed

MASK = "·"
"""A masked position in text."""
_LONGEST_RUN = 3
"""Equal tokens in a row that are written out in text; more are written once, with their number."""
_TIMES = "\u00d7"
_WHITE_SPACE = {"\n": "⏎", "\t": "⇥", "\r": "␍"}

Texts = Sequence[str | None]


def as_text(trajectory: Trajectory) -> str:
    """Return the trajectory as plain text, one line a step, for terminals and TensorBoard.

    A line has the tokens after its step. Masks are ``·``, tokens that the step commits stand in
    brackets, forced ones in braces, rewritten ones between bars, masks that were put back in
    parentheses, and long runs of the same token are written once, with their number. Lines below
    it say who wrote where a token stood, and the forwards if there are several kinds. Characters
    that do not print are escaped.
    """
    forwards, body = summed([step.forwards for step in trajectory.steps]), []
    before: Texts = [None] * trajectory.gen_length
    changed = False
    for number, (step, after) in enumerate(
        zip(trajectory.steps, trajectory.texts(), strict=True), start=1
    ):
        notes = list(_notes(step, before))
        changed |= bool(notes)
        if len(forwards) > 1:
            notes.append(f"forwards: {_counted(step.forwards)}")
        words = trajectory.separator.join(_runs(_words(step, after)))
        body += [f"{number:4d}  {words}", *(f"      {note}" for note in notes)]
        before = after
    return "\n".join([*_head(trajectory, forwards, changed), *body])


def _head(trajectory: Trajectory, forwards: Mapping[str, int], changed: bool) -> Iterator[str]:
    """Iterate over the lines above the steps."""
    grades = {0.0: "wrong", 1.0: "correct"}
    verdict = grades.get(trajectory.verdict, f"verdict {trajectory.verdict:g}")
    pace = trajectory.content / trajectory.nfe
    yield visible(trajectory.question)
    yield (
        f"{visible(trajectory.label)}, block length {trajectory.block_length}: {verdict}, "
        f"{trajectory.nfe} forwards, {pace:.2f} tokens a forward"
    )
    if len(forwards) > 1:
        yield f"forwards: {_counted(forwards)}"
    more = f", |token| rewritten, ({MASK}) taken back" if changed else ""
    yield f"({MASK} masked, [token] committed at this step, {{token}} forced{more})"


def _words(step: TrajectoryStep, after: Texts) -> list[str]:
    """Return the tokens after a step, with signs for what it did."""
    words = [_word(token) for token in after]
    for write in step.writes:
        for position in write.positions:
            word = _word(after[position])
            if write.by in (POLICY, CORRECTOR) and after[position] is None:
                words[position] = f"({word})"
            elif write.by == POLICY:
                words[position] = f"{{{word}}}" if position in step.forced else f"[{word}]"
            elif write.by == CORRECTOR:
                words[position] = f"|{word}|"
    return words


def _notes(step: TrajectoryStep, before: Texts) -> Iterator[str]:
    """Iterate over who wrote where a token stood, and what."""
    standing = list(before)
    for write in step.writes:
        changes = []
        for position, token in zip(write.positions, write.tokens, strict=True):
            old, standing[position] = standing[position], token
            if old is not None:
                new = "" if token == old else f" > {_word(token)}"
                changes.append(f"{position} {_word(old)}{new}")
        if changes:
            yield f"{write.by}: {', '.join(changes)}"


def _counted(forwards: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in forwards.items())


def _word(token: str | None) -> str:
    return MASK if token is None else visible(token)


def _runs(words: Sequence[str]) -> Iterator[str]:
    """Iterate over words, with long runs of one word as the word and its number."""
    for word, run in itertools.groupby(words):
        count = len(list(run))
        yield from [f"{word}{_TIMES}{count}"] if count > _LONGEST_RUN else [word] * count


def visible(text: str) -> str:
    """Return text on one line, with characters that do not print as symbols or escapes."""
    return "".join(
        character
        if character.isprintable()
        else _WHITE_SPACE.get(character) or character.encode("unicode_escape").decode()
        for character in text
    )
