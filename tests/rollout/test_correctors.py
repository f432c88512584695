"""Laws, oracles and small stories of the correctors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lit_unmask.policies import ConfidenceThreshold, LowConfidence, Policy
from lit_unmask.rollout import Decoding, Noise, Rollout, Scheduling, Start, rollout
from lit_unmask.rollout.correctors import (
    GIDD,
    WINO,
    BlockProSeCo,
    Corrector,
    Placement,
    ProSeCo,
    Remask,
)
from lit_unmask.rollout.correctors.base import taken_back
from lit_unmask.types import Prompt, Reading
from tests.toy_rollouts import (
    LENGTH,
    MASK,
    NUMBERS,
    POLICIES,
    SEED,
    VOCABULARY,
    ToyDenoiser,
    make_prompts,
)
from tests.toy_systems import SCHEDULES, assert_same, decode

CLEAN = 1 + torch.arange(LENGTH) % 6
DUE = Placement(every=2, below=0.6)
CORRECTORS = [
    Remask(2, placement=DUE), WINO(0.8), ProSeCo(3, placement=DUE), BlockProSeCo(2),
    GIDD(4), GIDD(2, placement=Placement(every=3)), ProSeCo(2, placement=Placement(end=True)),
]  # fmt: skip


class Steady(ToyDenoiser):
    """Says of every text what it says of masks: it agrees with whatever it proposed."""

    def logits(self, prompt: Prompt, response: Tensor) -> Tensor:
        return super().logits(prompt, torch.full_like(response, MASK))


class Oracle(ToyDenoiser):
    """Knows the clean text, and is surer towards its end."""

    def logits(self, prompt: Prompt, response: Tensor) -> Tensor:
        sure = torch.arange(3, 3 + LENGTH)[:, None] * F.one_hot(CLEAN, VOCABULARY)
        return sure.float().expand(len(response), -1, -1).clone()


class Falling(ToyDenoiser):
    """Lowers each token by one down to 1, from the prompt's last token at masks."""

    def logits(self, prompt: Prompt, response: Tensor) -> Tensor:
        lower = torch.where(response == MASK, prompt.tokens[:, -1:], (response - 1).clamp(min=1))
        return 9.0 * F.one_hot(lower, VOCABULARY)


class Flickering(ToyDenoiser):
    """Wants 2 where 3 stands, and 3 elsewhere."""

    def logits(self, prompt: Prompt, response: Tensor) -> Tensor:
        return 9.0 * F.one_hot(torch.where(response == 3, 2, 3), VOCABULARY)


class Regretful(ToyDenoiser):
    """Drafts 4 at the first positions with less and less confidence, and there wants 5 instead."""

    def logits(self, prompt: Prompt, response: Tensor) -> Tensor:
        sure = torch.tensor([0.95, 0.80, 0.70, 0.40, 0.39, 0.38, 0.37, 0.36])
        stands = torch.tensor([0.10, 0.97, 0.20, 0.99, 0.99, 0.99, 0.99, 0.99])
        likely = torch.where(response == MASK, sure, stands)[..., None]
        rest = (1 - likely) / 5
        return torch.where(torch.arange(VOCABULARY) == 4, likely, rest).log()


class Hesitant(ToyDenoiser):
    """Is sure of the first half once a token stands, then of the second, and regrets them all."""

    def logits(self, prompt: Prompt, response: Tensor) -> Tensor:
        places, stands = torch.arange(LENGTH), response != MASK
        sure = stands.any(1, keepdim=True) & ((places < 4) | stands[:, 3:4])
        likely = torch.where(sure, 0.95, 0.5 - 0.01 * places)
        likely = torch.where(stands, 0.2, likely)[..., None]
        return torch.where(torch.arange(VOCABULARY) == 4, likely, (1 - likely) / 5).log()


def corrupted(masked: list[int]) -> Start:
    """Return texts of wrong tokens with some masks."""
    response = torch.full((len(NUMBERS), LENGTH), 5)
    response[:, masked] = MASK
    return Start(response, torch.zeros(len(response), dtype=torch.int64))


def repaired(corrector: Corrector, denoiser: ToyDenoiser, **settings: Any) -> Rollout:
    """Return rollouts of a policy that commits one token a step, from corrupted texts."""
    noise, start = Noise(SEED, NUMBERS), corrupted([LENGTH - 1])
    ways = Decoding(LENGTH, corrector=corrector, **{"block_length": LENGTH} | settings)
    return rollout(denoiser, LowConfidence(1), make_prompts(), ways, noise, start=start)


@pytest.mark.parametrize("corrector", CORRECTORS, ids=str)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_rows_depend_neither_on_their_batch_nor_on_scheduling(
    corrector: Corrector, temperature: float
) -> None:
    policy = POLICIES["learned"]()
    ways = {"temperature": temperature, "corrector": corrector, "max_block_steps": 9}
    whole = decode(policy, on_empty="wait", **ways)
    assert whole.log is not None and whole.log.corrected.any()
    for scheduling in (Scheduling(skip=False, share=False, max_rows=2), SCHEDULES[3]):
        assert_same(decode(policy, on_empty="wait", scheduling=scheduling, **ways), whole)
    for row in (1, 4):
        alone = decode(policy, torch.tensor([row]), on_empty="wait", **ways)
        assert torch.equal(alone.response[0], whole.response[row])
        assert torch.equal(alone.nfe[0], whole.nfe[row])


