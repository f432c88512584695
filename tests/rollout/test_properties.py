"""Whatever the remedies, limits and company of a row, its trajectory is that of a slow loop."""

import copy
from dataclasses import replace

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_rollouts import LENGTH, POLICIES, VOCABULARY, ToyDenoiser

from lit_unmask.rollout import Decoding, Noise, Scheduling, rollout
from lit_unmask.types import Prompt

NO_REMEDY = Scheduling(skip=False, share=False, lookahead=1, call_tokens=None)

schedulings = st.builds(
    Scheduling,
    skip=st.booleans(),
    share=st.booleans(),
    lookahead=st.integers(1, 10),
    max_rows=st.none() | st.integers(1, 7),
    max_tokens=st.none() | st.integers(1, 80),
    call_tokens=st.none() | st.integers(0, 40),
    deterministic=st.booleans(),
    static_rows=st.integers(1, 4),
    static_tokens=st.integers(1, 6),
)
decodings = st.builds(
    Decoding,
    gen_length=st.just(LENGTH),
    block_length=st.sampled_from([1, 2, 4, 8]),
    temperature=st.sampled_from([0.0, 0.7]),
    on_empty=st.sampled_from(["force", "wait"]),
)


@st.composite
def batches(draw):
    """Draw ragged prompts, some of them alike, and a rollout number for each row."""
    kinds = draw(st.lists(st.lists(st.integers(1, VOCABULARY - 1), max_size=5), min_size=1))
    rows = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=7))
    width = max(len(row) for row in rows)
    tokens, attention = torch.full((len(rows), width), 3), torch.zeros(len(rows), width).bool()
    for index, row in enumerate(rows):
        if row:
            tokens[index, width - len(row) :] = torch.tensor(row)
            attention[index, width - len(row) :] = True
    numbers = draw(st.lists(st.integers(0, 2**60), min_size=len(rows), max_size=len(rows)))
    return Prompt(tokens, attention), Noise(draw(st.integers(0, 2**32)), torch.tensor(numbers))


def trajectory(result):
    """Return everything that a rollout reports, steps in a common order."""
    order = (result.steps.rollout * 1000 + result.steps.index).argsort()
    return (
        result.response.tolist(),
        result.nfe.tolist(),
        result.committed_at.tolist(),
        result.still_masked.tolist(),
        [getattr(result.steps, name)[order].tolist() for name in ("rollout", "index", "action")],
        [
            getattr(result.steps.observation, name)[order].tolist()
            for name in ("masked", "eligible", "confidence", "time")
        ],
    )


@pytest.mark.parametrize("name", POLICIES)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(batch=batches(), decoding=decodings, scheduling=schedulings)
@torch.no_grad()
def test_remedies_change_no_trajectory(name, batch, decoding, scheduling):
    policy, (prompt, noise) = POLICIES[name](), batch
    plain = replace(decoding, scheduling=NO_REMEDY)
    expected = rollout(ToyDenoiser(), policy, prompt, plain, noise, record=True)
    assert expected.ledger.computed == expected.ledger.charged
    fast = replace(decoding, scheduling=scheduling)
    result = rollout(ToyDenoiser(), policy, prompt, fast, noise, record=True)
    assert trajectory(result) == trajectory(expected)
    assert result.ledger.charged == expected.ledger.charged
    assert result.ledger.computed - result.ledger.blank <= expected.ledger.computed


@settings(max_examples=30, deadline=None, derandomize=True)
@given(batch=batches(), decoding=decodings, scheduling=schedulings, bias=st.floats(-4, 1))
@torch.no_grad()
def test_a_row_in_any_company_equals_a_slow_loop(batch, decoding, scheduling, bias):
    prompt, noise = batch
    policy = POLICIES["learned"](bias)
    fast = replace(decoding, scheduling=scheduling)
    result = rollout(ToyDenoiser(), policy, prompt, fast, noise, record=True)
    row = len(prompt) // 2
    alone = prompt.select(torch.tensor([row])).trim()
    number = int(noise.rollout[row])
    slow = oracles.decode_row(ToyDenoiser(), policy, alone, decoding, noise.seed, number)
    assert result.response[row].tolist() == slow["response"]
    assert result.committed_at[row].tolist() == slow["committed_at"]
    mine = (result.steps.rollout == row).nonzero()[:, 0]
    mine = mine[result.steps.index[mine].argsort()]
    assert result.steps.chosen[mine].tolist() == slow["actions"]


@pytest.mark.parametrize("split", [1, 3, 4])
def test_a_batch_split_anywhere_gives_the_same_rows(split):
    prompt = Prompt(torch.randint(1, 7, (5, 3)), torch.ones(5, 3).bool())
    noise, decoding = Noise(1, torch.arange(5)), Decoding(LENGTH, 4, on_empty="wait")
    policy = POLICIES["learned"]()
    whole = rollout(ToyDenoiser(), policy, prompt, decoding, noise)
    parts = [
        rollout(ToyDenoiser(), policy, prompt.select(r), decoding, Noise(1, noise.rollout[r]))
        for r in torch.arange(5).split([split, 5 - split])
    ]
    for field in ("response", "nfe", "committed_at", "still_masked"):
        joined = torch.cat([getattr(part, field) for part in parts])
        assert torch.equal(joined, getattr(whole, field))


@torch.no_grad()
def test_padding_and_buckets_change_no_trajectory_of_a_real_network(tiny_llada):
    # In float64 the shape of a batch cannot flip a comparison.
    denoiser = copy.deepcopy(tiny_llada).double()
    lengths = [2, 9, 9, 4, 2, 7]
    tokens, attention = torch.randint(5, 20, (6, 9)), torch.zeros(6, 9).bool()
    for row, length in enumerate(lengths):
        attention[row, 9 - length :] = True
    prompt, noise = Prompt(tokens, attention), Noise(3, torch.arange(6))
    results = [
        rollout(
            denoiser,
            POLICIES["threshold"](),
            prompt,
            Decoding(16, 8, scheduling=Scheduling(call_tokens=call_tokens, max_rows=max_rows)),
            noise,
        )
        for call_tokens, max_rows in ((None, None), (0, None), (30, 4))
    ]
    assert results[0].ledger.padded_tokens > results[1].ledger.padded_tokens == 0
    for result in results[1:]:
        assert torch.equal(result.response, results[0].response)
        assert torch.equal(result.committed_at, results[0].committed_at)


def test_looking_ahead_asks_the_policy_in_fewer_batches():
    calls = []

    class Counting(torch.nn.Module):
        takes_back = corrects = False

        def __init__(self):
            super().__init__()
            self.inner = POLICIES["learned"](-4.0)
            self.signals = self.inner.signals

        def forward(self, observation):
            calls.append(len(observation))
            return self.inner(observation)

    prompt, noise = Prompt(torch.ones(3, 2).long(), torch.ones(3, 2).bool()), torch.arange(3)
    counts = []
    for lookahead in (1, 8):
        calls.clear()
        decoding = Decoding(
            LENGTH, LENGTH, on_empty="wait", scheduling=Scheduling(lookahead=lookahead)
        )
        ledger = rollout(ToyDenoiser(), Counting(), prompt, decoding, Noise(0, noise)).ledger
        assert ledger.policy_rows == sum(calls) >= ledger.charged
        counts.append((len(calls), ledger.charged))
    assert counts[1][0] < counts[0][0] and counts[0][1] == counts[1][1]
