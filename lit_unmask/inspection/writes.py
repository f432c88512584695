"""Who wrote what at each step of a trajectory, and what that cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lit_unmask.rollout import Rollout

POLICY, CORRECTOR, RESAMPLER, EARLY_STOP = "policy", "corrector", "resampler", "early stop"


@dataclass(frozen=True)
class TrajectoryWrite:
    """Tokens that one hand wrote in one go.

    Attributes:
        by: ``policy``, ``corrector``, ``early stop`` or ``resampler``. What a resampler writes is
            what the row, which another one was replaced by, had written since the last time.
        positions: Where.
        tokens: Text of the token at each of these positions; None where a token is taken back.
    """

    by: str
    positions: tuple[int, ...]
    tokens: tuple[str | None, ...]


def writes_of(
    result: Rollout, row: int, text: Mapping[int, str | None]
) -> list[tuple[TrajectoryWrite, ...]]:
    """Return the writes to one response at each of its steps, in order.

    What comes behind the last step, an early stop or a corrector at the end, is counted to it.

    Args:
        result: Recorded rollouts.
        row: One of them.
        text: Texts of tokens; None for the mask.
    """
    log, steps = result.log, int(result.decisions[row])
    assert log is not None
    found: list[list[TrajectoryWrite]] = [[] for _ in range(steps)]
    particle, last, fresh = None, -1, dict[int, str | None]()
    mine = log.select((log.rollout == row).nonzero()[:, 0])
    marks = zip(mine.step.tolist(), mine.corrected.tolist(), mine.particle.tolist(), strict=True)
    for (step, corrected, of), where, ids in zip(marks, mine.where, mine.tokens, strict=True):
        if of != particle:
            heir = {place: token for place, token in fresh.items() if token is not None}
            if heir:
                at = min(last + 1, steps - 1)
                found[at].append(TrajectoryWrite(RESAMPLER, tuple(heir), tuple(heir.values())))
            particle, fresh = of, {}
        positions = tuple(where.nonzero()[:, 0].tolist())
        tokens = tuple(text[token] for token in ids[where].tolist())
        by = EARLY_STOP if step < 0 else CORRECTOR if corrected else POLICY
        if positions:
            at = steps - 1 if step < 0 else min(step, steps - 1)
            found[at].append(TrajectoryWrite(by, positions, tokens))
        fresh |= dict(zip(positions, tokens, strict=True))
        last = max(last, step)
    return [tuple(writes) for writes in found]


def forwards_of(result: Rollout, row: int) -> list[dict[str, int]]:
    """Return the forwards of one response by kind at each of its steps, without zeros.

    Forwards about other particles are counted to the step that these took then, or to the last.
    """
    charges, kinds, steps = result.charges, list(result.price), int(result.decisions[row])
    assert charges is not None
    found: list[dict[str, int]] = [{} for _ in range(steps)]
    mine = charges.select((charges.rollout == row).nonzero()[:, 0])
    table = zip(*(value.tolist() for value in vars(mine).values()), strict=True)
    for _, first, count, kind, forwards in table:
        for step in range(first, first + count):
            at = found[min(step, steps - 1)]
            if forwards:
                at[kinds[kind]] = at.get(kinds[kind], 0) + forwards // count
    return found


def summed(forwards: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Return the forwards of several steps by kind."""
    kinds = dict.fromkeys(kind for one in forwards for kind in one)
    return {kind: sum(one.get(kind, 0) for one in forwards) for kind in kinds}
