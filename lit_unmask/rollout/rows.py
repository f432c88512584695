"""The state of the rows, and the only code that reveals tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.distributions import UnmaskDistribution
from lit_unmask.policies.base import Policy
from lit_unmask.randomness import ACTION, uniform
from lit_unmask.rollout.approximation import ended
from lit_unmask.rollout.readings import Readings
from lit_unmask.types import Observation, Steps


@dataclass(frozen=True)
class _Ahead:
    """Steps that the policy is asked about in one batch: for each row, its next ones in order.

    Attributes:
        row: ``[M]`` int64, place within the rows that act.
        offset: ``[M]`` int64, number of the step after the row's next one.
        first: ``[R]`` int64, where each row's steps begin.
        count: ``[R]`` int64, steps of each row.
    """

    row: Tensor
    offset: Tensor
    first: Tensor
    count: Tensor

    @classmethod
    def of(cls, count: Tensor, most: int) -> _Ahead:
        """Lay out ``count`` steps for each row, each between 1 and ``most``."""
        row = torch.arange(len(count), device=count.device)
        if most > 1:
            row = row.repeat_interleave(count)
        first = count.cumsum(0) - count
        offset = torch.arange(len(row), device=count.device) - first[row]
        return cls(row, offset, first, count)

    def stop(self, acts: Tensor) -> Tensor:
        """Return which step ends each row's wait, ``[R]`` int64: the first that acts, or the last.

        Args:
            acts: ``[M]`` bool, whether the action at each step commits anything.
        """
        last = self.count - 1
        return last.scatter_reduce(
            0, self.row, torch.where(acts, self.offset, last[self.row]), "amin"
        )


@dataclass(frozen=True)
class _Answer:
    """What a policy does in some rows, each at one step.

    Attributes:
        commit: ``[M, L]`` bool, what is committed, forced positions included.
        eligible: ``[M, L]`` bool.
        steps: What is recorded, or None.
    """

    commit: Tensor
    eligible: Tensor
    steps: Steps | None = None

    @classmethod
    def cat(cls, answers: Sequence[_Answer]) -> _Answer:
        """Return all answers as one."""
        if len(answers) == 1:
            return answers[0]
        steps = [answer.steps for answer in answers if answer.steps is not None]
        return cls(
            torch.cat([answer.commit for answer in answers]),
            torch.cat([answer.eligible for answer in answers]),
            Steps.cat(steps) if steps else None,
        )

    def first(self, rows: Tensor) -> _Answer:
        """Return the answers about the first ``len(rows)`` rows."""
        first = torch.arange(len(rows), device=rows.device)
        steps = None if self.steps is None else self.steps.select(first)
        return _Answer(self.commit[first], self.eligible[first], steps)


class Rows:
    """Mutable state of all rows of one rollout call; every tensor has the rows first.

    Args:
        policy: Chooses the positions to commit.
        readings: What the denoiser says, and the settings of the decoding.
        record: Whether to keep every step in ``recorded``.
    """

    def __init__(self, policy: Policy, readings: Readings, record: bool) -> None:
        self.policy, self.readings, self.record = policy, readings, record
        self.decoding, self.noise = readings.decoding, readings.noise
        self.mask_id = readings.denoiser.mask_id
        count, length = len(readings.prompt), self.decoding.gen_length
        device = readings.prompt.tokens.device
        self.response = torch.full((count, length), self.mask_id, device=device)
        self.nfe = torch.zeros(count, dtype=torch.int64, device=device)
        self.block = torch.zeros_like(self.nfe)
        self.block_steps = torch.zeros_like(self.nfe)
        self.finished = torch.zeros(count, dtype=torch.bool, device=device)
        self.committed_at = torch.full_like(self.response, -1)
        self.position_block = torch.arange(length, device=device) // self.decoding.block_length
        self.recorded: list[Steps] = []
        self.end_ids = torch.zeros(0, dtype=torch.int64, device=device)
        if self.decoding.approximate.early_stop:
            self.end_ids = torch.tensor(readings.denoiser.end_ids, device=device)
        readings.mark_entered(torch.arange(count, device=device), self.response, self.block)
        # Asking ahead repeats the observation, which hidden states make large.
        may_look_ahead = self.decoding.scheduling.skip and not readings.signals.hidden
        self._lookahead = self.decoding.scheduling.lookahead if may_look_ahead else 1

    def advance(self, rows: Tensor) -> None:
        """Let the given rows ``[R]`` take steps until each has changed its buffer or finished.

        Without a change there is nothing new to ask the denoiser, so that all rows are ready for
        a forward afterwards. Without ``skip`` every row takes one step.
        """
        self.readings.update(rows, self.response)
        ahead = 1
        while len(rows):
            self._act(rows, ahead)
            if not self.decoding.scheduling.skip or self.decoding.on_empty == "force":
                return
            waits = ~self.readings.stale[rows] & ~self.finished[rows]
            rows, ahead = rows[waits], self._lookahead

    def _act(self, rows: Tensor, most_steps: int) -> None:
        """Take up to ``most_steps`` steps in each row, ending with the first that commits."""
        left = self.decoding.block_length - self.block_steps[rows]
        ahead = _Ahead.of(left.clamp(max=most_steps), most_steps)
        asked = rows[ahead.row]
        index = self.nfe[asked] + ahead.offset
        answer = self._ask_in_calls(asked, index)
        stop = ahead.stop(answer.commit.any(1))
        if answer.steps is not None:
            steps = answer.steps
            if most_steps > 1:
                steps = steps.select((ahead.offset <= stop[ahead.row]).nonzero()[:, 0])
            self.recorded.append(steps)
        at = ahead.first + stop
        self._count(rows, stop + 1)
        self._reveal(rows, answer.commit[at], answer.eligible[at])

    def _ask_in_calls(self, rows: Tensor, index: Tensor) -> _Answer:
        """Ask the policy about rows ``[M]`` at steps ``[M]``, in calls of one shape if need be."""
        scheduling, ledger = self.decoding.scheduling, self.readings.ledger
        if not scheduling.deterministic:
            ledger.policy_rows += len(rows)
            return self._ask(rows, index)
        answers = []
        for part in torch.arange(len(rows), device=rows.device).split(scheduling.static_rows):
            filled = scheduling.filled(part)
            ledger.policy_rows += len(filled)
            answers.append(self._ask(rows[filled], index[filled]).first(part))
        return _Answer.cat(answers)

    def _ask(self, rows: Tensor, index: Tensor) -> _Answer:
        """Ask the policy what it does in rows ``[M]`` at steps ``[M]``."""
        observation = self._observe(rows, index)
        distribution = self.policy(observation)
        length = self.decoding.gen_length
        noise = uniform(self.noise.seed, self.noise.rollout[rows], index, length, ACTION)
        action = distribution.sample(noise)
        chosen = distribution.positions(action) & observation.eligible
        commit = self._forced(chosen, distribution) & observation.eligible
        if not self.record:
            return _Answer(commit, observation.eligible)
        steps = Steps(
            rollout=rows,
            index=index,
            action=action,
            chosen=chosen,
            log_prob=distribution.log_prob(action),
            **vars(observation),
        )
        return _Answer(commit, observation.eligible, steps)

    def _observe(self, rows: Tensor, index: Tensor) -> Observation:
        """Return what the policy sees of rows ``[M]`` at steps ``[M]``."""
        masked = self.response[rows] == self.mask_id
        seen = self.readings.of(rows)
        speed = self.readings.prompt.speed
        return Observation(
            masked=masked,
            eligible=masked & (self.position_block == self.block[rows, None]),
            confidence=seen.confidence,
            time=index.float() / self.decoding.gen_length,
            entropy=seen.entropy,
            hidden=seen.hidden,
            speed=None if speed is None else speed[rows],
        )

    def _forced(self, chosen: Tensor, distribution: UnmaskDistribution) -> Tensor:
        """Return what is committed: what was chosen, or the first-ranked position if nothing."""
        if self.decoding.on_empty == "wait":
            return chosen
        return distribution.forced(chosen)

    def _count(self, rows: Tensor, steps: Tensor) -> None:
        """Charge each row for its steps ``[R]``."""
        self.nfe[rows] += steps
        self.block_steps[rows] += steps

    def _reveal(self, rows: Tensor, commit: Tensor, eligible: Tensor) -> None:
        """Commit positions at each row's latest step and move on from blocks that are done.

        Args:
            rows: ``[R]`` int64.
            commit: ``[R, L]`` bool, within ``eligible``.
            eligible: ``[R, L]`` bool.
        """
        proposal = self.readings.of(rows).proposal
        self.response[rows] = torch.where(commit, proposal, self.response[rows])
        step = (self.nfe[rows, None] - 1).expand_as(commit)
        self.committed_at[rows] = torch.where(commit, step, self.committed_at[rows])
        self.readings.mark_changed(rows, commit.any(1), self.nfe[rows])
        done = ~(eligible & ~commit).any(1)
        done |= self.block_steps[rows] >= self.decoding.block_length
        self.block[rows] += done
        self.block_steps[rows] *= ~done
        self.finished[rows] = self.block[rows] >= self.position_block[-1] + 1
        if self.decoding.approximate.early_stop:
            self._stop_early(rows)
        if self.decoding.approximate.cache != "none":
            self.readings.mark_entered(rows[done], self.response, self.block)

    def _stop_early(self, rows: Tensor) -> None:
        """Finish rows ``[R]`` that are committed up to an end token, and fill them with it.

        What is filled was decided by nobody: it is not charged, and ``committed_at`` stays -1.
        """
        response = self.response[rows]
        stop, end = ended(response, self.mask_id, self.end_ids)
        fill = stop[:, None] & (response == self.mask_id)
        self.response[rows] = torch.where(fill, end[:, None], response)
        self.finished[rows] |= stop
