"""Labels for single states: which proposals are already the tokens of a correct finished answer.

The frozen denoiser is a simulator that can be set into any state and finished from there by any
policy. So credit need not be inferred from one verdict a rollout. At a state with a finished answer
that is correct, a masked position is *safe* if the denoiser proposes the token that the answer has
there. The oracle commits just the safe positions.

The labels of the first rounds are from the states of the oracle's own schedule, those of later ones
from the states that the policy itself visits (DAgger, arXiv 1011.0686). An answer goes on as long
as what is committed agrees with it. Where it does not, an expert finishes the state that came of
it. If that answer is right, it takes the other's place. If it is wrong, the rollout is lost, and
what follows teaches nothing.

What was committed against an answer and did no harm is not labelled safe, nor is a proposal whose
token could stand in the answer as well: with either, policies learned less in trials, as they
committed what the rest of the text was not yet written for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.evaluation.decode import attempt, encode_groups, rollout_numbers
from lit_unmask.evaluation.grading import Grader, Verdicts
from lit_unmask.policies import Thresholded
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Decoding, Ledger, Listener, Noise, Rollout, Start
from lit_unmask.rollout.loop import unmasked
from lit_unmask.training.demonstrations import Demonstrated
from lit_unmask.training.experts import Expert
from lit_unmask.types import UNMASKED, Observation, Problem, Prompt, Signals, Steps


@dataclass
class _Answers:
    """A finished answer of each problem, and what all of them have cost.

    Attributes:
        response: ``[B, L]`` int64.
        correct: ``[B]`` bool.
        texts: Decoded texts.
        computed: Row-forwards.
    """

    response: Tensor
    correct: Tensor
    texts: list[str]
    computed: int


@dataclass(frozen=True)
class Labelled:
    """Labelled states, and what to log about them.

    Attributes:
        shown: The states, with the safe positions as what is done there. Correct are the problems
            that have any.
        readings: Scalars by name.
    """

    shown: Demonstrated
    readings: dict[str, float]


@dataclass(frozen=True)
class Labeller:
    """Labels states of problems.

    Attributes:
        denoiser: The frozen dLLM, at token temperature 0.
        policy: The policy that is taught.
        expert: Finishes states.
        decoding: How the policy decodes.
        seed: Seed of the noise.
        grader: Where verifiers run.
    """

    denoiser: Denoiser
    policy: Policy
    expert: Expert
    decoding: Decoding
    seed: int
    grader: Grader

    @property
    def signals(self) -> Signals:
        """What the states hold."""
        return self.policy.signals

    @torch.no_grad()
    def of_oracle(self, problems: Sequence[Problem], listener: Listener | None = None) -> Labelled:
        """Label the states of the oracle's own schedule.

        Where no proposal is safe, it writes the answer's first missing token.

        Args:
            problems: What to solve; at least one.
            listener: Told about the progress of the rollouts.
        """
        prompt = encode_groups(self.denoiser, problems, 1)
        answers = self._finish(problems, prompt, None, listener)
        mask_id = self.denoiser.mask_id
        parts: list[Steps] = []
        buffers = torch.full_like(answers.response, mask_id)
        rows = torch.arange(len(problems), device=buffers.device)
        while len(rows):
            reading = self.denoiser(prompt.select(rows), buffers[rows], self.signals)
            answers.computed += len(rows)
            masked = buffers[rows] == mask_id
            index = torch.full_like(rows, len(parts))
            eligible = masked & self._in_block(masked)
            time = index.float() / masked.shape[1]
            signals = dict(reading.signals)
            if UNMASKED in self.signals:
                signals[UNMASKED.name] = unmasked(prompt.select(rows), masked)
            seen = Observation(masked, eligible, reading.confidence, time, signals)
            safe = (reading.proposal == answers.response[rows]) & eligible
            parts.append(_labelled(rows, index, seen, safe))
            first = torch.zeros_like(safe).scatter_(1, masked.int().argmax(1, keepdim=True), True)
            where = torch.where(safe.any(1, keepdim=True), safe, first)
            buffers[rows] = torch.where(where, answers.response[rows], buffers[rows])
            rows = rows[answers.correct[rows] & (buffers[rows] == mask_id).any(1)]
        steps = Steps.cat(parts)
        steps = steps.select(answers.correct[steps.rollout].nonzero()[:, 0])
        shown = _shown(problems, answers, steps)
        solved = answers.correct.float().mean()
        return Labelled(shown, {"solved": float(solved), "oracle_nfe": _mean_count(shown)})

    @torch.no_grad()
    def of_policy(
        self, problems: Sequence[Problem], threshold: float, listener: Listener | None = None
    ) -> Labelled:
        """Label the states that the policy visits.

        Args:
            problems: What to solve; at least one.
            threshold: Probability above which the policy commits, as :class:`Thresholded` does.
            listener: Told about the progress of the rollouts.
        """
        prompt = encode_groups(self.denoiser, problems, 1)
        verdicts = Verdicts(self.grader, self.denoiser, problems, listener)
        result, correct = attempt(
            verdicts, Thresholded(threshold, self.policy), prompt, self.decoding,
            self._noise(problems), record=True, signals=self.signals,
        )  # fmt: skip
        # An answer of its own that is right needs no expert.
        answers = _Answers(
            result.response.clone(), correct == 1, verdicts.completions, result.ledger.computed
        )
        self._solve_lost(problems, prompt, answers, listener)
        solved = answers.correct.float().mean()
        steps = self._follow(problems, prompt, result, answers, listener)
        readings = {
            "accuracy": float(correct.mean()),
            "nfe": float(result.nfe.float().mean()),
            "solved": float(solved),
            "followed": len(steps) / int(result.decisions.sum()),
        }
        return Labelled(_shown(problems, answers, steps), readings)

    def _solve_lost(
        self,
        problems: Sequence[Problem],
        prompt: Prompt,
        answers: _Answers,
        listener: Listener | None,
    ) -> None:
        """Let the expert answer what the policy did not."""
        rows = (~answers.correct).nonzero()[:, 0]
        if len(rows):
            some = [problems[row] for row in rows.tolist()]
            found = self._finish(some, prompt.select(rows), None, listener)
            answers.response[rows], answers.correct[rows] = found.response, found.correct
            answers.computed += found.computed

    def _follow(
        self,
        problems: Sequence[Problem],
        prompt: Prompt,
        result: Rollout,
        answers: _Answers,
        listener: Listener | None,
    ) -> Steps:
        """Return the states of rollouts from which there is a right answer, with their labels."""
        steps, proposal = _in_order(result)
        row, index, committed = steps.rollout, steps.index, steps.committed
        never = int(result.decisions.max())
        labels, kept = torch.zeros_like(committed), torch.zeros_like(row, dtype=torch.bool)
        alive, at = answers.correct.clone(), torch.zeros_like(result.decisions)
        while alive.any():
            agrees = proposal == answers.response[row]
            ahead = alive[row] & (index >= at[row])
            strays = ahead & (committed & ~agrees).any(1)
            # The step of each rollout at which it leaves the answer.
            last = torch.full_like(at, never).scatter_reduce_(0, row[strays], index[strays], "amin")
            now = ahead & (index <= last[row])
            labels[now], kept = (agrees & steps.observation.eligible)[now], kept | now
            rows = (alive & (last < never)).nonzero()[:, 0]
            alive[:] = False
            if not len(rows):
                break
            at[rows] = last[rows] + 1
            written = (result.committed_at >= 0) & (result.committed_at < at[:, None])
            buffers = result.response.masked_fill(~written, self.denoiser.mask_id)
            some = [problems[number] for number in rows.tolist()]
            start = Start(buffers[rows], at[rows])
            found = self._finish(some, prompt.select(rows), start, listener)
            answers.response[rows], alive[rows] = found.response, found.correct
            answers.computed += found.computed
        mine = kept.nonzero()[:, 0]
        return _labelled(row[mine], index[mine], steps.observation.select(mine), labels[mine])

    def _finish(
        self,
        problems: Sequence[Problem],
        prompt: Prompt,
        start: Start | None,
        listener: Listener | None,
    ) -> _Answers:
        """Let the expert finish states, or answer from the beginning."""
        verdicts = Verdicts(self.grader, self.denoiser, problems, listener)
        decoding = self.expert.decoding(self.decoding)
        result, correct = attempt(
            verdicts, self.expert.policy, prompt, decoding, self._noise(problems), start=start
        )
        return _Answers(
            result.response, correct == 1, verdicts.completions, result.ledger.computed
        )  # fmt: skip

    def _noise(self, problems: Sequence[Problem]) -> Noise:
        return Noise(self.seed, rollout_numbers(problems).to(self.denoiser.device))

    def _in_block(self, masked: Tensor) -> Tensor:
        """Return the positions of each row's first block with masks, ``[B, L]`` bool."""
        block = torch.arange(masked.shape[1], device=masked.device) // self.decoding.block_length
        return block == block[masked.int().argmax(1), None]


