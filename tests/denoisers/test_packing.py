"""Rows laid one after the other: each as if it were alone, without a token of padding."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_unmask.denoisers import Denoiser, RemoteCode
from lit_unmask.denoisers.running import packing
from lit_unmask.denoisers.running.cache import Kept, KeyValues
from lit_unmask.denoisers.running.memory import RowLimit
from lit_unmask.types import Prompt, Reading, Signals
from tests.denoisers.conftest import PAD, make_prompt, make_response, values

ALL = Signals(top_k=3, names={"entropy", "hidden"})
LENGTHS = [4, 9, 1, 4, 6, 9]
WIDTH, LENGTH = max(LENGTHS), 5


def ragged(lengths: Sequence[int] = LENGTHS) -> Prompt:
    """Return left-padded prompts."""
    full = make_prompt(len(lengths), WIDTH)
    attention = torch.arange(WIDTH) >= WIDTH - torch.tensor(lengths)[:, None]
    return Prompt(full.tokens.where(attention, PAD), attention)


@pytest.fixture(scope="module", params=["stock", "grouped queries"])
def double(request: pytest.FixtureRequest, denoiser: Denoiser) -> Denoiser:
    """Each family in float64, also with one key for both heads."""
    result = copy.deepcopy(denoiser).double()
    if request.param == "grouped queries":
        config = copy.deepcopy(result.network.config)
        config.num_key_value_heads = 1
        torch.manual_seed(0)
        result.network = result.architecture(config).double().eval()
        for weight in result.network.parameters():
            if weight.ndim == 2:
                torch.nn.init.normal_(weight, std=0.5)
    return result


def assert_close(found: Reading, expected: Reading) -> None:
    assert torch.equal(found.proposal, expected.proposal)
    for name in ("confidence", "entropy", "hidden"):
        # The stock networks take norms in float32.
        torch.testing.assert_close(
            values(found)[name], values(expected)[name], atol=1e-6, rtol=0, check_dtype=False
        )


def alone(denoiser: Denoiser, prompt: Prompt, response: Tensor) -> list[Reading]:
    """Ask about each row by itself, without padding."""
    rows = [torch.tensor([row]) for row in range(len(prompt))]
    return [denoiser(prompt.select(row).trim(), response[row], ALL) for row in rows]


def test_each_row_is_answered_as_if_it_were_alone(double: Denoiser) -> None:
    prompt, response = ragged(), make_response(6, LENGTH)
    found = double(prompt, response, ALL, lengths=LENGTHS)
    assert_close(found, Reading.cat(alone(double, prompt, response)))


def test_a_row_does_not_see_the_others(denoiser: Denoiser) -> None:
    prompt, response = ragged(), make_response(6, LENGTH)
    before = denoiser(prompt, response, ALL, lengths=LENGTHS)
    response[1] = make_response(1, LENGTH, seed=9)[0]
    after = denoiser(prompt, response, ALL, lengths=LENGTHS)
    for name, value in values(after).items():
        same = (value == values(before)[name]).flatten(1).all(1)
        assert same[[0, 2, 3, 4, 5]].all(), name
    assert not torch.equal(after.signals["hidden"][1], before.signals["hidden"][1])


def test_no_padding_goes_through_the_network_and_nothing_of_it_stays(denoiser: Denoiser) -> None:
    shapes: list[tuple[int, ...]] = []

    def watch(module: Any, inputs: Any, named: dict[str, Any]) -> None:
        shapes.append(tuple(named["input_ids"].shape))

    usual = denoiser.network.config._attn_implementation
    prompt, response = ragged(), make_response(6, LENGTH)
    plain = denoiser.logits(prompt, response)
    hook = denoiser.network.model.register_forward_pre_hook(watch, with_kwargs=True)
    try:
        denoiser(prompt, response, ALL, lengths=LENGTHS)
    finally:
        hook.remove()
    assert shapes == [(1, sum(LENGTHS) + 6 * LENGTH)]
    assert denoiser.network.config._attn_implementation == usual != packing.NAME
    assert torch.equal(denoiser.logits(prompt, response), plain)


def test_a_prompt_may_have_no_token(llada: Denoiser) -> None:
    prompt, response = ragged([0, 3]), make_response(2, LENGTH)
    denoiser = copy.deepcopy(llada).double()
    found = denoiser(prompt, response, ALL, lengths=[0, 3])
    assert_close(found, Reading.cat(alone(denoiser, prompt, response)))


def test_running_out_of_memory_loses_no_row(
    double: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, response = ragged(), make_response(6, LENGTH)
    whole = double(prompt, response, ALL, lengths=LENGTHS)
    body = type(double)._packed_body

    def scarce(self: Any, call: Any) -> Tensor:
        if len(call.packing.lengths) > 2:
            raise torch.OutOfMemoryError("too much")
        return body(self, call)

    monkeypatch.setattr(type(double), "_packed_body", scarce)
    monkeypatch.setattr(double, "row_limit", RowLimit())
    assert_close(double(prompt, response, ALL, lengths=LENGTHS), whole)
    assert double.row_limit.rows == 1


def contract(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    enable_gqa: bool,
) -> Tensor:
    """What torch documents of ``varlen_attn``: ``[T, heads, channels]``, row by row, head by head.

    The kernel itself is for CUDA and was not run in this test.
    """
    assert cu_seq_q.dtype == torch.int32 and torch.equal(cu_seq_q, cu_seq_k)
    assert max_q == max_k == int(cu_seq_q.diff().max()) and cu_seq_q[-1] == len(query) == len(key)
    assert enable_gqa == (query.shape[1] != key.shape[1])
    result, group = torch.empty_like(query), query.shape[1] // key.shape[1]
    for first, last in zip(cu_seq_q[:-1].tolist(), cu_seq_q[1:].tolist(), strict=True):
        for head in range(query.shape[1]):
            of = slice(first, last), head // group
            scores = scale * query[first:last, head] @ key[of].T
            result[first:last, head] = scores.softmax(-1) @ value[of]
    return result


def test_the_kernel_is_asked_for_the_same(
    double: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, response = ragged(), make_response(6, LENGTH)
    expected = double(prompt, response, ALL, lengths=LENGTHS)
    monkeypatch.setattr(packing, "varlen_attn", contract)
    monkeypatch.setattr(packing, "_has_kernel", lambda query: True)
    assert_close(double(prompt, response, ALL, lengths=LENGTHS), expected)


@pytest.mark.gpu
def test_the_kernel_computes_the_same_on_a_gpu(llada: Denoiser) -> None:
    prompt, response = ragged().to("cuda"), make_response(6, LENGTH).cuda()
    exact = copy.deepcopy(llada).cuda()
    half = copy.deepcopy(llada).to("cuda", torch.bfloat16)
    found = half(prompt, response, ALL, lengths=LENGTHS).signals["hidden"].float()
    torch.testing.assert_close(
        found, exact(prompt, response, ALL).signals["hidden"], atol=0.1, rtol=0.1
    )


def test_the_kernel_of_this_torch_takes_these_arguments() -> None:
    assert packing._VARLEN


def test_what_does_not_fit_is_refused(llada: Denoiser) -> None:
    prompt, response = ragged(), make_response(6, LENGTH)
    with pytest.raises(ValueError, match="lengths has 2 numbers; there must be one for each of"):
        llada(prompt, response, ALL, lengths=[1, 2])
    kept = Kept(KeyValues(WIDTH + LENGTH), torch.arange(6))
    with pytest.raises(ValueError, match="packed rows keep no keys and values"):
        llada(prompt, response, ALL, kept=kept, lengths=LENGTHS)
    foreign: Any = RemoteCode.__new__(RemoteCode)
    with pytest.raises(ValueError, match="RemoteCode takes no packed rows; leave decoding"):
        foreign._packed_body(None)
