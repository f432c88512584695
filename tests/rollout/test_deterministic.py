"""Calls of fixed shapes: the same bits in float32, whatever else is decoded."""

import copy
from dataclasses import replace

import pytest
import torch
from toy_rollouts import LENGTH, NUMBERS, SEED, ToyDenoiser, learned, make_prompts

from lit_unmask.denoisers import LLaDA
from lit_unmask.denoisers.running.memory import RowLimit
from lit_unmask.denoisers.running.reduction import even_chunk
from lit_unmask.evaluation.decode import encode_groups, rollout_numbers
from lit_unmask.policies import ConfidenceThreshold
from lit_unmask.rollout import Approximate, Decoding, Noise, Scheduling, rollout
from lit_unmask.tasks import ShoppingSums
from lit_unmask.types import Signals

STATIC = Scheduling(deterministic=True, static_rows=4, static_tokens=16)
# How many rows are decoded at a time; backwards if negative.
SPLITS = {"one by one": 1, "three at a time": 3, "reversed": -9}
REMEDIES = {
    "nothing saved": {"skip": False, "share": False, "lookahead": 1},
    "few rows at a time": {"max_rows": 2, "lookahead": 3},
    "few tokens at a time": {"max_tokens": 150},
}


@pytest.fixture(scope="module")
def problems():
    return list(ShoppingSums("test", 5, seed=2))[1:]


@pytest.fixture(scope="module")
def denoiser():
    """The bundled denoiser; its logits do not fit into one chunk."""
    return LLaDA("tiny-llada", max_logits=145 * 40)


def decode(denoiser, problems, decoding, split=9):
    """Return for each of nine rows what was decoded and recorded, to the last bit."""
    prompt = encode_groups(denoiser, problems, 2).select(torch.arange(9) % 8)
    numbers = rollout_numbers(problems, 3)[:9]
    order = torch.arange(9) if split > 0 else torch.arange(9).flip(0)
    found = {}
    for rows in order.split(abs(split)):
        noise = Noise(3, numbers[rows])
        result = rollout(denoiser, learned(-1.0), prompt.select(rows), decoding, noise, record=True)
        for place, row in enumerate(rows.tolist()):
            mine = (result.steps.rollout == place).nonzero()[:, 0]
            steps = result.steps.select(mine[result.steps.index[mine].argsort()])
            found[row] = [
                *(value[place] for value in (result.response, result.nfe, result.committed_at)),
                *(steps.observation.confidence, steps.log_prob, steps.action),
            ]
    return [found[row] for row in range(9)]


def assert_same_bits(found, whole, name):
    for one, two in zip(whole, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True)), name


def test_the_company_of_a_row_changes_not_one_bit(denoiser, problems):
    decoding = Decoding(16, 16, 0.0, "wait", STATIC)
    whole = decode(denoiser, problems, decoding)
    for name, split in SPLITS.items():
        assert_same_bits(decode(denoiser, problems, decoding, split), whole, name)


def test_remedies_change_not_one_bit(denoiser, problems):
    decoding = Decoding(16, 8, 0.5, "wait", STATIC)
    whole = decode(denoiser, problems, decoding)
    for name, remedy in REMEDIES.items():
        other = replace(decoding, scheduling=replace(STATIC, **remedy))
        assert_same_bits(decode(denoiser, problems, other), whole, name)


