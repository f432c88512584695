"""What a rollout says about itself: its ledger, its recorded steps and its progress."""

import oracles
import pytest
import torch
from toy_rollouts import LENGTH, SEED, VOCABULARY, ToyDenoiser, decode, learned, make_prompts

from lit_unmask.policies import ConfidenceThreshold, LowConfidence, Random
from lit_unmask.rollout import Decoding, Noise, Scheduling, rollout
from lit_unmask.types import Signals


def test_every_charged_step_is_computed_skipped_or_shared(policy, decoding):
    ledger = (result := decode(policy, decoding)).ledger
    assert ledger.charged == result.nfe.sum()
    assert ledger.computed + ledger.skipped + ledger.shared == ledger.charged
    if decoding.temperature > 0:
        assert ledger.shared == 0


def test_a_row_that_waits_is_not_computed_again():
    result = decode(
        learned(),
        Decoding(LENGTH, LENGTH, on_empty="wait", scheduling=Scheduling(share=False, max_rows=1)),
        record=True,
    )
    steps = result.steps
    changed = [
        bool(steps.chosen[(steps.rollout == row) & (steps.index == index)].any())
        for row in range(6)
        for index in range(int(result.nfe[row]) - 1)
    ]
    assert not all(changed)
    assert result.ledger.computed == 6 + sum(changed)
    assert result.ledger.skipped == len(changed) - sum(changed)


def test_identical_prompts_share_their_first_forward_and_stay_exact():
    group = make_prompts().select(torch.tensor([1])).repeat(4)
    noise = Noise(SEED, torch.arange(4))
    decoding = Decoding(LENGTH, LENGTH)
    result = rollout(ToyDenoiser(), Random(2), group, decoding, noise)
    assert result.ledger.shared >= 3
    for row in range(4):
        one = group.select(torch.tensor([0]))
        slow = oracles.decode_row(ToyDenoiser(), Random(2), one, decoding, SEED, row)
        assert result.response[row].tolist() == slow["response"]
        assert result.committed_at[row].tolist() == slow["committed_at"]


@pytest.mark.parametrize("max_rows", [1, 2, 3, None])
def test_rows_in_the_queue_share_the_first_forward_of_their_group(max_rows):
    group = make_prompts().select(torch.tensor([1, 2])).repeat(4)
    decoding = Decoding(LENGTH, LENGTH, scheduling=Scheduling(max_rows=max_rows))
    alone = Decoding(LENGTH, LENGTH, scheduling=Scheduling(share=False, max_rows=max_rows))
    noise = Noise(SEED, torch.arange(8))
    shared, single = (rollout(ToyDenoiser(), Random(1), group, d, noise) for d in (decoding, alone))
    assert torch.equal(shared.committed_at, single.committed_at)
    assert torch.equal(shared.response, single.response)
    assert shared.ledger.shared >= 6
    assert shared.ledger.computed + shared.ledger.shared == single.ledger.computed


def test_rows_that_never_part_cost_one_row():
    group = make_prompts().select(torch.tensor([1])).repeat(4)
    noise = Noise(SEED, torch.arange(4))
    ledger = rollout(ToyDenoiser(), LowConfidence(2), group, Decoding(LENGTH, LENGTH), noise).ledger
    assert (ledger.charged, ledger.computed, ledger.shared) == (4 * 4, 4, 3 * 4)
    assert ledger.saved_ratio == 4
    assert ledger.tokens == 4 * (3 + LENGTH) and ledger.padded_tokens == 0


def test_the_ledger_counts_padding_of_the_rows_that_run():
    ledger = decode(LowConfidence(LENGTH), Decoding(LENGTH, LENGTH), [0, 3, 5]).ledger
    assert (ledger.calls, ledger.computed, ledger.padded_tokens) == (1, 3, 3)
    assert ledger.tokens == 3 * (3 + LENGTH)
    # On its own the short prompt carries no padding.
    assert decode(LowConfidence(LENGTH), Decoding(LENGTH, LENGTH), [0]).ledger.padded_tokens == 0


def test_recorded_steps_replay_to_the_same_log_probabilities(policy, decoding):
    result = decode(policy, decoding, record=True)
    steps = result.steps
    assert len(steps) == result.nfe.sum()
    with torch.no_grad():
        replayed = policy(steps.observation).log_prob(steps.action)
    torch.testing.assert_close(replayed, steps.log_prob, atol=1e-5, rtol=0)
    assert steps.log_prob.isfinite().all()
    assert not (steps.chosen & ~steps.observation.eligible).any()
    assert not (steps.observation.eligible & ~steps.observation.masked).any()


def test_recorded_steps_tell_where_each_row_stood(policy, decoding):
    result = decode(policy, decoding, record=True)
    steps = result.steps
    for row in range(6):
        mine = steps.rollout == row
        assert sorted(steps.index[mine].tolist()) == list(range(int(result.nfe[row])))
    torch.testing.assert_close(steps.observation.time, steps.index / LENGTH)
    committed = result.committed_at[steps.rollout]
    assert torch.equal(
        steps.observation.masked, (committed < 0) | (committed >= steps.index[:, None])
    )
    opened = committed == steps.index[:, None]
    assert torch.equal(steps.chosen & opened, steps.chosen)
    if decoding.on_empty == "wait":
        assert torch.equal(steps.chosen, opened)


def test_a_forced_position_is_not_part_of_the_recorded_action():
    result = decode(learned(), Decoding(LENGTH, LENGTH // 4), record=True)
    empty = ~result.steps.chosen.any(1)
    assert empty.any() and not empty.all()
    opened = result.committed_at[result.steps.rollout] == result.steps.index[:, None]
    assert (opened[empty].sum(1) == 1).all()


def test_hidden_states_are_observed_if_the_policy_asks_for_them():
    policy = LowConfidence(3)
    assert not decode(policy, Decoding(LENGTH, LENGTH), record=True).steps.observation.signals
    policy.signals = Signals(3, {"hidden"})
    steps = decode(policy, Decoding(LENGTH, LENGTH), record=True).steps
    assert steps.observation.signals["hidden"].shape == (len(steps), LENGTH, VOCABULARY - 1)
    assert steps.observation.confidence.shape == (len(steps), LENGTH, 3)


def test_nothing_is_recorded_unless_asked():
    assert decode(LowConfidence(3), Decoding(LENGTH, LENGTH)).steps is None


@pytest.mark.parametrize("max_rows", [None, 2])
def test_a_listener_sees_the_rows_finish(max_rows):
    heard = []
    decoding = Decoding(LENGTH, LENGTH, scheduling=Scheduling(max_rows=max_rows))
    result = decode(ConfidenceThreshold(0.5), decoding, listener=heard.append)
    left = [progress.rows_left for progress in heard]
    assert left == sorted(left, reverse=True) and left[-1] == 0 and left[0] > 0
    assert {progress.rows for progress in heard} == {6}
    assert heard[-1].nfe == result.nfe.sum()
