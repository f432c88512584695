"""What holds of any corrector and any resampler, shown by the smallest ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_unmask.evaluation.fingerprints import decoding_fields
from lit_unmask.policies import Policy
from lit_unmask.rollout import Approximate, Decoding, Noise, Rollout, Scheduling, loop, rollout
from lit_unmask.rollout.correctors import Ask, Corrector, Edit, View
from lit_unmask.rollout.resamplers import Resampler
from lit_unmask.types import Reading, Signals
from tests.toy_rollouts import (
    LENGTH,
    MASK,
    NUMBERS,
    POLICIES,
    SEED,
    ToyDenoiser,
    learned,
    make_prompts,
)

SCHEDULES = [
    Scheduling(),
    Scheduling(skip=False, share=False, lookahead=1),
    Scheduling(max_rows=2),
    Scheduling(deterministic=True, static_rows=4, static_tokens=2),
]


@dataclass(frozen=True)
class Nothing(Corrector):
    """Asks twice about the buffer as it is, and changes nothing."""

    every: int = 1

    def due(self, rows: View) -> Tensor:
        return (rows.step + 1) % self.every == 0

    def correct(self, rows: View, said: Reading, ask: Ask) -> tuple[Edit, Reading]:
        everyone = torch.arange(len(rows.response))
        for _ in range(2):
            ask(everyone, rows.response)
        return Edit(torch.zeros_like(rows.masked), rows.response), said


@dataclass(frozen=True)
class Restore(Corrector):
    """Puts a clean text back, and proposes it."""

    token: int = 3

    def due(self, rows: View) -> Tensor:
        return rows.step >= 0

    def correct(self, rows: View, said: Reading, ask: Ask) -> tuple[Edit, Reading]:
        clean = torch.full_like(rows.response, self.token)
        return Edit(torch.ones_like(rows.masked), clean), replace(said, proposal=clean)


@dataclass(frozen=True)
class Doubt(Corrector):
    """Takes back the least sure token of the block every other step, after reading it again."""

    @property
    def signals(self) -> Signals:
        return Signals(1, {"entropy"})

    def due(self, rows: View) -> Tensor:
        return (rows.step % 2 == 1) & (rows.in_block & ~rows.masked).any(1)

    def correct(self, rows: View, said: Reading, ask: Ask) -> tuple[Edit, Reading]:
        known = rows.in_block & ~rows.masked
        entropy = said.signals["entropy"].masked_fill(~known, -1.0)
        worst = torch.zeros_like(known).scatter(1, entropy.argmax(1, keepdim=True), True)
        buffers = rows.response.masked_fill(worst, MASK)
        return Edit(worst, buffers), ask(torch.arange(len(buffers)), buffers)


@dataclass(frozen=True)
class Everywhere(Corrector):
    """Takes back all tokens and writes to all masks, both of which are not its to do."""

    def due(self, rows: View) -> Tensor:
        return rows.step > 0

    def correct(self, rows: View, said: Reading, ask: Ask) -> tuple[Edit, Reading]:
        tokens = torch.where(rows.masked, 5, torch.where(rows.in_block, rows.response, MASK))
        return Edit(torch.ones_like(rows.masked), tokens), said


@dataclass(frozen=True)
class Even(Resampler):
    """All weights are equal; systematic resampling then leaves everybody in place."""

    def weigh(self, edit: Edit, said: Reading) -> Tensor:
        return torch.zeros(len(edit.where))

    def ancestors(self, log_weight: Tensor, uniform: Tensor) -> Tensor:
        count = log_weight.shape[1]
        places = (torch.arange(count) + uniform[:, None]) / count
        return torch.searchsorted(log_weight.softmax(1).cumsum(1), places).clamp(max=count - 1)

    def answer(self, likelihood: Tensor) -> Tensor:
        return likelihood.argmax(1)


@dataclass(frozen=True)
class Likely(Even):
    """Weighs by the likelihood of what is written."""

    def weigh(self, edit: Edit, said: Reading) -> Tensor:
        return said.signals["likelihood"].where(edit.where, 0.0).sum(1)


@dataclass(frozen=True)
class Takeover(Even):
    """All go on from the last particle, whose answer it is."""

    def ancestors(self, log_weight: Tensor, uniform: Tensor) -> Tensor:
        return torch.full(log_weight.shape, log_weight.shape[1] - 1)

    def answer(self, likelihood: Tensor) -> Tensor:
        return torch.full((len(likelihood),), likelihood.shape[1] - 1)


@dataclass(frozen=True)
class First(Takeover):
    """All go on from the last particle, and the answer is the first one's."""

    def answer(self, likelihood: Tensor) -> Tensor:
        return torch.zeros(len(likelihood), dtype=torch.int64)


