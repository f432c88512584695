"""Partial forwards from kept keys and values: laws, and a twin that is told whom to attend to."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_unmask.denoisers import Denoiser
from lit_unmask.denoisers.running.cache import Kept, KeyValues, Span
from lit_unmask.types import Prompt, Reading, Signals
from tests.denoisers.conftest import MASK, PAD, SHAPE, make_prompt, make_response, values

ALL = Signals(top_k=3, names={"entropy", "hidden"})
ROWS, PROMPT, LENGTH, BLOCK = 4, 6, 8, 2
SLOTS = torch.tensor([2, 0, 3, 1])
SPANS = {
    "one block each": Span(torch.tensor([0, 6, 2, 4]), BLOCK),
    "first block": Span(torch.zeros(ROWS, dtype=torch.int64), BLOCK),
    "from the second block on": Span(torch.full((ROWS,), BLOCK), LENGTH - BLOCK),
    "one position": Span(torch.tensor([7, 0, 1, 3]), 1),
    "all": Span(torch.zeros(ROWS, dtype=torch.int64), LENGTH),
}


@pytest.fixture(scope="module", params=["stock", "eager", "grouped queries"])
def double(request: pytest.FixtureRequest, denoiser: Denoiser) -> Denoiser:
    """Each family in float64: stock, with plain attention, and with one key for both heads."""
    result = copy.deepcopy(denoiser).double()
    if request.param == "eager":
        result.network.set_attn_implementation("eager")
    if request.param == "grouped queries":
        config = copy.deepcopy(result.network.config)
        config.num_key_value_heads = 1
        torch.manual_seed(0)
        result.network = result.architecture(config).double().eval()
        for weight in result.network.parameters():
            if weight.ndim == 2:
                torch.nn.init.normal_(weight, std=0.5)
    return result


@pytest.fixture(params=["ragged", "even"])
def prompt(request: pytest.FixtureRequest) -> Prompt:
    """Prompts of different lengths, left padded, or of one."""
    full = make_prompt(ROWS, PROMPT)
    starts = torch.tensor([[0], [2], [5], [3]] if request.param == "ragged" else [[0]] * ROWS)
    attention = torch.arange(PROMPT) >= starts
    return Prompt(full.tokens.where(attention, PAD), attention)


@pytest.fixture
def base() -> Tensor:
    """Half-masked buffers."""
    return make_response(ROWS, LENGTH)


def changed(base: Tensor) -> Tensor:
    """Return the buffers with every second mask replaced by a token."""
    tokens = make_response(ROWS, LENGTH, seed=7).clamp(min=MASK + 1)
    return tokens.where((base == MASK) & (torch.arange(LENGTH) % 2 == 0), base)


def keep(denoiser: Denoiser, prompt: Prompt, base: Tensor) -> KeyValues:
    store = KeyValues(prompt.tokens.shape[1] + base.shape[1])
    store.slots = len(base)
    denoiser(prompt, base, ALL, kept=Kept(store, SLOTS[: len(base)]))
    return store


def of_span(output: Reading, span: Span) -> Reading:
    rows = torch.arange(len(span.start))[:, None]
    cut = {name: value[rows, span.positions] for name, value in values(output).items()}
    return Reading(cut.pop("proposal"), cut.pop("confidence"), cut)


def assert_close(found: Reading, expected: Reading) -> None:
    # In float64 too, the stock networks take norms, and plain attention its softmax, in float32.
    atol = 1e-5
    assert torch.equal(found.proposal, expected.proposal)
    for name in ("confidence", "entropy", "hidden"):
        one, other = values(found)[name], values(expected)[name]
        torch.testing.assert_close(one, other, atol=atol, rtol=0)


def attending_to(
    denoiser: Denoiser, prompt: Prompt, base: Tensor, buffer: Tensor, span: Span
) -> Reading:
    """The partial forward of the first row by a full one of ``[base sequence, new tokens]``.

    The base sees itself alone. The new tokens see one another, and the base where nothing is new.
    """
    shift = int(denoiser.shift)
    columns = PROMPT + LENGTH
    first = PROMPT + int(span.start[0]) - shift
    new = torch.arange(first, first + span.length + shift)
    whole = torch.cat([prompt.tokens, buffer], 1)[:1]
    tokens = torch.cat([prompt.tokens[:1], base[:1], whole[:, new]], 1)
    real = torch.cat([prompt.attention[0], torch.ones(LENGTH, dtype=torch.bool)])
    positions = (real.cumsum(0) - 1).clamp(min=0)
    sees = torch.zeros(len(tokens[0]), len(tokens[0]), dtype=torch.bool)
    sees[:columns, :columns] = real
    sees[columns:, :columns] = real
    sees[columns:, new] = False
    sees[columns:, columns:] = real[new]
    mask = torch.zeros(sees.shape, dtype=torch.float64).masked_fill_(~sees, -torch.inf)
    # A padding token that sees nothing at all would be NaN.
    mask[torch.arange(len(sees)), torch.arange(len(sees))] = 0.0
    states = denoiser.network.model(
        input_ids=tokens,
        attention_mask=mask[None, None],
        position_ids=torch.cat([positions, positions[new]])[None],
        use_cache=False,
    ).last_hidden_state[:, columns : columns + span.length]
    return denoiser.read(states, ALL)


def test_keeping_changes_no_bit_of_a_full_forward(
    denoiser: Denoiser, prompt: Prompt, base: Tensor
) -> None:
    store = KeyValues(PROMPT + LENGTH + 3)
    store.slots = ROWS
    kept = denoiser(prompt, base, ALL, kept=Kept(store, SLOTS))
    plain = denoiser(prompt, base, ALL)
    for name, value in values(kept).items():
        assert torch.equal(value, values(plain)[name])


@pytest.mark.parametrize("name", SPANS)
@torch.no_grad()
def test_a_partial_forward_of_unchanged_tokens_equals_the_full_one(
    double: Denoiser, prompt: Prompt, base: Tensor, name: str
) -> None:
    store, span = keep(double, prompt, base), SPANS[name]
    found = double(prompt, base, ALL, kept=Kept(store, SLOTS, span))
    assert found.proposal.shape == (ROWS, span.length)
    assert_close(found, of_span(double(prompt, base, ALL), span))


@pytest.mark.parametrize("name", SPANS)
@torch.no_grad()
def test_changed_tokens_are_seen_within_the_span_and_nowhere_else(
    double: Denoiser, prompt: Prompt, base: Tensor, name: str
) -> None:
    store, span, buffer = keep(double, prompt, base), SPANS[name], changed(base)
    found = double(prompt, buffer, ALL, kept=Kept(store, SLOTS, span))
    for row in range(ROWS):
        one = slice(row, row + 1)
        mine = Span(span.start[one], span.length)
        expected = attending_to(double, prompt.select(one), base[one], buffer[one], mine)
        assert_close(found.select(one), expected)


def test_what_is_kept_stays_as_it_is(denoiser: Denoiser, prompt: Prompt, base: Tensor) -> None:
    store = keep(denoiser, prompt, base)
    kept = Kept(store, SLOTS, SPANS["one block each"])
    first = denoiser(prompt, base, ALL, kept=kept)
    for span in SPANS.values():
        denoiser(prompt, changed(base), ALL, kept=Kept(store, SLOTS, span))
    again = denoiser(prompt, base, ALL, kept=kept)
    for name, value in values(first).items():
        assert torch.equal(value, values(again)[name])


@torch.no_grad()
def test_rows_kept_in_different_batches_are_read_in_one(double: Denoiser, base: Tensor) -> None:
    full = make_prompt(ROWS, PROMPT)
    attention = torch.arange(PROMPT) >= torch.tensor([[0], [2], [5], [3]])
    prompt = Prompt(full.tokens.where(attention, PAD), attention)
    store = KeyValues(PROMPT + LENGTH)
    # The slots held longer sequences, and there were fewer of them at first.
    store.slots = 2
    even = Prompt(full.tokens, torch.ones_like(attention))
    double(even.select(slice(0, 2)), changed(base)[:2], ALL, kept=Kept(store, torch.arange(2)))
    for row in range(ROWS):
        store.slots = max(store.slots, row + 1)
        one = slice(row, row + 1)
        kept = Kept(store, torch.tensor([row]))
        double(prompt.select(one).trim(), base[one], ALL, kept=kept)
    span, buffer = SPANS["one block each"], changed(base)
    found = double(prompt, buffer, ALL, kept=Kept(store, torch.arange(ROWS), span))
    expected = double(prompt, buffer, ALL, kept=Kept(keep(double, prompt, base), SLOTS, span))
    assert_close(found, expected)


@torch.no_grad()
def test_a_row_does_not_depend_on_the_rows_beside_it(
    double: Denoiser, prompt: Prompt, base: Tensor
) -> None:
    store, span, buffer = keep(double, prompt, base), SPANS["one block each"], changed(base)
    together = double(prompt, buffer, ALL, kept=Kept(store, SLOTS, span))
    for row in range(ROWS):
        one = slice(row, row + 1)
        kept = Kept(store, SLOTS, span).select(one)
        alone = double(prompt.select(one).trim(), buffer[one], ALL, kept=kept)
        assert_close(together.select(one), alone)


def test_a_span_is_drawn_with_the_numbers_of_its_positions(
    denoiser: Denoiser, prompt: Prompt, base: Tensor
) -> None:
    store, span = keep(denoiser, prompt, base), SPANS["one block each"]
    numbers = torch.rand(ROWS, LENGTH, generator=torch.Generator().manual_seed(0))
    full = denoiser(prompt, base, ALL, numbers, 3.0)
    part = denoiser(prompt, base, ALL, numbers, 3.0, Kept(store, SLOTS, span))
    assert torch.equal(part.proposal, of_span(full, span).proposal)
    assert not torch.equal(full.proposal, denoiser(prompt, base, ALL).proposal)


def test_running_out_of_memory_loses_nothing(
    denoiser: Denoiser, prompt: Prompt, base: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    span, buffer = SPANS["one block each"], changed(base)
    whole = Kept(keep(denoiser, prompt, base), SLOTS, span)
    expected = denoiser(prompt, buffer, ALL, kept=whole)
    tight = copy.deepcopy(denoiser)
    states = tight.states

    def limited(one: Prompt, response: Tensor, kept: Any = None) -> Tensor:
        result = states(one, response, kept)
        if len(response) > 1:  # what was written by then is written again
            raise torch.OutOfMemoryError("too much")
        return result

    monkeypatch.setattr(tight, "states", limited)
    store = keep(tight, prompt, base)
    assert tight.row_limit.rows == 1
    assert_close(tight(prompt, buffer, ALL, kept=Kept(store, SLOTS, span)), expected)


@pytest.mark.parametrize(
    ("slots", "width", "span", "said"),
    [
        (torch.arange(ROWS - 1), 14, None, ["(3,)", "one slot for each of the 4 rows"]),
        (SLOTS, 13, None, ["6 + 8 tokens", "slots of 13", "make KeyValues"]),
        (SLOTS, 14, Span(SLOTS, 9), ["span.length=9", "[1, 8]"]),
        (SLOTS, 14, Span(SLOTS, 0), ["span.length=0"]),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(
    llada: Denoiser, slots: Tensor, width: int, span: Span | None, said: list[str]
) -> None:
    store = KeyValues(width)
    store.slots = ROWS
    with pytest.raises(ValueError) as error:
        llada(
            make_prompt(ROWS, PROMPT),
            make_response(ROWS, LENGTH),
            ALL,
            kept=Kept(store, slots, span),
        )
    assert all(part in str(error.value) for part in said)


def test_a_slot_holds_keys_and_values_of_every_layer(llada: Denoiser) -> None:
    store = keep(llada, make_prompt(ROWS, PROMPT), make_response(ROWS, LENGTH))
    for layer in range(SHAPE.layers):
        keys, values = store.read(layer, SLOTS, PROMPT + LENGTH)
        shape = ROWS, SHAPE.heads, PROMPT + LENGTH, SHAPE.width // SHAPE.heads
        assert keys.shape == values.shape == shape
        assert keys.abs().sum() > 0 and not torch.equal(keys, values)
