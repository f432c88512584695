"""What holds of any resampler, shown by the smallest ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lit_unmask.policies import LeftToRight, Policy
from lit_unmask.rollout import Decoding, Noise, Scheduling, loop, rollout
from lit_unmask.rollout.resamplers import BestOfN, Resampler, SelfRewarding
from lit_unmask.types import Prompt, Signals
from tests.toy_rollouts import (
    LENGTH,
    NUMBERS,
    POLICIES,
    SEED,
    ToyDenoiser,
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
        resampler = SelfRewarding(1, 1.0) if temperature else Likely(1)
        found = decode(policy, temperature=temperature, resampler=resampler)
        assert torch.equal(found.response, plain.response)
        assert torch.equal(found.nfe, plain.nfe)
        assert torch.equal(found.committed_at, plain.committed_at)


@pytest.mark.parametrize("resampler", [SelfRewarding(3, 0.9), First(3)], ids=str)
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


class Biased(ToyDenoiser):
    """Says 1 with a probability of 0.8, else 2."""

    def logits(self, prompt: Prompt, response: Tensor) -> Tensor:
        chances = torch.tensor([0.0, 0.8, 0.2, 0.0, 0.0, 0.0, 0.0])
        return chances.log().expand(*response.shape, -1).clone()


class FirstRewarded(SelfRewarding):
    """Answers with the first particle, which weights have not chosen."""

    def answer(self, likelihood: Tensor) -> Tensor:
        return torch.zeros(len(likelihood), dtype=torch.int64)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_particles_are_distributed_by_the_reweighted_language(threshold: float) -> None:
    groups, size = 4000, 6
    prompt = make_prompts().select(torch.zeros(groups, dtype=torch.int64))
    ways = Decoding(2, 1, 1.0, resampler=FirstRewarded(size, threshold))
    noise = Noise(SEED, torch.arange(groups))
    result = rollout(Biased(), LeftToRight(1), prompt, ways, noise)
    count = torch.arange(size + 1, dtype=torch.float64)  # particles that drew 1 at first
    heads = torch.distributions.Binomial(size, torch.tensor(0.8, dtype=torch.float64))
    reweighted = 0.8 * count / (0.8 * count + 0.2 * (size - count))
    wanted = float((heads.log_prob(count).exp() * reweighted).sum()) if threshold else 0.8
    found = float((result.response[:, 0] == 1).float().mean())
    assert abs(found - wanted) < 3 * (wanted * (1 - wanted) / groups) ** 0.5
    assert result.price["particle"].tolist() == [2 * (size - 1)] * groups


def test_ancestors_are_drawn_by_weight_where_few_have_it() -> None:
    weight = torch.tensor([[0.7, 0.1, 0.2, 0.0]])
    numbers = ((torch.arange(1000) + 0.5) / 1000).view(-1, 4)
    drawn = SelfRewarding(4).ancestors(weight.log().expand(250, 4), numbers)
    assert torch.equal(drawn.flatten().bincount(minlength=4), torch.tensor([700, 100, 200, 0]))
    # 1 / (0.49 + 0.01 + 0.04) is 1.85 particles, and fewer than 2 of 4 are too few.
    assert (SelfRewarding(4, 0.46).ancestors(weight.log(), numbers[:1]) == -1).all()


def test_particles_of_one_weight_never_move() -> None:
    for size in range(1, 9):
        weight, numbers = torch.full((3, size), -41.7), torch.rand(3, size)
        assert (SelfRewarding(size).ancestors(weight, numbers) == -1).all()


def test_the_best_of_several_is_the_likeliest_of_the_rows(policy: Policy) -> None:
    size, signals = 3, Signals(1, {"likelihood"})
    found = decode(policy, resampler=BestOfN(size), temperature=0.8)
    numbers = (NUMBERS[:, None] * size + torch.arange(size)).flatten()
    prompt, ways = make_prompts().repeat(size), Decoding(LENGTH, 4, 0.8)
    plain = rollout(Toy(), policy, prompt, ways, Noise(SEED, numbers), record=True, signals=signals)
    assert plain.steps is not None
    each = plain.steps.observation.signals["likelihood"].where(plain.steps.committed, 0.0).sum(1)
    likely = torch.zeros(len(numbers)).index_add(0, plain.steps.rollout, each).view(-1, size)
    best = plain.response.view(-1, size, LENGTH)[torch.arange(len(likely)), likely.argmax(1)]
    assert torch.equal(found.response, best)
    assert torch.equal(found.nfe, plain.nfe.view(-1, size).sum(1))


def test_weighed_particles_at_temperature_0_are_refused() -> None:
    with pytest.raises(ValueError, match=r"SelfRewarding weighs tokens that are drawn.*set decod"):
        Decoding(8, 4, resampler=SelfRewarding(2))
    with pytest.raises(ValueError, match=r"threshold=1\.5 must lie in \[0, 1\]"):
        SelfRewarding(2, 1.5)
    Decoding(8, 4, resampler=BestOfN(2))
