"""What holds of any corrector and any resampler, shown by the smallest ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_unmask.evaluation.fingerprints import decoding_fields
from lit_unmask.policies import Policy
from lit_unmask.rollout import Approximate, Decoding, Scheduling
from tests.toy_rollouts import (
    LENGTH,
    MASK,
    NUMBERS,
    POLICIES,
)
from tests.toy_systems import (
    SCHEDULES,
    Doubt,
    Even,
    Everywhere,
    Likely,
    Nothing,
    Restore,
    Takeover,
    assert_same,
    decode,
)


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
    for row, step, where, tokens, corrected, *_ in zip(*vars(log).values(), strict=True):
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
