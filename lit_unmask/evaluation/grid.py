"""Heuristics tuned jointly over their parameter and the block length.

A learned policy has to beat the best setting of a heuristic, not its default: every pair of
parameter and block length is tried on tuning problems, and the chosen ones are then run on test
problems that the choice has not seen.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lit_unmask.evaluation.fingerprints import plain_settings
from lit_unmask.evaluation.points import Point, cheapest_within_interval, pareto_front
from lit_unmask.policies.base import Policy
from lit_unmask.policies.learned import Thresholded, behind_threshold
from lit_unmask.rollout import Decoding


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
class Setting:
    """One setting of one method, ready to run.

    Attributes:
        name: What to call the method in tables.
        kind: Whether it was trained.
        params: Its parameters.
        policy: What decides.
        decoding: How it decodes.
    """

    name: str
    kind: Literal["heuristic", "learned"]
    params: dict[str, Any]
    policy: Policy
    decoding: Decoding

    @classmethod
    def of(
        cls,
        name: str,
        policy: Policy,
        decoding: Decoding,
        params: dict[str, Any] | None = None,
    ) -> Setting:
        """Return a setting; a policy without parameters is a heuristic.

        Args:
            name: What to call the method.
            policy: What decides.
            decoding: How it decodes.
            params: Its parameters; None takes the plain settings of a heuristic.
        """
        learned = policy.has_parameters
        if params is None:
            params = {} if learned else plain_settings(policy)
        return cls(name, "learned" if learned else "heuristic", params, policy, decoding)

    @property
    def draws(self) -> bool:
        """Whether anything depends on the seed of the noise: the actions or the tokens."""
        return self.policy.draws or self.decoding.temperature > 0

    @property
    def is_full_diffusion(self) -> bool:
        """Whether there are no blocks."""
        return self.decoding.block_length == self.decoding.gen_length


def settings(grids: dict[str, HeuristicGrid], decoding: Decoding) -> Iterator[Setting]:
    """Iterate over all settings of all heuristics, on top of the given decoding.

    A grid over a knob of a trained policy makes learned settings.
    """
    for name, grid in grids.items():
        for value in grid.values:
            policy = grid.policy(value)
            parameter = next(iter(inspect.signature(type(policy)).parameters))
            for block_length in grid.block_lengths:
                blocks = replace(decoding, block_length=block_length)
                yield Setting.of(name, policy, blocks, {parameter: value})


def best(points: Sequence[Point], target: Point) -> int:
    """Return the place of the point that a policy is put beside.

    Args:
        points: Points of heuristics on the tuning problems, at least one.
        target: The policy's point on the same problems.

    Returns:
        That of fewest forwards whose accuracy reaches the target's interval, else of the most
        accurate one.
    """
    reached = cheapest_within_interval(points, target)
    return most_accurate(points) if reached is None else list(points).index(reached)


def most_accurate(points: Sequence[Point]) -> int:
    """Return the place of the most accurate point, at equal accuracy of the cheaper one."""
    return max(range(len(points)), key=lambda i: (points[i].accuracy, -points[i].nfe))


def closest(tuned: Sequence[tuple[Setting, Point]], target: Point) -> list[Setting]:
    """Choose the :func:`best` setting of each method, in full diffusion and of all settings."""
    return _chosen(tuned, lambda points: [best(points, target)])


def on_fronts(tuned: Sequence[tuple[Setting, Point]]) -> list[Setting]:
    """Return the settings on the Pareto front of their method, or on that of full diffusion."""
    return _chosen(tuned, lambda points: [points.index(one) for one in pareto_front(points)])


def _chosen(
    tuned: Sequence[tuple[Setting, Point]], choose: Callable[[list[Point]], list[int]]
) -> list[Setting]:
    """Choose from results on tuning problems, for each method once in full diffusion.

    Args:
        tuned: Every setting with its point on the tuning problems.
        choose: Gives places among points.

    Returns:
        The settings, without repetition, in the order of ``tuned``.
    """
    places: set[int] = set()
    for name in dict.fromkeys(setting.name for setting, _ in tuned):
        mine = [i for i, (setting, _) in enumerate(tuned) if setting.name == name]
        full = [i for i in mine if tuned[i][0].is_full_diffusion]
        for pool in (mine, full):
            if pool:
                places |= {pool[i] for i in choose([tuned[j][1] for j in pool])}
    return [tuned[i][0] for i in sorted(places)]


def at_thresholds(
    policy: Policy, thresholds: Sequence[float] | None
) -> list[tuple[Policy, dict[str, Any]]]:
    """Return a policy at each threshold, with what tells it from the others.

    Args:
        policy: A policy, or one behind a threshold, which the others take the place of.
        thresholds: As in :class:`~lit_unmask.policies.Thresholded`; None takes it as it is.
    """
    if thresholds is None:
        return [(policy, {})]
    own = policy.threshold if isinstance(policy, Thresholded) else None
    return [
        # The policy itself, where it is there: what is known of it need not be decoded again.
        (policy if value == own else Thresholded(value, behind_threshold(policy)),
         {"threshold": value})
        for value in thresholds
    ]  # fmt: skip