def _shown(problems: Sequence[Problem], answers: _Answers, steps: Steps) -> Demonstrated:
    """Return labelled states as what somebody did who commits what is safe."""
    decisions = torch.zeros_like(answers.correct, dtype=torch.int64)
    decisions.scatter_add_(0, steps.rollout, torch.ones_like(steps.rollout))
    return Demonstrated(
        problems=problems,
        steps=steps,
        decisions=decisions,
        nfe=decisions,
        correct=(decisions > 0).float(),
        completions=answers.texts,
        ledger=Ledger(computed=answers.computed),
    )


def _mean_count(shown: Demonstrated) -> float:
    """Return the mean number of states of a problem that has any."""
    return float(shown.decisions.sum() / shown.correct.sum().clamp(min=1))


def _labelled(row: Tensor, index: Tensor, seen: Observation, safe: Tensor) -> Steps:
    """Return states ``[N]`` as the steps of one who commits what is safe."""
    return Steps(row, index, seen, safe, safe, torch.zeros_like(seen.time), safe)


def _in_order(result: Rollout) -> tuple[Steps, Tensor]:
    """Return all steps by rollout and index, and what was proposed at each, ``[N, L]`` int64."""
    steps, log = result.steps, result.log
    assert steps is not None and log is not None
    most = int(result.decisions.max()) + 1
    # What an early stop filled in is nobody's step.
    log = log.select((log.step >= 0).nonzero()[:, 0])
    steps = steps.select((steps.rollout * most + steps.index).argsort())
    log = log.select((log.rollout * most + log.step).argsort())
    assert torch.equal(steps.index, log.step), "a step that writes nothing is not in the log"
    return steps, log.tokens