@pytest.mark.parametrize(("corrector", "calls"), [
    (ProSeCo(4), 1), (BlockProSeCo(4, placement=Placement(every=2)), 1), (WINO(0.0), 0),
    (Remask(1, placement=Placement(below=1e-6)), 0), (GIDD(), 1),
    (BlockProSeCo(4, placement=Placement(end=True)), 2),
], ids=str)  # fmt: skip
def test_where_nothing_is_wrong_the_trajectory_stays_and_costs_what_was_asked(
    corrector: Corrector, calls: int
) -> None:
    policy = POLICIES["threshold"]()
    plain = decode(policy, denoiser=Steady())
    found = decode(policy, denoiser=Steady(), corrector=corrector, max_block_steps=4)
    for name in ("response", "decisions", "committed_at"):
        assert torch.equal(getattr(found, name), getattr(plain, name)), name
    assert torch.equal(found.price["predictor"], plain.nfe)
    end, every = corrector.placement.end, corrector.placement.every
    wanted = calls * (torch.ones_like(plain.nfe) if end else plain.decisions // every)
    assert torch.equal(found.price.get("corrector", torch.zeros_like(plain.nfe)), wanted)
    assert found.log is not None and not found.log.where[found.log.corrected].any()


@pytest.mark.parametrize(("corrector", "calls"), [
    (ProSeCo(4), 1), (BlockProSeCo(1), 1), (BlockProSeCo(4), 2), (GIDD(), 7),
    (GIDD(3), 3), (ProSeCo(4, placement=Placement(end=True)), 2),
    (Remask(1, placement=Placement(below=0.5)), 0),
], ids=str)  # fmt: skip
def test_a_denoiser_that_knows_the_text_repairs_any_text(corrector: Corrector, calls: int) -> None:
    result = repaired(corrector, Oracle(), max_block_steps=20)
    assert torch.equal(result.price.get("corrector", 0 * result.nfe), torch.full((6,), calls))
    if corrector == GIDD(3):  # the likeliest changes, one a forward; 5 stands right at 4
        half = torch.where(torch.arange(LENGTH) > 2, CLEAN, 5)
        assert (result.response == half).all()
    else:
        assert (result.response == CLEAN).all()


@pytest.mark.parametrize("iterations", [1, 2])
def test_the_surest_of_the_differing_positions_are_rewritten(iterations: int) -> None:
    # The mask is at 7; of the others 4 stands right, and the oracle is surer towards the end.
    corrector = BlockProSeCo(iterations, 2, placement=Placement(every=1))
    result = repaired(corrector, Oracle())
    right = [6, 5, 3, 2][: 2 * iterations]
    places = torch.arange(LENGTH)
    wanted = torch.where(torch.isin(places, torch.tensor([*right, 4, 7])), CLEAN, 5)
    assert (result.response == wanted).all()
    assert result.price["corrector"].tolist() == [iterations] * 6


def test_earlier_blocks_are_rewritten_too() -> None:
    result = repaired(BlockProSeCo(1), Oracle(), block_length=2)
    assert (result.response == CLEAN).all()
    kept = repaired(Remask(2), Oracle(), block_length=2, max_block_steps=3)
    assert (kept.response[:, :6] == 5).all()


@pytest.mark.parametrize("most", [2, 10])
def test_each_row_pays_until_its_own_fixed_point(most: int) -> None:
    # All is committed in one step, after a correction from the prompt's last token down to 1.
    result = decode(LowConfidence(LENGTH), denoiser=Falling(), block_length=LENGTH,
                    corrector=ProSeCo(most))  # fmt: skip
    last = make_prompts().tokens[:, -1]
    assert result.price["corrector"].tolist() == last.clamp(max=most).tolist()
    assert torch.equal(result.response[:, 0], (last - most).clamp(min=1))


def test_a_text_that_never_agrees_is_given_up() -> None:
    result = repaired(GIDD(patience=2), Flickering())
    assert result.price["corrector"].tolist() == [4] * 6


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("threshold", [0.4, 0.6])
def test_drafting_and_verifying_by_one_threshold_is_the_threshold_rule(
    threshold: float, temperature: float
) -> None:
    policy = ConfidenceThreshold(threshold)
    plain = decode(policy, temperature=temperature)
    found = decode(policy, temperature=temperature, corrector=WINO(threshold))
    assert_same(found, plain)
    forced = decode(ConfidenceThreshold(0.6), denoiser=Hesitant(), block_length=LENGTH)
    kept = decode(ConfidenceThreshold(0.6), denoiser=Hesitant(), block_length=LENGTH,
                  corrector=WINO(0.6))  # fmt: skip
    assert_same(kept, forced)
    assert forced.decisions.tolist() == [3] * 6
    stricter = decode(policy, temperature=temperature, corrector=WINO(0.9))
    assert stricter.log is not None and stricter.log.corrected.any()


def test_drafts_that_fail_come_back_and_each_step_gains_a_token() -> None:
    policy = ConfidenceThreshold(0.6)
    found = decode(policy, torch.tensor([0]), Regretful(), block_length=LENGTH,
                   corrector=WINO(0.9))  # fmt: skip
    # 0 was committed above 0.9, 1 passes, and 2 fails. It is passed over in the step in which it
    # comes back, so that 3 is the best there is; then it is alone, and stays.
    assert found.committed_at.tolist() == [[0, 0, 2, 1, 3, 4, 5, 6]]
    assert found.price["predictor"].tolist() == [7] and "corrector" not in found.price
    assert found.log is not None
    back = found.log.where[found.log.corrected & found.log.where.any(1)]
    assert back.nonzero().tolist() == [[0, 2]]


@pytest.mark.parametrize("name", ["random", "threshold", "learned", "low-confidence"])
def test_a_block_that_is_verified_needs_no_more_steps_than_tokens(name: str) -> None:
    result = decode(POLICIES[name](), corrector=WINO(1.0))
    assert not result.still_masked.any()
    assert int(result.decisions.max()) <= LENGTH


def test_the_least_sure_tokens_come_back_and_are_passed_over_once() -> None:
    ways = {"block_length": LENGTH, "max_block_steps": 30}
    found = decode(LowConfidence(2), torch.tensor([0]), Regretful(), **ways,
                   corrector=Remask(1, placement=Placement(every=2)))  # fmt: skip
    assert found.log is not None
    log = found.log.select(found.log.where.any(1))
    events = zip(log.step.tolist(), log.corrected.tolist(), log.where, strict=True)
    first = [(step, who, where.nonzero()[:, 0].tolist()) for step, who, where in events][:4]
    assert first == [(0, False, [0, 1]), (1, True, [0]), (1, False, [2, 3]), (2, False, [0, 4])]


def test_what_came_back_is_the_least_sure_for_every_rule() -> None:
    reading = Reading(
        torch.ones(1, 3, dtype=torch.int64), torch.tensor([[[0.9], [0.8], [0.3]]]),
        {"entropy": torch.tensor([[0.1, 0.4, 1.2]]), "likelihood": torch.zeros(1, 3)},
    )  # fmt: skip
    view: Any = Start(torch.ones(1, 3, dtype=torch.int64), torch.zeros(1))
    object.__setattr__(view, "mask_id", MASK)
    edit, said = taken_back(view, torch.tensor([[True, False, False]]), reading)
    assert edit.tokens[0, 0] == MASK
    torch.testing.assert_close(said.confidence[0, :, 0], torch.tensor([0.0, 0.8, 0.3]))
    torch.testing.assert_close(said.signals["entropy"], torch.tensor([[1.2, 0.4, 1.2]]))


def test_a_threshold_places_any_corrector() -> None:
    policy: Policy = LowConfidence(1)
    always, never = Placement(below=1.0), Placement(below=1e-6)
    asked = [decode(policy, corrector=ProSeCo(1, placement=one)) for one in (always, never)]
    assert asked[0].price["corrector"].tolist() == [LENGTH - 1] * 6  # nothing stands at first
    assert "corrector" not in asked[1].price


def test_taking_back_without_a_bound_is_refused() -> None:
    words = r"Remask takes tokens back again and again.*set decoding\.max_block_steps"
    with pytest.raises(ValueError, match=words):
        Decoding(8, 4, corrector=Remask())
    Decoding(8, 4, corrector=WINO())


@pytest.mark.parametrize(("wrong", "words"), [
    (lambda: Remask(0), "count=0"), (lambda: WINO(1.5), "verify=1.5"),
    (lambda: ProSeCo(0), "iterations=0"), (lambda: GIDD(0), "changes=0"),
    (lambda: ProSeCo(changes=0), "changes=0"),
    (lambda: Placement(0), "every=0"), (lambda: Placement(below=0.0), "below=0.0"),
])  # fmt: skip
def test_numbers_out_of_range_are_refused(wrong: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wrong()


def test_placements_are_among_the_settings_of_a_run() -> None:
    settings = [
        str(Decoding(8, 4, corrector=WINO(placement=one)).trajectory_settings())
        for one in (Placement(), Placement(2), Placement(below=0.5), Placement(end=True))
    ]
    assert len(set(settings)) == 4


def test_a_finished_text_is_corrected_before_listeners_hear_of_it() -> None:
    heard: list[Tensor] = []
    ways = Decoding(LENGTH, 4, corrector=GIDD(), scheduling=Scheduling(max_rows=2))
    result = rollout(Oracle(), LowConfidence(1), make_prompts(), ways, Noise(SEED, NUMBERS),
                     listener=lambda one: heard.append(one.response[one.finished]))  # fmt: skip
    assert all((text == CLEAN).all() for text in heard)
    assert result.ledger.charged == int(result.nfe.sum())
