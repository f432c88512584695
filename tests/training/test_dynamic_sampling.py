"""Prompts of dynamic sampling: drawn where they are needed, alike on any number of ranks."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import pytest
import torch

from lit_unmask.errors import ConfigurationError, NotFinite
from lit_unmask.training.dynamic_sampling import Processes, sample_dynamically
from lit_unmask.types import Experience, Observation, Problem, Steps

GROUP = 2


def make_problems(silent: str) -> list[Problem]:
    """Return a problem for each letter; those of ``x`` have no signal."""
    return [
        Problem(f"{number:02}{letter}", (), "", lambda completion, answer: 0.0)
        for number, letter in enumerate(silent)
    ]


def play(problems: Sequence[Problem], reserve: bool) -> Experience:
    """Return an experience of two rollouts of one step a problem, which tells what was played."""
    count = len(problems) * GROUP
    signal = torch.tensor([not problem.uid.endswith("x") for problem in problems])
    number = torch.tensor([float(problem.uid[:2]) for problem in problems]).repeat_interleave(GROUP)
    plane, rollout = torch.zeros(count, 3), torch.arange(count)
    none = plane.bool()
    observation = Observation(none, none, plane[..., None], number)
    steps = Steps(rollout, rollout * 0, observation, none, none, number, none)
    gain = signal.repeat_interleave(GROUP) * torch.tensor([1.0, -1.0]).repeat(len(problems))
    return Experience(
        steps, gain, rollout * 0 + 1, number, number, none[:, 0], signal, count,
        {"row_forwards": float(count), "reserve": float(reserve)},
    )  # fmt: skip


def played(silent: str, reserve: int, world: int) -> list[Experience]:
    """Return what each of some ranks has played, each in a thread of its own."""
    problems = make_problems(silent)
    barrier, counts, found = threading.Barrier(world), [0] * world, [None] * world

    def run(rank: int) -> None:
        def total(count: int) -> int:
            counts[rank] = count
            barrier.wait(10)
            answer = sum(counts)
            barrier.wait(10)
            return answer

        mine = problems[rank::world]
        found[rank] = sample_dynamically(play, mine, reserve, Processes(rank, world, total))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return found


def numbers(parts: list[Experience]) -> list[int]:
    return sorted({int(n) for part in parts for n in part.rewards.tolist()})


# Twelve problems, of which the last six are reserve.
@pytest.mark.parametrize(
    ("silent", "expected"),
    [
        ("......" + "......", 6),  # nothing is missing
        ("x.x..." + "......", 8),  # one for each
        ("x.x..." + ".x....", 9),  # and for the reserve one without a signal
        ("xxxxxx" + "xxxxxx", 12),  # until there are no more
        ("xxxx.." + "...x..", 11),
    ],
)
@pytest.mark.parametrize("world", [1, 2, 3])
def test_as_many_are_played_as_groups_are_missing(silent: str, expected: int, world: int) -> None:
    parts = played(silent, 6, world)
    assert numbers(parts) == list(range(expected))
    for part in parts:
        assert part.diagnostics["dynamic_sampling"] == expected - 6
        assert part.rollouts == 6 // world * GROUP
        assert part.diagnostics["row_forwards"] == len(part.decisions)
        assert part.diagnostics["reserve"] == 0  # readings are of what was no selection


def test_what_is_played_stays_together() -> None:
    (whole,) = played("xx....x.....", 6, 1)
    assert whole.steps.rollout.tolist() == list(range(len(whole.decisions)))
    assert torch.equal(whole.steps.observation.time, whole.rewards[whole.steps.rollout])
    assert whole.signal.tolist() == [False, False, True, True, True, True, False, True, True]
    assert torch.equal(whole.advantage.view(-1, GROUP).any(1), whole.signal)


@pytest.mark.parametrize(("reserve", "world"), [(12, 1), (11, 2), (10, 3)])
def test_reserves_that_do_not_fit_are_named(reserve: int, world: int) -> None:
    ranks = Processes(0, world)
    with pytest.raises(ConfigurationError, match=rf"dynamic_sampling={reserve}.*{world} ranks"):
        sample_dynamically(play, make_problems("." * (12 // world)), reserve, ranks)


def test_a_rank_whose_numbers_break_says_so_in_the_place_of_its_count() -> None:
    counts: list[float] = []

    def broken(problems: Sequence[Problem], reserve: bool) -> Experience:
        if reserve:
            raise NotFinite("numbers", "mend them")
        return play(problems, reserve)

    def total(count: float) -> int:
        counts.append(count)
        if math.isnan(count):
            raise NotFinite("numbers elsewhere", "look there")
        return int(count)

    with pytest.raises(NotFinite, match="numbers are NaN or infinite; mend them"):
        sample_dynamically(broken, make_problems("xaaa"), 2, Processes(total=total))
    assert counts[0] == 1 and math.isnan(counts[1]) and len(counts) == 2
