"""Approximate decoding does what it says, row by row, and nothing unless it is asked for."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_rows import SlowRow
from toy_rollouts import LENGTH, POLICIES, SEED, VOCABULARY, ToyDenoiser, decode, make_prompts

from lit_unmask.denoisers.running.cache import KeyValues
from lit_unmask.policies import ConfidenceThreshold, LeftToRight, LowConfidence
from lit_unmask.rollout import Approximate, Decoding, Ledger, Noise, Scheduling, rollout
from lit_unmask.rollout.history import ended
from lit_unmask.types import Prompt

NO_REMEDY = Scheduling(skip=False, share=False, lookahead=1, call_tokens=None)
FAMILIES = ["tiny_llada", "tiny_dream"]


@pytest.fixture(scope="module", params=FAMILIES)
def denoiser(request):
    """Each family in float64, where the shape of a batch hardly flips a comparison."""
    result = copy.deepcopy(request.getfixturevalue(request.param)).double()
    result.end_ids = tuple(range(10, result.vocab_size, 3))  # so that rows stop
    return result


@st.composite
def batches(draw):
    """Draw ragged prompts, some of them alike, and a rollout number for each row."""
    kinds = draw(
        st.lists(st.lists(st.integers(5, 40), min_size=1, max_size=5), min_size=1, max_size=3)
    )
    rows = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5))
    width = max(len(row) for row in rows)
    tokens, attention = torch.full((len(rows), width), 3), torch.zeros(len(rows), width).bool()
    for index, row in enumerate(rows):
        tokens[index, width - len(row) :] = torch.tensor(row)
        attention[index, width - len(row) :] = True
    numbers = draw(st.lists(st.integers(0, 2**60), min_size=len(rows), max_size=len(rows)))
    return Prompt(tokens, attention), Noise(draw(st.integers(0, 2**32)), torch.tensor(numbers))


decodings = st.builds(
    Decoding,
    gen_length=st.just(LENGTH),
    block_length=st.sampled_from([1, 2, 4]),
    temperature=st.sampled_from([0.0, 0.0, 0.7]),
    on_empty=st.sampled_from(["force", "wait"]),
    scheduling=st.builds(
        Scheduling,
        skip=st.booleans(),
        share=st.booleans(),
        lookahead=st.integers(1, 6),
        max_rows=st.none() | st.integers(1, 4),
        call_tokens=st.none() | st.integers(0, 40),
    ),
    approximate=st.builds(
        Approximate, cache=st.sampled_from(["prefix", "dual"]), early_stop=st.booleans()
    ),
)


@pytest.mark.parametrize("name", ["learned", "threshold", "entropy-bound", "random"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(batch=batches(), decoding=decodings)
@torch.no_grad()
def test_every_row_is_that_of_a_slow_loop_whatever_its_company(denoiser, name, batch, decoding):
    policy, (prompt, noise) = POLICIES[name](), batch
    result = rollout(denoiser, policy, prompt, decoding, noise, record=True)
    for row in range(len(prompt)):
        alone = prompt.select(torch.tensor([row])).trim()
        key = noise.seed, int(noise.rollout[row])
        slow = SlowRow(denoiser, policy, alone, decoding, key).run()
        assert result.response[row].tolist() == slow.response[0].tolist()
        assert result.committed_at[row].tolist() == slow.committed_at[0].tolist()
        assert result.nfe[row] == slow.step
        mine = (result.steps.rollout == row).nonzero()[:, 0]
        mine = mine[result.steps.index[mine].argsort()]
        assert result.steps.chosen[mine].tolist() == slow.actions
        torch.testing.assert_close(
            result.steps.observation.confidence[mine],
            torch.stack(slow.confidences),
            atol=1e-5,
            rtol=0,
        )
    check_ledger(result, decoding)


def check_ledger(result, decoding):
    ledger = result.ledger
    assert ledger.charged == result.nfe.sum()
    assert ledger.computed + ledger.skipped + ledger.shared == ledger.charged
    assert ledger.full + ledger.partial == ledger.computed and ledger.full >= 1
    assert 0 <= ledger.partial_tokens <= ledger.tokens - ledger.padded_tokens
    if not decoding.scheduling.skip:
        assert ledger.skipped == 0


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_the_ledger_tells_full_forwards_from_partial_ones(denoiser, cache):
    prompt = Prompt(torch.arange(5, 11).view(2, 3), torch.tensor([[0, 1, 1], [1, 1, 1]]).bool())
    decoding = Decoding(LENGTH, 4, approximate=Approximate(cache))
    noise = Noise(SEED, torch.arange(2))
    result = rollout(denoiser, LowConfidence(1), prompt, decoding, noise)
    # Two blocks of four steps each, the first of which is full; prompts of 2 and 3 tokens.
    width, shift = {"dual": 4 + 4, "prefix": 8 + 4}[cache], int(denoiser.shift)
    partial = 2 * 3 * (width + 2 * shift)
    ledger = result.ledger
    assert (ledger.charged, ledger.full, ledger.partial, ledger.skipped) == (16, 4, 12, 0)
    assert (ledger.partial_tokens, ledger.tokens) == (partial, partial + 4 * (3 + LENGTH))
    assert (ledger.padded_tokens, ledger.saved_ratio) == (2, 1)
    assert ledger.useful_share == 1 - 2 / ledger.tokens
    exact = rollout(denoiser, LowConfidence(1), prompt, Decoding(LENGTH, 4), noise).ledger
    assert (exact.partial, exact.partial_tokens, exact.full) == (0, 0, 16)
    assert (ledger + exact).partial == 12 and (ledger + exact).full == 20


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_rows_that_never_part_share_forwards_and_slots(denoiser, cache, monkeypatch):
    group = Prompt(torch.arange(5, 9)[None], torch.ones(1, 4).bool()).repeat(4)
    decoding = Decoding(LENGTH, 4, approximate=Approximate(cache))
    slots = slots_used(monkeypatch)
    noise = Noise(SEED, torch.arange(4))
    ledger = rollout(denoiser, LowConfidence(2), group, decoding, noise).ledger
    assert (ledger.charged, ledger.full, ledger.partial, ledger.shared) == (4 * 4, 2, 2, 12)
    assert max(slots) <= 4


def slots_used(monkeypatch):
    """Return a list that every write to a cache adds its number of slots to."""
    slots, write = [], KeyValues.write

    def watched(self, layer, *arguments):
        slots.append(self.slots)
        write(self, layer, *arguments)

    monkeypatch.setattr(KeyValues, "write", watched)
    return slots


def test_rows_that_wait_in_the_queue_hold_no_slots(denoiser, monkeypatch):
    prompt = Prompt(torch.arange(5, 25).view(10, 2), torch.ones(10, 2).bool())
    decoding = Decoding(
        LENGTH, 2, scheduling=Scheduling(max_rows=3), approximate=Approximate("dual")
    )
    slots = slots_used(monkeypatch)
    policy = ConfidenceThreshold(0.2)
    rollout(denoiser, policy, prompt, decoding, Noise(SEED, torch.arange(10)))
    assert max(slots) == 3


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_rows_in_different_blocks_are_in_one_call_where_spans_are_alike(denoiser, cache):
    starts = []

    def watch(module, asked, options, output):
        if options["kept"].span is not None:
            starts.append(len(options["kept"].span.start.unique()))

    prompt = Prompt(torch.arange(5, 25).view(10, 2), torch.ones(10, 2).bool())
    decoding = Decoding(LENGTH, 2, on_empty="wait", approximate=Approximate(cache))
    handle = denoiser.register_forward_hook(watch, with_kwargs=True)
    policy, noise = POLICIES["learned"](0.0), Noise(SEED, torch.arange(10))
    rollout(denoiser, policy, prompt, decoding, noise)
    handle.remove()
    assert max(starts) > 1 if cache == "dual" else set(starts) == {1}


def test_a_block_without_a_commit_keeps_its_full_forward(denoiser):
    class Never(type(LowConfidence(1))):
        def forward(self, observation):
            nobody = replace(observation, eligible=torch.zeros_like(observation.eligible))
            return super().forward(nobody)

    prompt = Prompt(torch.arange(5, 8)[None], torch.ones(1, 3).bool())
    decoding = Decoding(LENGTH, 2, on_empty="wait", approximate=Approximate("dual"))
    result = rollout(denoiser, Never(1), prompt, decoding, Noise(SEED, torch.arange(1)))
    assert result.still_masked.all() and result.nfe.tolist() == [LENGTH]
    assert (result.ledger.full, result.ledger.partial) == (1, 0)


def test_nothing_is_approximate_unless_asked_for():
    assert Decoding().approximate == Approximate() == Approximate("none", early_stop=False)

    class Strict(ToyDenoiser):
        def forward(self, *asked, **options):
            assert len(asked) <= 5 and not options
            return super().forward(*asked)

    prompt, noise = make_prompts(), Noise(SEED, torch.arange(6))
    result = rollout(Strict(), LowConfidence(2), prompt, Decoding(LENGTH, 4), noise)
    assert result.ledger.partial == result.ledger.partial_tokens == 0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cache": "double"}, ["cache='double'", "'none', 'prefix' or 'dual'"]),
        ({"cache": "None"}, ["cache='None'"]),
    ],
)
def test_an_unknown_cache_is_refused_with_the_remedy(values, said):
    with pytest.raises(ValueError) as error:
        Approximate(**values)
    assert all(part in str(error.value) for part in said)


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_cache_of_one_block_is_refused_with_the_remedy(cache):
    with pytest.raises(ValueError) as error:
        Decoding(64, 64, approximate=Approximate(cache))
    for part in (f"cache={cache!r}", "block_length=64", "smaller block_length", "'none'"):
        assert part in str(error.value)
    Decoding(64, 32, approximate=Approximate(cache))
    Decoding(64, 64, approximate=Approximate(early_stop=True))


class EndingToy(ToyDenoiser):
    """A toy of which two tokens end a response."""

    end_ids = (2, 5)


def end_place(response, mask):
    """Return where the first end token is, or None if there is none, or a mask before it."""
    for place, token in enumerate(response):
        if token == mask:
            return None
        if token in EndingToy.end_ids:
            return place
    return None


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6))
def test_a_row_has_ended_once_nothing_is_left_before_its_first_end_token(row):
    stop, end = ended(torch.tensor([row]), EndingToy.mask_id, torch.tensor(EndingToy.end_ids))
    place = end_place(row, EndingToy.mask_id)
    assert bool(stop) == (place is not None)
    if place is not None:
        assert int(end) == row[place]


@pytest.mark.parametrize("scheduling", [Scheduling(), NO_REMEDY])
def test_an_early_stop_is_the_same_trajectory_cut_short(policy, decoding, scheduling):
    prompt, noise = make_prompts().repeat(4), Noise(SEED, torch.arange(24))
    decoding = replace(decoding, scheduling=scheduling)
    early = replace(decoding, approximate=Approximate(early_stop=True))
    whole = rollout(EndingToy(), policy, prompt, decoding, noise, record=True)
    short = rollout(EndingToy(), policy, prompt, early, noise, record=True)
    mask, saved = EndingToy.mask_id, 0
    for row in range(24):
        for step in range(int(whole.nfe[row])):
            by_now = (whole.committed_at[row] >= 0) & (whole.committed_at[row] <= step)
            buffer = whole.response[row].where(by_now, torch.tensor(mask)).tolist()
            place = end_place(buffer, mask)
            if place is not None:
                filled = [buffer[place] if token == mask else token for token in buffer]
                assert short.nfe[row] == step + 1
                assert short.response[row].tolist() == filled
                committed = whole.committed_at[row].where(by_now, torch.tensor(-1))
                assert torch.equal(short.committed_at[row], committed)
                assert not short.still_masked[row]
                saved += int(whole.nfe[row]) - step - 1
                break
        else:
            assert torch.equal(short.response[row], whole.response[row])
            assert short.nfe[row] == whole.nfe[row]
    assert len(short.steps) == short.nfe.sum()
    assert saved == whole.ledger.charged - short.ledger.charged


def test_an_early_stop_spares_the_forwards_after_the_end():
    prompt, noise = make_prompts(), Noise(SEED, torch.arange(6))
    whole = Decoding(LENGTH, 2)
    early = replace(whole, approximate=Approximate(early_stop=True))
    results = [rollout(EndingToy(), LeftToRight(1), prompt, d, noise) for d in (whole, early)]
    assert results[1].nfe.sum() < results[0].nfe.sum()
    assert results[1].ledger.computed < results[0].ledger.computed


def test_a_ledger_without_a_cache_has_only_full_forwards():
    ledger = decode(LowConfidence(2), Decoding(LENGTH, 4)).ledger
    assert ledger.full == ledger.computed > 0
    assert Ledger().full == 0