def test_every_call_has_one_of_a_few_shapes_and_the_ledger_counts_what_that_costs():
    class Shapes(ToyDenoiser):
        def __init__(self):
            super().__init__()
            self.seen = []

        def forward(self, prompt, response, *rest):
            self.seen.append((tuple(prompt.tokens.shape), tuple(response.shape)))
            assert not prompt.attention[:, 0].any()
            return super().forward(prompt, response, *rest)

    scheduling = Scheduling(deterministic=True, static_rows=4, static_tokens=2)
    decoding = Decoding(LENGTH, LENGTH, scheduling=scheduling)
    denoiser, noise = Shapes(), Noise(SEED, NUMBERS)
    ledger = rollout(denoiser, ConfidenceThreshold(0.5), make_prompts(), decoding, noise).ledger
    # Prompts of one token are padded to two, those of two and three tokens to four.
    assert set(denoiser.seen) == {((4, 2), (4, LENGTH)), ((4, 4), (4, LENGTH))}
    assert ledger.computed == 4 * ledger.calls == 4 * len(denoiser.seen)
    assert ledger.computed - ledger.blank + ledger.skipped + ledger.shared == ledger.charged
    assert ledger.blank > 0 and ledger.policy_rows % 4 == 0
    assert ledger.tokens == sum(4 * (shape[1] + LENGTH) for shape, _ in denoiser.seen)
    needed = rollout(
        ToyDenoiser(), ConfidenceThreshold(0.5), make_prompts(), Decoding(LENGTH, LENGTH), noise
    ).ledger
    assert needed.computed == ledger.computed - ledger.blank and needed.blank == 0
    useful = needed.tokens - needed.padded_tokens
    assert ledger.tokens - ledger.padded_tokens == useful


def test_numbers_differ_from_those_of_other_shapes_by_rounding_alone(tiny_dream, problems):
    double = copy.deepcopy(tiny_dream).double()
    decodings = [Decoding(16, 8, on_empty="wait", scheduling=s) for s in (STATIC, Scheduling())]
    one, two = (decode(double, problems, decoding) for decoding in decodings)
    for first, second in zip(one, two, strict=True):
        assert torch.equal(first[0], second[0]) and torch.equal(first[2], second[2])
        torch.testing.assert_close(first[3], second[3])


def test_a_call_that_does_not_fit_into_memory_is_an_error_with_the_remedy(monkeypatch, tiny_llada):
    states = LLaDA.states

    def scarce(self, prompt, response, kept):
        if len(response) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return states(self, prompt, response, kept)

    monkeypatch.setattr(LLaDA, "states", scarce)
    monkeypatch.setattr(tiny_llada, "row_limit", RowLimit())
    with pytest.raises(RuntimeError, match=r"4 rows does not fit.*scheduling\.static_rows=2"):
        decode(tiny_llada, list(ShoppingSums("test", 4)), Decoding(8, 8, scheduling=STATIC))


def test_partial_forwards_have_no_fixed_shapes():
    with pytest.raises(ValueError, match="makes partial ones; choose one"):
        Decoding(16, 8, scheduling=STATIC, approximate=Approximate("dual"))


@pytest.mark.parametrize("name", ["static_rows", "static_tokens"])
def test_shapes_are_at_least_one(name):
    with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
        Scheduling(**{name: 0})


def test_all_chunks_of_logits_have_one_shape(tiny_llada, monkeypatch):
    shapes, head = [], LLaDA.head

    def watched(self, states):
        shapes.append(len(states))
        return head(self, states)

    prompt, response = make_prompts(), torch.full((6, 7), tiny_llada.mask_id)
    uniform = torch.rand(6, 7)
    asked = prompt, response, Signals(top_k=2, names={"entropy"}), uniform, 0.7
    whole = tiny_llada(*asked)
    monkeypatch.setattr(LLaDA, "head", watched)
    monkeypatch.setattr(tiny_llada, "max_logits", tiny_llada.vocab_size * 10)
    chunked = tiny_llada(*asked)
    assert shapes == [9] * 5
    assert torch.equal(chunked.proposal, whole.proposal)
    torch.testing.assert_close(chunked.confidence, whole.confidence)
    torch.testing.assert_close(chunked.signals["entropy"], whole.signals["entropy"])


def test_several_chunks_are_whole_blocks_where_there_is_room_for_one():
    for positions in range(1, 300):
        assert even_chunk(positions, positions) == positions
        for most in (1, 5, 31, 32, 40, 64, 100):
            size = even_chunk(positions, most)
            assert 1 <= size <= min(most, positions)
            assert size == positions or most < 32 or size % 32 == 0