class Toy(ToyDenoiser):
    """The toy with the likelihood of its proposals, and a token that ends a response."""

    end_ids = (2,)

    def forward(self, prompt, response, signals, numbers=None, temperature=0.0):  # type: ignore
        most = super().forward(prompt, response, replace(signals, top_k=6), numbers, temperature)
        # Proposals of positive temperature are among the six tokens; any monotone stand-in does.
        found = {"likelihood": most.confidence[..., 0].log() - most.proposal / 10}
        kept = {name: value for name, value in most.signals.items() if name in signals.names}
        return replace(most, confidence=most.confidence[..., : signals.top_k], signals=kept | found)


def decode(policy: Policy, rows: Tensor | None = None, **settings: Any) -> Rollout:
    """Return rollouts of the toy, of some rows or of all."""
    prompt, numbers = make_prompts(), NUMBERS
    if rows is not None:
        prompt, numbers = prompt.select(rows).trim(), numbers[rows]
    settings = {"gen_length": LENGTH, "block_length": 4} | settings
    # The toy and the policies need no gradient.
    return rollout(Toy(), policy, prompt, Decoding(**settings), Noise(SEED, numbers), record=True)


def assert_same(found: Rollout, wanted: Rollout) -> None:
    """Compare what rollouts return, and their histories."""
    for name in ("response", "decisions", "committed_at", "still_masked", "nfe"):
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name
    assert found.log is not None and wanted.log is not None
    assert found.steps is not None and wanted.steps is not None
    for row in range(len(found.response)):
        logs = (
            one.select((one.rollout == row) & one.where.any(1)) for one in (found.log, wanted.log)
        )
        one, two = (vars(log) for log in logs)
        assert all(torch.equal(one[name], two[name]) for name in one)
        steps = (one.index[one.rollout == row].sort().values for one in (found.steps, wanted.steps))
        assert torch.equal(*steps)
    assert found.price.keys() == wanted.price.keys()
    for kind in wanted.price:
        assert torch.equal(found.price[kind], wanted.price[kind])


@pytest.fixture(params=["random", "threshold", "learned", "conditioned"])
def policy(request: pytest.FixtureRequest) -> Policy:
    """Policies that draw, decide, learn and are conditioned, in turn."""
    return POLICIES[request.param]()


@pytest.mark.parametrize("settings", [
    {}, {"temperature": 0.8}, {"corrector": Doubt()}, {"corrector": Doubt(), "temperature": 0.8},
    {"corrector": Doubt(), "on_empty": "wait"}, {"corrector": Restore(3)},
    {"resampler": Takeover(3)}, {"resampler": Takeover(3), "corrector": Doubt()},
    {"approximate": Approximate(early_stop=True)},
    {"resampler": Likely(3), "temperature": 0.8},
], ids=str)  # fmt: skip
def test_the_log_replays_the_buffers_and_says_when_each_token_came(
    policy: Policy, settings: dict[str, Any]
) -> None:
    result = decode(policy, **settings)
    log, steps = result.log, result.steps
    assert log is not None and steps is not None
    buffers = torch.full((len(NUMBERS), LENGTH), MASK)
    came = torch.full_like(buffers, -1)
    at_step: dict[tuple[int, int], Tensor] = {}
    for row, step, where, tokens, corrected in zip(*vars(log).values(), strict=True):
        if not corrected and where.any():
            at_step[int(row), int(step)] = buffers[row].clone()
        buffers[row] = torch.where(where, tokens, buffers[row])
        came[row] = came[row].where(~where, step).masked_fill(buffers[row] == MASK, -1)
    assert torch.equal(buffers, result.response)
    assert torch.equal(came, result.committed_at)
    counts = torch.bincount(steps.rollout, minlength=len(buffers))
    assert torch.equal(counts, result.decisions)
    for row, index, committed, masked in zip(
        steps.rollout.tolist(), steps.index.tolist(), steps.committed, steps.observation.masked,
        strict=True,
    ):  # fmt: skip
        assert bool(committed.any()) == ((row, index) in at_step)
        if (row, index) in at_step:
            assert torch.equal(masked, at_step[row, index] == MASK)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("on_empty", ["force", "wait"])
