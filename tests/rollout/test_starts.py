"""Rollouts that begin in the states of others."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lit_unmask.policies import Policy
from lit_unmask.rollout import Decoding, Noise, Rollout, Start, rollout
from tests.toy_rollouts import LENGTH, MASK, NUMBERS, POLICIES, SEED, make_prompts
from tests.toy_systems import SCHEDULES, Toy, decode


@pytest.fixture(params=["random", "threshold", "learned", "conditioned"])
def policy(request: pytest.FixtureRequest) -> Policy:
    """Policies that draw, decide, learn and are conditioned, in turn."""
    return POLICIES[request.param]()


def states_at(result: Rollout, step: int) -> Start:
    """Return the states of all rows when each was about to take a step, or its last state."""
    assert result.log is not None
    buffers = torch.full_like(result.response, MASK)
    for row, when, where, tokens, *_ in zip(*vars(result.log).values(), strict=True):
        if when < step:
            buffers[row] = torch.where(where, tokens, buffers[row])
    return Start(buffers, result.decisions.clamp(max=step))


def go_on(policy: Policy, start: Start, **settings: Any) -> Rollout:
    """Return rollouts of the toy from states."""
    decoding = Decoding(**{"gen_length": LENGTH, "block_length": 4} | settings)
    noise = Noise(SEED, NUMBERS)
    return rollout(Toy(), policy, make_prompts(), decoding, noise, record=True, start=start)


@pytest.mark.parametrize("step", [0, 1, 3, 100])
@pytest.mark.parametrize("settings", [
    {}, {"temperature": 0.8}, {"scheduling": SCHEDULES[1]}, {"scheduling": SCHEDULES[2]},
    {"block_length": LENGTH},
], ids=str)  # fmt: skip
def test_a_rollout_from_a_state_ends_as_the_one_that_was_in_it(
    policy: Policy, step: int, settings: dict[str, Any]
) -> None:
    whole = decode(policy, **settings)
    rest = go_on(policy, states_at(whole, step), **settings)
    assert torch.equal(rest.response, whole.response)
    taken = whole.decisions.clamp(max=step)
    assert torch.equal(rest.decisions, whole.decisions - taken)
    assert torch.equal(rest.nfe, whole.nfe - taken)
    later = whole.committed_at.masked_fill(whole.committed_at < step, -1)
    assert torch.equal(rest.committed_at, later)


def test_states_that_do_not_fit_are_refused_and_finished_ones_are_told_of() -> None:
    policy = POLICIES["threshold"]()
    with pytest.raises(ValueError, match=r"start has buffers \(2, 8\).*must be \(6, 8\) and"):
        go_on(policy, Start(torch.zeros(2, 8, dtype=torch.int64), torch.zeros(2).long()))
    heard: list[int] = []
    rollout(
        Toy(), policy, make_prompts(), Decoding(LENGTH, 4), Noise(SEED, NUMBERS),
        start=Start(torch.full((6, LENGTH), 3), torch.arange(6)),
        listener=lambda progress: heard.extend(progress.finished.tolist()),
    )  # fmt: skip
    assert heard == list(range(6))
