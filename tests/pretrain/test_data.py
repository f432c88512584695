"""Demonstrations as tokens, and tasks mixed in the shares of their sizes."""

from dataclasses import replace

import pytest
import torch

from lit_unmask.pretrain import DemonstrationData, LLaDAVocabulary
from lit_unmask.pretrain.data import DemonstrationEncoder
from lit_unmask.tasks import ShoppingSums, ShortFunctions

SUMS, FUNCTIONS = ShoppingSums("train", 30), ShortFunctions("train", 7)


@pytest.fixture(scope="module")
def tokenizer():
    return LLaDAVocabulary().build([*SUMS.words(), *FUNCTIONS.words()])


def test_a_demonstration_is_a_left_padded_prompt_and_a_filled_up_solution(tokenizer):
    problems = list(ShoppingSums("train", 5, steps=(1, 6)))
    batch = DemonstrationEncoder(tokenizer, 64)(problems)
    assert batch.response.shape == (5, 64)
    for index, problem in enumerate(problems):
        words = problem.solution.split()
        row = tokenizer.convert_ids_to_tokens(batch.response[index].tolist())
        assert row == words + ["<|endoftext|>"] * (64 - len(words))
        real = batch.prompt.tokens[index][batch.prompt.attention[index]]
        chat = tokenizer.apply_chat_template(
            list(problem.messages), tokenize=False, add_generation_prompt=True
        )
        assert real.tolist() == tokenizer.encode(chat, add_special_tokens=False)
        mask = batch.prompt.attention[index].int()
        assert (mask.diff() >= 0).all()
    assert batch.prompt.attention.all(1).any()
    assert (batch.prompt.tokens[~batch.prompt.attention] == tokenizer.pad_token_id).all()


def test_a_problem_without_a_solution_is_refused(tokenizer):
    problem = replace(SUMS[0], solution=None)
    with pytest.raises(ValueError, match="has no solution to learn from"):
        DemonstrationEncoder(tokenizer, 64)([problem])


def test_a_solution_without_room_for_its_end_is_refused(tokenizer):
    count = len(SUMS[0].solution.split())
    with pytest.raises(ValueError, match=f"{count} tokens, which leaves no room .*={count}"):
        DemonstrationEncoder(tokenizer, count)([SUMS[0]])
    last = DemonstrationEncoder(tokenizer, count + 1)([SUMS[0]]).response[0, -1]
    assert last == tokenizer.eos_token_id


def test_loaders_serve_encoded_batches(tokenizer):
    tasks = {"sums": SUMS, "functions": FUNCTIONS}
    data = DemonstrationData(tasks, tasks, batch_size=8)
    assert set(data.words()) == {*SUMS.words(), *FUNCTIONS.words()}
    assert len(data.words()) == len(set(data.words()))
    data.encoder = DemonstrationEncoder(tokenizer, 64)
    batches = list(data.train_dataloader())
    assert [len(batch.response) for batch in batches] == [8, 8, 8, 8]
    assert [problem.uid.split("/")[0] for problem in data.train].count("sums") == len(SUMS)
    last = [list(loader)[-1] for loader in data.val_dataloader()]
    assert [len(batch.response) for batch in last] == [6, 7]
    moved = data.transfer_batch_to_device(batches[0], torch.device("cpu"), 0)
    assert torch.equal(moved.response, batches[0].response)
