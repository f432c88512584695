"""Trajectories made by hand, small enough to know every number of them."""

from __future__ import annotations

from dataclasses import replace

from lit_unmask.inspection.trajectories import Trajectory, TrajectoryStep
from lit_unmask.inspection.writes import EARLY_STOP, POLICY, TrajectoryWrite


def written(trajectory: Trajectory) -> Trajectory:
    """Return a trajectory with the writes of a policy, and of an early stop, that ended in it."""
    tokens, steps = trajectory.tokens, list(trajectory.steps)
    known = {place for step in steps for place in step.committed}
    rest = [place for place, token in enumerate(tokens) if place not in known and token is not None]
    for index, step in enumerate(steps):
        hands = {POLICY: step.committed, EARLY_STOP: rest if index == len(steps) - 1 else ()}
        writes = (
            TrajectoryWrite(by, tuple(places), tuple(tokens[place] for place in places))
            for by, places in hands.items()
            if places
        )
        steps[index] = replace(step, writes=tuple(writes))
    return replace(trajectory, steps=tuple(steps))


SHORT = Trajectory(
    uid="greet",
    question="say hello",
    answer="hello",
    label="policy",
    block_length=2,
    gen_length=4,
    verdict=1.0,
    nfe=3,
    content=2,
    separator=" ",
    tokens=("hello", "you", "<end>", "<end>"),
    steps=(
        TrajectoryStep((0, 1, 2, 3), (0, 1), (1,), (), (0.25, 0.9, 0.5, 0.5), (0.125, 0.75, 0, 0)),
        TrajectoryStep((0, 2, 3), (0,), (0,), (0,), (0.4, 1, 0.5, 0.6), (0.1, 0, 0, 0)),
        TrajectoryStep((2, 3), (2, 3), (2, 3), (), (1, 1, 0.7, 0.999), (0, 0, 1, 1)),
    ),
)
SHORT = written(SHORT)
"""Blocks of 2; position 0 is forced at the second step."""

SLOW = replace(
    SHORT,
    label="left to right",
    verdict=0.0,
    nfe=4,
    content=4,
    tokens=("good", "bye", "to", "you"),
    steps=tuple(
        TrajectoryStep(
            masked=tuple(range(place, 4)),
            eligible=tuple(range(place, place // 2 * 2 + 2)),
            committed=(place,),
            forced=(),
            confidence=(0.1, 0.2, 0.3, 0.4),
            probability=tuple(int(place == other) for other in range(4)),
        )
        for place in range(4)
    ),
)
SLOW = written(SLOW)
"""The same problem, one token a step."""

MENDED = replace(
    SHORT,
    label="corrected",
    nfe=6,
    tokens=("hello", "you", "two", "<end>"),
    content=3,
    steps=(
        replace(
            SHORT.steps[0],
            writes=(TrajectoryWrite("policy", (1,), ("me",)),),
            forwards={"predictor": 1},
        ),
        replace(
            SHORT.steps[1],
            masked=(0, 1, 2, 3),
            writes=(
                TrajectoryWrite("corrector", (1,), (None,)),
                TrajectoryWrite("policy", (0,), ("hi",)),
            ),
            forwards={"predictor": 1, "corrector": 2},
        ),
        replace(
            SHORT.steps[2],
            masked=(1, 2, 3),
            committed=(1, 2, 3),
            writes=(
                TrajectoryWrite("corrector", (0,), ("hello",)),
                TrajectoryWrite("policy", (1, 2, 3), ("you", "two", "<end>")),
            ),
            forwards={"predictor": 1, "corrector": 1},
        ),
    ),
)
"""A corrector takes 1 back before the second step, and rewrites 0 before the third."""
