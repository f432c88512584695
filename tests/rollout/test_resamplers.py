"""What holds of any resampler, shown by the smallest ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lit_unmask.policies import Policy
from lit_unmask.rollout import Decoding, Noise, Scheduling, loop, rollout
from lit_unmask.rollout.resamplers import Resampler
from lit_unmask.types import Signals
from tests.toy_rollouts import (
    LENGTH,
    NUMBERS,
    POLICIES,
    SEED,
    learned,
    make_prompts,
)
from tests.toy_systems import (
    SCHEDULES,
    Even,
    First,
    Likely,
    Takeover,
    Toy,
    assert_same,
    decode,
)


@pytest.fixture(params=["random", "threshold", "learned", "conditioned"])
def policy(request: pytest.FixtureRequest) -> Policy:
    """Policies that draw, decide, learn and are conditioned, in turn."""
    return POLICIES[request.param]()


def test_particles_of_equal_weight_stay_where_they_are(policy: Policy) -> None:
    size = 3
    found = decode(policy, resampler=Even(size), temperature=0.8)
    numbers = (NUMBERS[:, None] * size + torch.arange(size)).flatten()
    plain = rollout(
        Toy(), policy, make_prompts().repeat(size), Decoding(LENGTH, 4, 0.8), Noise(SEED, numbers),
        signals=Signals(1, {"entropy"}),
    )  # fmt: skip
    groups = plain.response.view(len(NUMBERS), size, LENGTH)
    assert (groups == found.response[:, None]).all(2).any(1).all()
    charged = plain.nfe.view(-1, size).sum(1)
    assert torch.equal(found.nfe, charged)
    assert torch.equal(found.price["predictor"] + found.price["particle"], charged)


def test_one_particle_is_the_row_itself(policy: Policy) -> None:
    for temperature in (0.0, 0.8):
        plain = decode(policy, temperature=temperature)
        found = decode(policy, temperature=temperature, resampler=Likely(1))
        assert torch.equal(found.response, plain.response)
        assert torch.equal(found.nfe, plain.nfe)
        assert torch.equal(found.committed_at, plain.committed_at)


@pytest.mark.parametrize("resampler", [Likely(3), First(3)], ids=str)
@pytest.mark.parametrize("scheduling", SCHEDULES[1:], ids=str)
@pytest.mark.parametrize("on_empty", ["force", "wait"])
def test_groups_depend_neither_on_their_batch_nor_on_scheduling(
    policy: Policy, resampler: Resampler, scheduling: Scheduling, on_empty: str
) -> None:
    ways = {"temperature": 0.8, "resampler": resampler, "on_empty": on_empty}
    whole = decode(policy, **ways)
    assert_same(decode(policy, **ways, scheduling=scheduling), whole)
    for row in range(len(NUMBERS)):
        alone = decode(policy, torch.tensor([row]), **ways)
        assert torch.equal(alone.response[0], whole.response[row])
        assert torch.equal(alone.nfe[0], whole.nfe[row])


def test_who_takes_over_goes_on_from_the_state_of_another_with_numbers_of_its_own() -> None:
    policy = POLICIES["random"]()
    size = 3
    found = decode(policy, resampler=Takeover(size), temperature=0.8)
    numbers = NUMBERS * size + size - 1
    plain = rollout(
        Toy(), policy, make_prompts(), Decoding(LENGTH, 4, 0.8), Noise(SEED, numbers),
        signals=Signals(1, {"entropy"}),
    )  # fmt: skip
    # The last particle is nobody's heir: it ends as if alone.
    assert torch.equal(found.response, plain.response)
    assert torch.equal(found.committed_at, plain.committed_at)


def test_an_heir_shares_the_past_and_not_the_future() -> None:
    policy = POLICIES["random"]()
    heir = decode(policy, resampler=First(3), temperature=0.8)
    origin = decode(policy, resampler=Takeover(3), temperature=0.8)
    assert torch.equal(heir.response[:, :4], origin.response[:, :4])
    assert not torch.equal(heir.response[:, 4:], origin.response[:, 4:])


def test_no_number_is_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, int]] = []
    plain = loop.uniform

    def watched(seed: int, rollout: Tensor, step: Tensor, length: int, stream: int) -> Tensor:
        drawn.extend(zip(rollout.tolist(), step.tolist(), strict=True))
        return plain(seed, rollout, step, length, stream)

    monkeypatch.setattr(loop, "uniform", watched)
    ways = {"temperature": 0.8, "scheduling": Scheduling(lookahead=1)}
    # Particles take different numbers of steps.
    decode(learned(output_bias=0.0), resampler=Takeover(4), **ways)
    assert len(drawn) > 4 * len(NUMBERS) and len(set(drawn)) == len(drawn)


def test_the_answer_is_chosen_by_the_likelihood_of_all_its_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Tensor] = []

    def watched(self: Resampler, likelihood: Tensor) -> Tensor:
        given.append(likelihood)
        return torch.zeros(len(likelihood), dtype=torch.int64)

    monkeypatch.setattr(Takeover, "answer", watched)
    result = decode(learned(output_bias=0.0), resampler=Takeover(4), temperature=0.8)
    assert result.steps is not None
    likelihood = result.steps.observation.signals["likelihood"]
    each = likelihood.where(result.steps.committed, 0.0).sum(1)
    whole = torch.zeros(len(NUMBERS)).index_add(0, result.steps.rollout, each)
    torch.testing.assert_close(given[-1][:, 0], whole)


def test_listeners_hear_of_groups_once_and_with_their_answers(policy: Policy) -> None:
    heard: list[tuple[int, Tensor]] = []

    def listen(progress: Any) -> None:
        assert progress.rows == len(NUMBERS)
        heard.extend((row, progress.response[row].clone()) for row in progress.finished.tolist())

    result = rollout(
        Toy(), policy, make_prompts(), Decoding(LENGTH, 4, 0.8, resampler=Likely(2)),
        Noise(SEED, NUMBERS), listener=listen,
    )  # fmt: skip
    assert sorted(row for row, _ in heard) == list(range(len(NUMBERS)))
    for row, response in heard:
        assert torch.equal(response, result.response[row])
