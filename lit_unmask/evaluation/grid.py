"""Heuristics tuned jointly over their parameter and the block length.

A learned policy has to beat the best setting of a heuristic, not its default: every pair of
parameter and block length is tried on tuning problems, and the chosen ones are then run on test
problems that the choice has not seen.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lit_unmask.evaluation.decode import Evaluation
from lit_unmask.evaluation.points import Contender, Point, cheapest_within_interval
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Decoding
from lit_unmask.types import Problem

Evaluate = Callable[[Sequence[Problem], Policy, Decoding], Evaluation]
Kind = Literal["heuristic", "learned"]


@dataclass(frozen=True)
class HeuristicGrid:
    """One heuristic over a grid of its parameter and the block length.

    Attributes:
        policy: Makes the heuristic from one value of its first parameter.
        values: Values to try.
        block_lengths: Block lengths to try; each divides the generation length.
    """

    policy: Callable[[float], Policy]
    values: list[int | float]
    block_lengths: list[int]


@dataclass(frozen=True)
class Candidate:
    """One setting of one heuristic, ready to run, with its label."""

    contender: Contender
    policy: Policy
    decoding: Decoding

    @property
    def draws(self) -> bool:
        """Whether anything depends on the seed of the noise: the actions or the tokens."""
        return self.policy.draws or self.decoding.temperature > 0


def candidates(grids: dict[str, HeuristicGrid], decoding: Decoding) -> Iterator[Candidate]:
    """Iterate over all settings of all heuristics, on top of the given decoding.

    A grid over a knob of a trained policy makes learned contenders.
    """
    for name, grid in grids.items():
        for value in grid.values:
            policy = grid.policy(value)
            parameter = next(iter(inspect.signature(type(policy)).parameters))
            kind: Kind = "learned" if policy.has_parameters else "heuristic"
            for block_length in grid.block_lengths:
                yield Candidate(
                    Contender(name, kind, {parameter: value}, block_length),
                    policy,
                    replace(decoding, block_length=block_length),
                )


def choose(tuned: Sequence[tuple[Candidate, Point]], target: Point) -> list[Candidate]:
    """Choose, from results on tuning problems, the settings to run on the test problems.

    For each heuristic, once in full diffusion and once over all block lengths: the setting of
    fewest forwards whose accuracy reaches the target's interval, else the most accurate setting.

    Args:
        tuned: Every setting with its point on the tuning problems.
        target: The learned policy's point on the same problems.

    Returns:
        The chosen settings, without repetition, in the order of ``tuned``.
    """
    chosen: list[int] = []
    for name in dict.fromkeys(candidate.contender.name for candidate, _ in tuned):
        mine = [i for i, (candidate, _) in enumerate(tuned) if candidate.contender.name == name]
        full = [i for i in mine if _is_full_diffusion(tuned[i][0])]
        for pool in (full, mine):
            points = [tuned[i][1] for i in pool]
            best = cheapest_within_interval(points, target)
            if best is None and points:
                best = max(points, key=lambda point: (point.accuracy, -point.nfe))
            if best is not None:
                chosen.append(pool[points.index(best)])
    return [tuned[i][0] for i in sorted(set(chosen))]


def _is_full_diffusion(candidate: Candidate) -> bool:
    return candidate.decoding.block_length == candidate.decoding.gen_length
