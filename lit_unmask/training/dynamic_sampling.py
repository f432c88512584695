"""Dynamic sampling: further prompts for groups that teach nothing, on any number of ranks alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

from lit_unmask.errors import ConfigurationError, NotFinite
from lit_unmask.types import Experience, Problem, Steps

# Rolls out some problems; the second argument says whether they are of the reserve.
Play = Callable[[Sequence[Problem], bool], Experience]


@dataclass(frozen=True)
class Processes:
    """The processes that share a round.

    Attributes:
        rank: This one.
        world: Number of them.
        total: Sums a number over all of them; each calls it equally often. NaN says that the
            round is broken, and raises in all of them.
    """

    rank: int = 0
    world: int = 1
    total: Callable[[float], int] = int


def sample_dynamically(
    play: Play, problems: Sequence[Problem], reserve: int, ranks: Processes
) -> Experience:
    """Play a round of problems, of which the last ones are only rolled out where they are needed.

    The problems of all ranks have a common order: those of rank ``r`` are at the places ``r``,
    ``r + world`` and so on. As long as there are groups without a signal, as many further problems
    of this order are rolled out, whoever's they are. What is played follows from the rewards of
    all ranks, so that it does not depend on their number.

    Args:
        play: Rolls out some of this rank's problems.
        problems: This rank's problems, those of the reserve last.
        reserve: Number of problems of all ranks that are kept for dynamic sampling.
        ranks: Who shares the round.

    Returns:
        All that was played here. ``rollouts`` and the diagnostics are about the problems
        before the reserve, as those are no selection.

    Raises:
        ConfigurationError: If the reserve does not divide among the ranks, or leaves none.
        NotFinite: If numbers break, on any rank.
    """
    size = len(problems) * ranks.world
    check_dynamic_sampling(reserve, size, ranks.world)

    def mine(places: range) -> list[Problem]:
        return [problems[p // ranks.world] for p in places if p % ranks.world == ranks.rank]

    start = size - reserve
    waves = [_played(play, mine(range(start)), False, ranks)]
    missing = ranks.total(int((~waves[0].signal).sum()))
    while missing and start < size:
        places = range(start, min(start + missing, size))
        share, start, silent = mine(places), places.stop, 0
        if share:
            waves.append(_played(play, share, True, ranks))
            silent = int((~waves[-1].signal).sum())
        missing = ranks.total(silent)
    return _merged(waves, start - (size - reserve))


def _played(play: Play, problems: Sequence[Problem], extra: bool, ranks: Processes) -> Experience:
    """Play some problems; where their numbers break, all ranks hear of it with the next count."""
    try:
        return play(problems, extra)
    except NotFinite:
        with suppress(NotFinite):
            ranks.total(math.nan)
        raise


def check_dynamic_sampling(reserve: int, batch_size: int, world: int) -> None:
    """Check that dynamic sampling leaves a round for each rank.

    Args:
        reserve: ``rounds.dynamic_sampling``.
        batch_size: ``data.batch_size``, over all ranks.
        world: Number of ranks.

    Raises:
        ConfigurationError: If they do not.
    """
    if reserve % world or reserve > batch_size - world:
        raise ConfigurationError(
            f"rounds.dynamic_sampling={reserve} must be a multiple of the {world} ranks and at "
            f"most {batch_size - world}, since data.batch_size={batch_size} counts them too; raise "
            "data.batch_size or reserve fewer prompts"
        )


def _merged(waves: Sequence[Experience], drawn: int) -> Experience:
    """Return what was played as one experience."""
    first = waves[0]
    diagnostics = first.diagnostics | {
        "dynamic_sampling": float(drawn),
        "row_forwards": sum(wave.diagnostics["row_forwards"] for wave in waves),
    }
    steps, rollouts = [], 0
    for wave in waves:
        steps.append(replace(wave.steps, rollout=wave.steps.rollout + rollouts))
        rollouts += len(wave.decisions)
    joined: dict[str, Any] = {
        name: torch.cat([getattr(wave, name) for wave in waves])
        for name in ("advantage", "decisions", "rewards", "correct", "expert", "signal")
    }
    return replace(first, steps=Steps.cat(steps), diagnostics=diagnostics, **joined)
