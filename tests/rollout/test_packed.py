"""Packed rows: the trajectory of each is that of the row alone, and no padding is computed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_rollouts import POLICIES

from lit_unmask.denoisers import Dream, LLaDA, Qwen3Diffusion
from lit_unmask.rollout import Approximate, Decoding, Noise, Scheduling, rollout
from lit_unmask.types import Prompt
from tests.denoisers.conftest import SHAPE, fill_with_sines, make_tokenizer

LENGTH = 8
ALONE = Scheduling(skip=False, share=False, lookahead=1)


@pytest.fixture(scope="module")
def denoisers(tmp_path_factory):
    """Return small ones of all kinds, in float64, where a batch's shape flips no comparison."""
    found = []
    for family in (LLaDA, Dream, Qwen3Diffusion):
        folder, network = tmp_path_factory.mktemp(family.__name__), family.initialise(SHAPE)
        fill_with_sines(network)
        family.save(network, make_tokenizer(), folder)
        found.append(family(str(folder)).double())
    return found


@st.composite
def batches(draw):
    """Draw ragged prompts, some of them alike."""
    kinds = st.lists(st.lists(st.integers(5, 20), min_size=1, max_size=12), min_size=2, max_size=3)
    rows = draw(st.lists(st.sampled_from(draw(kinds)), min_size=2, max_size=4))
    width = max(len(row) for row in rows)
    tokens = torch.tensor([[3] * (width - len(row)) + row for row in rows])
    sizes = torch.tensor([len(row) for row in rows])
    return Prompt(tokens, torch.arange(width) >= width - sizes[:, None])


def trajectory(result, row):
    order = (result.steps.rollout == row).nonzero()[:, 0]
    order = order[result.steps.index[order].argsort()]
    kept = [getattr(result.steps, name)[order].tolist() for name in ("index", "action", "chosen")]
    return result.response[row].tolist(), result.committed_at[row].tolist(), kept


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    batch=batches(),
    kind=st.integers(0, 2),
    decoding=st.builds(
        Decoding,
        gen_length=st.just(LENGTH),
        block_length=st.sampled_from([2, 8]),
        temperature=st.sampled_from([0.0, 0.7]),
        on_empty=st.sampled_from(["force", "wait"]),
        scheduling=st.builds(
            Scheduling,
            skip=st.booleans(),
            share=st.booleans(),
            max_rows=st.none() | st.integers(1, 4),
            packed=st.just(True),
        ),
    ),
    bias=st.sampled_from([-1.0, 0.0]),
)
@torch.no_grad()
def test_packing_changes_no_trajectory(denoisers, batch, kind, decoding, bias):
    denoiser, policy = denoisers[kind], POLICIES["learned"](bias)
    numbers = torch.arange(len(batch)) * 11
    found = rollout(denoiser, policy, batch, decoding, Noise(2, numbers), record=True)
    assert found.ledger.padded_tokens == 0
    plain = Decoding(LENGTH, decoding.block_length, decoding.temperature, decoding.on_empty, ALONE)
    row = len(batch) // 2
    prompt = batch.select(torch.tensor([row])).trim()
    one = rollout(denoiser, policy, prompt, plain, Noise(2, numbers[row : row + 1]), record=True)
    assert trajectory(found, row) == trajectory(one, 0)


def test_the_ledger_counts_the_tokens_that_went_through(denoisers):
    lengths = torch.tensor([2, 9, 9, 4])
    prompt = Prompt(torch.randint(5, 20, (4, 9)), torch.arange(9) >= 9 - lengths[:, None])
    noise = Noise(1, torch.arange(4))
    ledgers = {}
    for packed in (False, True):
        scheduling = Scheduling(skip=False, share=False, call_tokens=None, packed=packed)
        decoding = Decoding(LENGTH, LENGTH, scheduling=scheduling)
        policy = POLICIES["low-confidence"]()
        ledgers[packed] = rollout(denoisers[0], policy, prompt, decoding, noise).ledger
    assert ledgers[True].calls == ledgers[False].calls == LENGTH
    assert ledgers[True].tokens == LENGTH * (int(lengths.sum()) + 4 * LENGTH)
    assert ledgers[False].tokens - ledgers[False].padded_tokens == ledgers[True].tokens
    assert ledgers[True].useful_share == 1 > ledgers[False].useful_share


def test_packed_calls_have_neither_fixed_shapes_nor_a_cache():
    with pytest.raises(ValueError, match="deterministic=True fixes their shapes; choose one"):
        Scheduling(packed=True, deterministic=True)
    with pytest.raises(ValueError, match="does not find them; choose one"):
        Decoding(16, 8, scheduling=Scheduling(packed=True), approximate=Approximate("dual"))