def test_a_corrector_that_changes_nothing_costs_what_it_asks(
    policy: Policy, temperature: float, on_empty: str
) -> None:
    ways = {"temperature": temperature, "on_empty": on_empty}
    plain, found = decode(policy, **ways), decode(policy, corrector=Nothing(2), **ways)
    assert torch.equal(found.response, plain.response)
    assert torch.equal(found.committed_at, plain.committed_at)
    assert torch.equal(found.decisions, plain.decisions)
    assert torch.equal(found.price["predictor"], plain.nfe)
    asked = found.price.get("corrector", torch.zeros_like(plain.nfe))
    assert torch.equal(asked, 2 * (plain.decisions // 2))
    assert torch.equal(found.nfe, plain.nfe + asked)
    ledger = found.ledger
    assert ledger.charged == int(found.nfe.sum()) and ledger.other == 0
    assert ledger.computed + ledger.skipped + ledger.shared == ledger.charged
    assert ledger.skipped >= 0


def test_a_corrector_that_restores_the_text_repairs_any_text(policy: Policy) -> None:
    result = decode(policy, corrector=Restore(3))
    assert (result.response == 3).all()
    assert not result.still_masked.any()


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("on_empty", ["force", "wait"])
@pytest.mark.parametrize("scheduling", SCHEDULES[1:], ids=str)
def test_corrected_rows_depend_neither_on_their_batch_nor_on_scheduling(
    policy: Policy, temperature: float, on_empty: str, scheduling: Scheduling
) -> None:
    ways = {"temperature": temperature, "on_empty": on_empty, "corrector": Doubt()}
    whole = decode(policy, **ways, max_block_steps=9)
    assert bool(whole.log is not None and whole.log.corrected.any())
    assert_same(decode(policy, **ways, max_block_steps=9, scheduling=scheduling), whole)
    for row in range(len(NUMBERS)):
        alone = decode(policy, torch.tensor([row]), **ways, max_block_steps=9)
        assert torch.equal(alone.response[0], whole.response[row])
        assert torch.equal(alone.nfe[0], whole.nfe[row])


def test_a_block_that_is_taken_back_again_and_again_ends_after_its_steps(policy: Policy) -> None:
    for most in (None, 6):
        result = decode(policy, corrector=Doubt(), max_block_steps=most)
        assert int(result.decisions.max()) <= (most or 4) * LENGTH // 4
        assert torch.equal(result.still_masked, (result.response == MASK).any(1))


def test_a_corrector_neither_fills_masks_nor_opens_other_blocks(policy: Policy) -> None:
    plain, found = decode(policy), decode(policy, corrector=Everywhere())
    assert torch.equal(found.response, plain.response)
    assert not (found.response == 5).all()


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


@pytest.mark.parametrize("part", [{"corrector": Doubt()}, {"resampler": Even(2)}], ids=str)
def test_a_cache_of_keys_and_values_is_refused_beside_what_changes_tokens(part: Any) -> None:
    with pytest.raises(ValueError, match=r"changes tokens outside the current block.*choose one"):
        Decoding(8, 4, approximate=Approximate("dual"), **part)


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="max_block_steps=0 must be at least 1"):
        Decoding(8, 4, max_block_steps=0)
    with pytest.raises(ValueError, match="particles=0 must be at least 1"):
        Even(0)


def test_every_setting_that_trajectories_depend_on_is_among_them() -> None:
    plain = Decoding(8, 4)
    others = [
        {"gen_length": 12}, {"block_length": 8}, {"temperature": 0.5}, {"on_empty": "wait"},
        {"approximate": Approximate(early_stop=True)}, {"corrector": Nothing(2)},
        {"corrector": Nothing(3)}, {"resampler": Even(2)}, {"resampler": Likely(2)},
        {"max_block_steps": 7},
    ]  # fmt: skip
    settings = [replace(plain, **other).trajectory_settings() for other in others]
    assert all(one != plain.trajectory_settings() for one in settings)
    assert len({str(one) for one in settings}) == len(others)
    touched = set().union(*others)
    assert touched | {"scheduling"} == set(vars(plain))
    same = replace(plain, scheduling=Scheduling(skip=False))
    assert same.trajectory_settings() == plain.trajectory_settings()
    assert decoding_fields(plain)["further"] == {}
