"""What every denoiser says: laws against a full softmax, and prompts in, text out."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from lit_unmask.denoisers import Denoiser, Dream, LLaDA, StockDenoiser
from lit_unmask.types import Prompt, Reading, Signals
from tests.denoisers.conftest import (
    EOS,
    EOT,
    IM_END,
    MASK,
    PAD,
    SHAPE,
    Writer,
    edit_config,
    make_problem,
    make_prompt,
    make_response,
    values,
)

ALL = Signals(top_k=4, names={"entropy", "hidden"})
ROWS, PROMPT, LENGTH = 3, 6, 7


@pytest.fixture
def prompt() -> Prompt:
    """Prompts of different lengths, left padded."""
    full = make_prompt(ROWS, PROMPT)
    attention = torch.arange(PROMPT) >= torch.tensor([[0], [2], [5]])
    return Prompt(full.tokens.where(attention, PAD), attention)


@pytest.fixture
def response() -> Tensor:
    """Half-masked responses."""
    return make_response(ROWS, LENGTH)


def assert_same(found: Reading, expected: Reading) -> None:
    assert torch.equal(found.proposal, expected.proposal)
    for name in ("confidence", "entropy", "hidden"):
        torch.testing.assert_close(
            values(found)[name], values(expected)[name], atol=1e-5, rtol=1e-5
        )


def test_a_padded_batch_equals_its_rows_without_padding(
    denoiser: Denoiser, prompt: Prompt, response: Tensor
) -> None:
    batch = denoiser(prompt, response, ALL)
    for row in range(ROWS):
        one = slice(row, row + 1)
        alone = denoiser(prompt.select(one).trim(), response[one], ALL)
        assert_same(batch.select(one), alone)


def test_the_padding_token_does_not_matter(
    denoiser: Denoiser, prompt: Prompt, response: Tensor
) -> None:
    other = Prompt(prompt.tokens.where(prompt.attention, MASK), prompt.attention)
    assert torch.equal(denoiser.logits(other, response), denoiser.logits(prompt, response))


def test_signals_equal_the_full_softmax(
    denoiser: Denoiser, prompt: Prompt, response: Tensor
) -> None:
    output = denoiser(prompt, response, ALL)
    logits = denoiser.logits(prompt, response).double()
    probability = logits.softmax(-1)
    entropy = -torch.xlogy(probability, probability).sum(-1)
    assert torch.equal(output.proposal, logits.argmax(-1))
    expected = probability.topk(ALL.top_k).values.float()
    torch.testing.assert_close(output.confidence, expected)
    torch.testing.assert_close(output.signals["entropy"], entropy.float())
    assert output.signals["hidden"] is not None
    head = denoiser.network.lm_head(output.signals["hidden"])[..., MASK + 1 :]
    torch.testing.assert_close(head, logits[..., MASK + 1 :].float())


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("top_k", [1, 3])
def test_asking_for_more_does_not_change_the_rest(
    denoiser: Denoiser, prompt: Prompt, response: Tensor, top_k: int, entropy: bool
) -> None:
    most = denoiser(prompt, response, ALL)
    names = {"entropy"} if entropy else set()
    less = denoiser(prompt, response, Signals(top_k, names))
    assert torch.equal(less.proposal, most.proposal)
    assert torch.equal(less.confidence, most.confidence[..., :top_k])
    assert set(less.signals) == names


@pytest.mark.parametrize("max_logits", [1, 5 * SHAPE.vocab_size, 11 * SHAPE.vocab_size + 1])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_chunks_of_the_head_change_nothing(
    denoiser: Denoiser, prompt: Prompt, response: Tensor, max_logits: int, temperature: float
) -> None:
    uniform = torch.rand(response.shape, generator=torch.Generator().manual_seed(0))
    chunked = copy.copy(denoiser)
    chunked.max_logits = max_logits
    found = chunked(prompt, response, ALL, uniform, temperature)
    assert_same(found, denoiser(prompt, response, ALL, uniform, temperature))


def test_the_mask_is_never_proposed(denoiser: Denoiser, prompt: Prompt, response: Tensor) -> None:
    eager = copy.deepcopy(denoiser)
    # Make the mask the favourite everywhere: the same direction as the mean state, much longer.
    states = denoiser(prompt, response, ALL).signals["hidden"]
    assert states is not None
    for state in states.flatten(0, 1):
        eager.network.lm_head.weight[MASK] = 100 * state
        raw = eager.network.lm_head(state)
        assert raw.argmax() == MASK
        for temperature in (0.0, 0.5, 50.0):
            uniform = torch.rand(response.shape)
            output = eager(prompt, response, Signals(), uniform, temperature)
            assert not (output.proposal == MASK).any()


def test_a_draw_follows_the_tempered_softmax(denoiser: Denoiser) -> None:
    draws, temperature = 4000, 0.6
    prompt, response = make_prompt(1, 4), make_response(1, 2)
    # Evenly spaced numbers visit every token as often as its probability says, to 1 draw.
    uniform = ((torch.arange(draws) + 0.5) / draws)[:, None].expand(draws, 2).contiguous()
    output = denoiser(
        prompt.repeat(draws), response.expand(draws, 2), Signals(), uniform, temperature
    )
    probability = (denoiser.logits(prompt, response)[0] / temperature).softmax(-1)
    for position in range(2):
        count = torch.bincount(output.proposal[:, position], minlength=denoiser.vocab_size)
        torch.testing.assert_close(count / draws, probability[position], atol=1.5 / draws, rtol=0)


def test_a_draw_depends_on_its_own_number_alone(
    denoiser: Denoiser, prompt: Prompt, response: Tensor
) -> None:
    uniform = torch.rand(response.shape, generator=torch.Generator().manual_seed(3))
    batch = denoiser(prompt, response, ALL, uniform, 1.0)
    assert torch.equal(batch.proposal, denoiser(prompt, response, ALL, uniform, 1.0).proposal)
    for row in range(ROWS):
        one = slice(row, row + 1)
        alone = denoiser(prompt.select(one).trim(), response[one], ALL, uniform[one], 1.0)
        assert torch.equal(alone.proposal, batch.proposal[one])


def test_temperature_moves_the_proposal_and_not_the_confidence(
    denoiser: Denoiser, prompt: Prompt, response: Tensor
) -> None:
    cold = denoiser(prompt, response, ALL)
    for number in (0.0, 0.5, 1 - 2**-24):
        uniform = torch.full(response.shape, number)
        hot = denoiser(prompt, response, ALL, uniform, 5.0)
        assert torch.equal(hot.confidence, cold.confidence)
        torch.testing.assert_close(hot.signals["entropy"], cold.signals["entropy"])
        assert ((hot.proposal > MASK) & (hot.proposal < denoiser.vocab_size)).all()
        freezing = denoiser(prompt, response, ALL, uniform, 1e-6)
        assert torch.equal(freezing.proposal, cold.proposal)


def test_wrong_arguments_are_explained(
    denoiser: Denoiser, prompt: Prompt, response: Tensor
) -> None:
    with pytest.raises(ValueError, match=r"uniform is None, but temperature=0\.5 needs"):
        denoiser(prompt, response, Signals(), None, 0.5)
    with pytest.raises(ValueError, match=r"uniform is of shape \(3, 1\)"):
        denoiser(prompt, response, Signals(), torch.rand(3, 1), 0.5)
    with pytest.raises(ValueError, match=r"temperature=-1\.0 must not be negative"):
        denoiser(prompt, response, Signals(), None, -1.0)
    with pytest.raises(ValueError, match=r"top_k=23 must lie in \[1, 22\]"):
        denoiser(prompt, response, Signals(23))
    with pytest.raises(ValueError, match=r"must be \[B, L\] with B=3"):
        denoiser(prompt, response[:2], Signals())
    with pytest.raises(ValueError, match="and not empty"):
        denoiser(prompt.select(slice(0, 0)), response[:0], Signals())


def test_encoding_pads_on_the_left(denoiser: Denoiser) -> None:
    prompt = denoiser.encode([make_problem("a b c"), make_problem("d")])
    assert denoiser.tokenizer.convert_ids_to_tokens(prompt.tokens[1].tolist()) == [
        *["<pad>"] * 2,
        *["user", "d", "<|eot_id|>", "assistant"],
    ]
    assert prompt.attention.tolist() == [[True] * 6, [False] * 2 + [True] * 4]
    assert prompt.tokens.dtype == torch.int64 and prompt.attention.dtype == torch.bool


def test_long_prompts_are_refused_with_name_length_limit_and_remedy(denoiser: Denoiser) -> None:
    problem = make_problem("a b c", uid="gsm8k-17")
    assert len(denoiser.encode([problem], max_prompt_length=6)) == 1
    with pytest.raises(ValueError, match=r"'gsm8k-17'.* 6 tokens .* 5; raise max_prompt_length"):
        denoiser.encode([problem], max_prompt_length=5)
    with pytest.raises(ValueError, match="limit of 40"):
        denoiser.encode([make_problem("a " * 60)])


def test_a_question_may_not_hold_tokens_that_the_template_writes(denoiser: Denoiser) -> None:
    for token in denoiser.tokenizer.convert_ids_to_tokens([MASK, EOS]):
        with pytest.raises(ValueError, match=r"'gsm8k-17': its chat holds .* spell it otherwise"):
            denoiser.encode([make_problem(f"a {token} b", uid="gsm8k-17")])
    # Whatever is allowed to be there becomes no special token.
    tokens = denoiser.encode([make_problem("a mask b")]).tokens
    assert MASK not in tokens.flatten().tolist()


def test_long_sequences_are_refused(denoiser: Denoiser) -> None:
    denoiser.check_length(make_prompt(1, 10), 30)
    with pytest.raises(ValueError, match=r"prompt length 10 .* gen_length=31 .* max_length=40"):
        denoiser.check_length(make_prompt(1, 10), 31)


def test_a_tokenizer_without_a_template_is_explained(denoiser: Denoiser) -> None:
    bare = copy.deepcopy(denoiser)
    bare.tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        bare.encode([make_problem("a")])


def test_decoding_cuts_at_the_first_end_and_leaves_masks_out(denoiser: Denoiser) -> None:
    a, b, c = denoiser.tokenizer.convert_tokens_to_ids(["a", "b", "c"])
    assert denoiser.decode(torch.tensor([[a, MASK, b, EOS, c]])) == ["a b"]
    last = EOT if isinstance(denoiser, LLaDA) else IM_END
    assert denoiser.decode(torch.tensor([[c, last, a, EOS], [EOS, a, b, c]])) == ["c", ""]
    assert denoiser.decode(torch.full((2, 3), MASK)) == ["", ""]
    unnamed = SHAPE.vocab_size - 1  # an embedding row that the tokenizer has no word for
    assert denoiser.decode(torch.tensor([[a, unnamed, b, EOS]])) == ["a b"]


@pytest.mark.parametrize("family", [LLaDA, Dream])
def test_each_of_several_end_tokens_ends_a_response(
    family: type[StockDenoiser], write_checkpoint: Writer
) -> None:
    folder = write_checkpoint(family)
    edit_config(folder, {"eos_token_id": [EOS, 7]})
    denoiser = family(str(folder))
    assert {EOS, 7} <= set(denoiser.end_ids)
    assert family.original_config(denoiser.network.config)["eos_token_id"] == [EOS, 7]
