"""Evaluated numbers follow from the problems alone, not from how they were batched."""

import pytest
import torch
from torch import nn
from toys import decode_problems

from lit_unmask.evaluation.decode import (
    content_tokens,
    encode_groups,
    evaluate,
    rollout_numbers,
)
from lit_unmask.policies import LowConfidence, Random
from lit_unmask.rollout import Decoding
from lit_unmask.types import Problem, Prompt, Reading

MASK, END, STOP, LENGTH = 0, 1, 2, 8


class Echo(nn.Module):
    """Answers a number ``n`` with ``n`` words ``n`` and ends; sure of the left side."""

    mask_id, end_ids, device = MASK, (END, STOP), torch.device("cpu")

    def encode(self, problems):
        tokens = torch.tensor([[int(problem.messages[0]["content"]) + 2] for problem in problems])
        return Prompt(tokens, torch.ones_like(tokens, dtype=torch.bool))

    def decode(self, response):
        return [
            " ".join(str(token - 2) for token in row[: row.index(END) if END in row else None])
            for row in response.tolist()
        ]

    def check_length(self, prompt, gen_length):
        pass

    def forward(self, prompt, response, signals, uniform=None, temperature=0.0):
        places = torch.arange(response.shape[1]).expand(response.shape)
        proposal = torch.where(places < prompt.tokens - 2, prompt.tokens, END)
        return Reading(proposal, (1 / (places + 2.0))[..., None])


def problem(number, uid=None):
    def equals(completion, answer):
        return float(completion == answer)

    answer = " ".join([str(number)] * number)
    messages = ({"role": "user", "content": str(number)},)
    return Problem(uid or f"echo {number}", messages, answer, equals)


def test_rollout_numbers_do_not_depend_on_the_batch():
    problems = [problem(n) for n in (1, 2, 3)]
    together = rollout_numbers(problems, 4)
    assert together.dtype == torch.int64 and together.shape == (12,)
    for index, each in enumerate(problems):
        assert torch.equal(rollout_numbers([each], 4), together[4 * index : 4 * index + 4])
    assert torch.equal(rollout_numbers(problems), together[::4])
    assert torch.equal(rollout_numbers(problems[::-1]), together[::4].flip(0))


def test_rollout_numbers_differ_and_are_the_same_in_every_run():
    many = rollout_numbers([problem(1, f"uid {i}") for i in range(1000)], 8)
    assert len(many.unique()) == 8000 and (many >= 0).all()
    # blake2b of "echo 1", 7 bytes, big endian.
    assert rollout_numbers([problem(1)]).tolist() == [6729604680015357]


def test_no_problems_have_no_numbers():
    numbers = rollout_numbers([], 4)
    assert numbers.shape == (0,) and numbers.dtype == torch.int64


def test_content_ends_before_the_first_end_token_of_any_kind():
    response = torch.tensor(
        [[5, 5, END, 5], [END, 5, 5, 5], [5, 5, 5, 5], [5, STOP, END, 5], [5, MASK, 5, END]]
    )
    assert content_tokens(Echo(), response).tolist() == [2, 0, 4, 1, 3]


def test_an_evaluation_reports_verdicts_and_costs_in_order():
    problems = [problem(3), problem(5), problem(2), problem(8)]
    wrong = Problem("wrong", problem(4).messages, "7", problem(4).verifier)
    result = evaluate(Echo(), LowConfidence(2), [*problems, wrong], Decoding(LENGTH, LENGTH))
    assert result.correct.tolist() == [1, 1, 1, 1, 0]
    assert result.completions[2] == "2 2"
    assert result.nfe.tolist() == [4] * 5
    assert result.tokens.tolist() == [3, 5, 2, 8, 4]
    assert not result.still_masked.any()
    assert result.accuracy == pytest.approx(0.8)
    assert result.mean_nfe == 4
    assert result.tokens_per_forward == pytest.approx(22 / 20)
    assert result.ledger.charged == 20
    assert result.seconds > 0


def test_a_problem_is_decoded_the_same_in_any_company():
    problems = [problem(n) for n in (3, 1, 4, 5)]
    together = decode_problems(Echo(), Random(1), problems, Decoding(LENGTH, LENGTH), seed=3)
    for index, each in enumerate(problems):
        alone = decode_problems(Echo(), Random(1), [each], Decoding(LENGTH, LENGTH), seed=3)
        assert torch.equal(alone.committed_at[0], together.committed_at[index])
    other = decode_problems(Echo(), Random(1), problems, Decoding(LENGTH, LENGTH), seed=4)
    assert not torch.equal(other.committed_at, together.committed_at)


def test_groups_stand_side_by_side():
    assert (
        encode_groups(Echo(), [problem(1), problem(2)], 3).tokens[:, 0].tolist()
        == [3] * 3 + [4] * 3
    )
