"""Labels of states against a labeller that takes one problem and one step at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from toys import DECODING, Coins, Hopeless, small_policy

from lit_unmask.denoisers import LLaDA
from lit_unmask.evaluation import rollout_numbers
from lit_unmask.evaluation.grading import InProcess
from lit_unmask.policies import ConfidenceThreshold, LearnedPolicy, Policy
from lit_unmask.rollout import Decoding, Noise, Start, rollout
from lit_unmask.training.demonstrations import Demonstrated
from lit_unmask.training.experts import Expert
from lit_unmask.training.finished_answers import Labeller
from lit_unmask.types import Observation, Problem

LENGTH, SEED, THRESHOLD = 8, 3, 0.12
EXPERT = Expert(ConfidenceThreshold(0.3), block_length=2)
PROBLEMS = list(Coins("train", size=24))


def labeller(denoiser: LLaDA, block_length: int = LENGTH, policy: Policy | None = None) -> Labeller:
    decoding = replace(DECODING, block_length=block_length, temperature=0.0)
    return Labeller(denoiser, policy or small_policy(), EXPERT, decoding, SEED, InProcess())


class ByHand:
    """Labels one problem, from the definitions."""

    def __init__(self, who: Labeller, problem: Problem) -> None:
        self.who, self.problem = who, problem
        self.prompt = who.denoiser.encode([problem])
        self.forwards = 0

    def finish(self, buffer: Tensor, step: int) -> tuple[Tensor, bool]:
        decoding = Decoding(LENGTH, EXPERT.block_length)
        result = rollout(
            self.who.denoiser, EXPERT.policy, self.prompt, decoding,
            Noise(SEED, rollout_numbers([self.problem])),
            start=Start(buffer[None], torch.tensor([step])),
        )  # fmt: skip
        self.forwards += result.ledger.computed
        return result.response[0], self.right(result.response[0])

    def right(self, response: Tensor) -> bool:
        return self.problem.grade(self.who.denoiser.decode(response[None])[0]) == 1

    def read(self, buffer: Tensor, step: int) -> tuple[Observation, Tensor]:
        mask_id = self.who.denoiser.mask_id
        reading = self.who.denoiser(self.prompt, buffer[None], self.who.signals)
        self.forwards += 1
        masked = buffer == mask_id
        block = torch.arange(LENGTH) // self.who.decoding.block_length
        eligible = masked & (block == block[int(masked.int().argmax())])
        time = torch.tensor([step / LENGTH])
        seen = Observation(masked[None], eligible[None], reading.confidence, time)
        return seen, reading.proposal[0]

    def rollout(self) -> list[tuple[Tensor, Observation, Tensor, Tensor]]:
        """Return buffer, observation, proposal and committed positions of each step."""
        buffer, taken = torch.full((LENGTH,), self.who.denoiser.mask_id), []
        while bool((buffer == self.who.denoiser.mask_id).any()):
            seen, proposal = self.read(buffer, len(taken))
            logits = self.who.policy(seen).logits[0].masked_fill(~seen.eligible[0], -torch.inf)
            commit = logits.sigmoid() > THRESHOLD
            if not commit.any():
                commit[logits.argmax()] = True
            taken.append((buffer, seen, proposal, commit))
            buffer = torch.where(commit, proposal, buffer)
        return [*taken, (buffer, seen, proposal, commit)]

    def labels(self) -> list[Tensor]:
        *steps, (last, *_) = self.rollout()
        answer, right = last, self.right(last)
        if not right:
            answer, right = self.finish(torch.full((LENGTH,), self.who.denoiser.mask_id), 0)
        found: list[Tensor] = []
        for buffer, seen, proposal, commit in steps:
            if not right:
                break
            found.append((proposal == answer) & seen.eligible[0])
            if (commit & (proposal != answer)).any():
                after = torch.where(commit, proposal, buffer)
                answer, right = self.finish(after, len(found))
        return found


def by_problem(shown: Demonstrated) -> list[list[list[bool]]]:
    """Return the labels of each problem, in the order of its steps."""
    found = []
    for row in range(len(shown.problems)):
        mine = (shown.steps.rollout == row).nonzero()[:, 0]
        mine = mine[shown.steps.index[mine].argsort()]
        assert shown.steps.index[mine].tolist() == list(range(len(mine)))
        found.append(shown.steps.chosen[mine].tolist())
    return found


@pytest.mark.parametrize("block_length", [LENGTH, 4])
def test_states_of_the_policy_get_the_labels_that_their_definition_gives(
    tiny_llada: LLaDA, block_length: int
) -> None:
    who = labeller(tiny_llada, block_length)
    labelled = who.of_policy(PROBLEMS, THRESHOLD)
    alone = [[label.tolist() for label in ByHand(who, problem).labels()] for problem in PROBLEMS]
    found = by_problem(labelled.shown)
    assert found == alone
    steps = [len(ByHand(who, problem).rollout()) - 1 for problem in PROBLEMS]
    # Some are lost on the way, some from the start, and some are followed to their end.
    counts = [len(labels) for labels in found]
    assert 0 in counts and any(0 < a < b for a, b in zip(counts, steps, strict=True))
    assert any(a == b for a, b in zip(counts, steps, strict=True))
    assert labelled.readings["followed"] == sum(counts) / sum(steps)
    assert labelled.shown.decisions.tolist() == counts


def test_the_oracle_commits_what_is_safe_and_ends_with_the_answer(tiny_llada: LLaDA) -> None:
    who = labeller(tiny_llada)
    labelled = who.of_oracle(PROBLEMS)
    solved = 0
    for problem, labels in zip(PROBLEMS, by_problem(labelled.shown), strict=True):
        hand = ByHand(who, problem)
        buffer = torch.full((LENGTH,), tiny_llada.mask_id)
        answer, right = hand.finish(buffer, 0)
        solved += right
        expected = []
        while right and (buffer == tiny_llada.mask_id).any():
            seen, proposal = hand.read(buffer, len(expected))
            safe = (proposal == answer) & seen.masked[0]
            expected.append(safe.tolist())
            if not safe.any():
                safe = torch.arange(LENGTH) == int(seen.masked[0].int().argmax())
            buffer = torch.where(safe, answer, buffer)
        assert labels == expected
        assert not right or torch.equal(buffer, answer)
    assert 0 < solved < len(PROBLEMS)
    assert labelled.readings["solved"] == pytest.approx(solved / len(PROBLEMS))


def test_labels_of_a_problem_do_not_depend_on_the_others(tiny_llada: LLaDA) -> None:
    who = labeller(tiny_llada)
    together = by_problem(who.of_policy(PROBLEMS, THRESHOLD).shown)
    for order in ([5], [7, 2, 11]):
        some = [PROBLEMS[number] for number in order]
        assert by_problem(who.of_policy(some, THRESHOLD).shown) == [together[n] for n in order]


def test_an_answer_of_its_own_costs_nothing_but_its_forwards(tiny_llada: LLaDA) -> None:
    who = labeller(tiny_llada)
    own = [p for p in PROBLEMS if ByHand(who, p).right(ByHand(who, p).rollout()[-1][0])]
    labelled = who.of_policy(own, THRESHOLD)
    assert labelled.readings["accuracy"] == labelled.readings["followed"] == 1
    assert labelled.shown.ledger.computed <= len(labelled.shown.steps)


@torch.no_grad()
def test_nothing_is_learned_from_problems_without_a_right_answer(tiny_llada: LLaDA) -> None:
    who = labeller(tiny_llada)
    problems = list(Hopeless("train", size=3))
    for labelled in (who.of_oracle(problems), who.of_policy(problems, THRESHOLD)):
        assert not len(labelled.shown.steps) and not labelled.shown.correct.any()
        assert labelled.readings["solved"] == 0


def test_labels_keep_to_the_block_of_the_policy(tiny_llada: LLaDA) -> None:
    who = labeller(tiny_llada, block_length=4)
    for labelled in (who.of_oracle(PROBLEMS), who.of_policy(PROBLEMS, THRESHOLD)):
        steps = labelled.shown.steps
        block = torch.arange(LENGTH) // 4
        current = block[steps.observation.masked.int().argmax(1)]
        assert not (steps.chosen & (block != current[:, None])).any()
        assert not (steps.chosen & ~steps.observation.masked).any()
        assert isinstance(who.policy, LearnedPolicy)
