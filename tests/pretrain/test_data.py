"""Demonstrations as tokens, and tasks mixed in the shares of their sizes."""

from dataclasses import replace

import pytest
import torch

from lit_unmask.pretrain import DemonstrationData, LLaDAVocabulary, Part
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


def test_a_step_takes_a_batch_of_each_part(tokenizer):
    tasks = {"sums": SUMS, "functions": FUNCTIONS}
    parts = {"short": Part(64, 8, tasks), "long": Part(80, 5, {"sums": SUMS})}
    data = DemonstrationData(parts, parts)
    assert set(data.words()) == {*SUMS.words(), *FUNCTIONS.words()}
    assert len(data.words()) == len(set(data.words()))
    data.tokenizer = tokenizer
    batches = [batch for batch, *_ in data.train_dataloader()]
    # 37 problems make four whole batches of 8, and 30 make six of 5: the fewest end the epoch.
    shapes = [[tuple(batch[name].response.shape) for name in parts] for batch in batches]
    assert shapes == [[(8, 64), (5, 80)]] * 4
    moved = data.transfer_batch_to_device(batches[0], torch.device("cpu"), 0)
    assert torch.equal(moved["long"].response, batches[0]["long"].response)


def test_each_task_of_each_part_is_validated_by_itself(tokenizer):
    tasks = {"sums": SUMS, "functions": FUNCTIONS}
    data = DemonstrationData({}, {"short": Part(64, 8, tasks), "long": Part(80, 5, {"sums": SUMS})})
    data.tokenizer = tokenizer
    assert data.validated() == ["sums/short", "functions/short", "sums/long"]
    counts = [[len(batch.response) for batch in loader] for loader in data.val_dataloader()]
    assert counts == [[8, 8, 8, 6], [7], [5] * 6]
