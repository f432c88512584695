"""The most frequent answer of several."""

import pytest
import torch

from lit_unmask.evaluation.decode import Evaluation, evaluate
from lit_unmask.evaluation.majority import ballots, majority
from lit_unmask.policies import Random
from lit_unmask.rollout import Decoding, Ledger
from lit_unmask.tasks import ShoppingSums

TEXTS = [
    "the answer is 3", "the answer is 7", "the answer is 7",
    "who knows", "the answer is 5", "the answer is 4",
    "who", "knows", "that",
]  # fmt: skip


def graded() -> Evaluation:
    nfe = torch.arange(1, 10)
    return Evaluation(
        correct=torch.tensor([0.0, 1, 1, 0, 1, 0, 0, 0, 0]), nfe=nfe, tokens=10 * nfe,
        still_masked=nfe > 6, completions=TEXTS, ledger=Ledger(), seconds=1.0,
        price={"predictor": nfe - 1, "corrector": torch.ones_like(nfe)},
    )  # fmt: skip


def test_the_most_frequent_answer_is_taken_and_all_are_paid_for() -> None:
    found = majority(graded(), 3)
    assert found.completions == [TEXTS[1], TEXTS[4], TEXTS[6]]
    assert found.correct.tolist() == [1, 1, 0]
    assert found.nfe.tolist() == [6, 15, 24]
    assert {kind: price.tolist() for kind, price in found.price.items()} == {
        "predictor": [1, 4, 6], "corrector": [1, 1, 1], "particle": [4, 10, 17],
    }  # fmt: skip
    assert found.tokens.tolist() == [20, 50, 70]
    assert found.still_masked.tolist() == [False, False, True]


def test_the_task_says_what_an_answer_is() -> None:
    found = majority(graded(), 9, extract=lambda text: text[:3])
    assert found.completions == [TEXTS[0]]


def test_one_vote_changes_nothing_and_copies_draw_for_themselves(tiny_llada) -> None:
    problems, ways = list(ShoppingSums("validation", 2)), Decoding(8, 8, 1.0)
    alone = evaluate(tiny_llada, Random(2), problems, ways)
    once = majority(evaluate(tiny_llada, Random(2), ballots(problems, 1), ways), 1)
    assert once.completions == alone.completions
    assert torch.equal(once.nfe, alone.nfe)
    each = evaluate(tiny_llada, Random(2), ballots(problems, 3), ways)
    assert each.completions[::3] == alone.completions
    assert len(set(each.completions)) == 6


def test_completions_that_are_no_ballots_are_refused() -> None:
    with pytest.raises(ValueError, match=r"votes=2 must be at least 1 and divide the 9"):
        majority(graded(), 2)
