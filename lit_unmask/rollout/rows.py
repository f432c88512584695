"""The state of the rows, and the only code that reveals tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_unmask.distributions import UnmaskDistribution
from lit_unmask.policies.base import Policy
from lit_unmask.randomness import ACTION, uniform
from lit_unmask.rollout.approximation import ended
from lit_unmask.rollout.host import HostRows, Indices, upload
from lit_unmask.rollout.readings import Readings
from lit_unmask.types import HIDDEN, SPEED, Observation, Steps


@dataclass(frozen=True)
class _Ahead:
    """Steps that the policy is asked about in one batch: for each row, its next ones in order.

    Attributes:
        row: ``[M]`` int64, place within the rows that act.
        offset: ``[M]`` int64, number of the step after the row's next one.
        first: ``[R]`` int64, where each row's steps begin.
        last: ``[R]`` int64, offset of each row's last step.
        starts: ``first``, on the host.
    """

    row: Tensor
    offset: Tensor
    first: Tensor
    last: Tensor
    starts: Indices

    @classmethod
    def of(cls, count: Indices, device: torch.device) -> _Ahead:
        """Lay out ``count`` steps, at least one, for each row."""
        starts = count.cumsum() - count
        layout = (*_runs(count), starts, count - 1)
        sizes = [len(part) for part in layout]
        row, offset, first, last = upload(np.concatenate(layout), device).split(sizes)
        return cls(row, offset, first, last, starts)

    def taken(self, steps: Indices) -> Tensor:
        """Return the places of the first ``steps`` ``[R]`` steps of the rows, ``[T]`` int64."""
        row, offset = _runs(steps)
        return upload(self.starts[row] + offset, self.row.device)

    def stop(self, acts: Tensor) -> Tensor:
        """Return which step ends each row's wait, ``[R]`` int64: the first that acts, or the last.

        Args:
            acts: ``[M]`` bool, whether the action at each step commits anything.
        """
        offset = torch.where(acts, self.offset, self.last[self.row])
        return self.last.scatter_reduce(0, self.row, offset, "amin")


def _runs(count: Indices) -> tuple[Indices, Indices]:
    """Return for ``count`` ``[R]`` items a row the row and the number within it of each item."""
    row = np.repeat(np.arange(len(count)), count)
    return row, np.arange(len(row)) - (count.cumsum() - count)[row]


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
        self.step = torch.zeros(count, dtype=torch.int64, device=device)
        self.price: dict[str, Tensor] = {}
        self.block = torch.zeros_like(self.step)
        self.block_steps = torch.zeros_like(self.step)
        self.finished = torch.zeros(count, dtype=torch.bool, device=device)
        self.committed_at = torch.full_like(self.response, -1)
        self.position_block = torch.arange(length, device=device) // self.decoding.block_length
        self.recorded: list[Steps] = []
        self.host = HostRows.start(count, length, self.mask_id)
        self.end_ids = torch.zeros(0, dtype=torch.int64, device=device)
        if self.decoding.approximate.early_stop:
            self.end_ids = torch.tensor(readings.denoiser.end_ids, device=device)
        readings.mark_entered(np.arange(count), self.response, self.block)
        # Asking ahead repeats the observation, which hidden states make large.
        may_look_ahead = self.decoding.scheduling.skip and HIDDEN not in readings.signals
        self._lookahead = self.decoding.scheduling.lookahead if may_look_ahead else 1

    def advance(self, rows: Indices) -> None:
        """Let the given rows ``[R]`` take steps until each has changed its buffer or finished.

        Without a change there is nothing new to ask the denoiser, so that all rows are ready for
        a forward afterwards. Without ``skip`` every row takes one step.
        """
        self.readings.update(rows, self.response, self.host.response)
        ahead = 1
        while len(rows):
            self._act(rows, ahead)
            if not self.decoding.scheduling.skip or self.decoding.on_empty == "force":
                return
            rows = rows[~self.readings.stale[rows] & ~self.host.finished[rows]]
            ahead = self._lookahead

    def _act(self, rows: Indices, most_steps: int) -> None:
        """Take up to ``most_steps`` steps in each row, ending with the first that commits."""
        left = self.decoding.block_length - self.host.block_steps[rows]
        ahead = _Ahead.of(left.clip(max=most_steps), self.response.device)
        place = upload(rows, self.response.device)
        asked = place[ahead.row]
        answer = self._ask_in_calls(asked, self.step[asked] + ahead.offset)
        stop = ahead.stop(answer.commit.any(1))
        at = ahead.first + stop
        commit = answer.commit[at]
        self._count(place, stop + 1)
        done = self._reveal(place, commit, answer.eligible[at])
        before = self.host.step[rows]
        self._fetch(rows, place, commit.any(1), done)
        if answer.steps is not None:
            taken = ahead.taken(self.host.step[rows] - before)
            self.recorded.append(answer.steps.select(taken) if most_steps > 1 else answer.steps)

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
            observation=observation,
            action=action,
            chosen=chosen,
            log_prob=distribution.log_prob(action),
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
            signals={**seen.signals, **({} if speed is None else {SPEED.name: speed[rows]})},
        )

    def _forced(self, chosen: Tensor, distribution: UnmaskDistribution) -> Tensor:
        """Return what is committed: what was chosen, or the first-ranked position if nothing."""
        if self.decoding.on_empty == "wait":
            return chosen
        return distribution.forced(chosen)

    def _count(self, rows: Tensor, steps: Tensor) -> None:
        """Charge each row for its steps ``[R]``, by the price of what the denoiser said."""
        self.step[rows] += steps
        for kind, cost in self.readings.price.items():
            self.price.setdefault(kind, torch.zeros_like(self.step))[rows] += steps * cost[rows]
        self.block_steps[rows] += steps

    def _reveal(self, rows: Tensor, commit: Tensor, eligible: Tensor) -> Tensor:
        """Commit positions at each row's latest step and move on from blocks that are done.

        Args:
            rows: ``[R]`` int64.
            commit: ``[R, L]`` bool, within ``eligible``.
            eligible: ``[R, L]`` bool.

        Returns:
            ``[R]`` bool, rows whose block is done.
        """
        proposal = self.readings.of(rows).proposal
        self.response[rows] = torch.where(commit, proposal, self.response[rows])
        step = (self.step[rows, None] - 1).expand_as(commit)
        self.committed_at[rows] = torch.where(commit, step, self.committed_at[rows])
        changed_at = self.readings.changed_at
        changed_at[rows] = torch.where(commit.any(1), self.step[rows], changed_at[rows])
        done = ~(eligible & ~commit).any(1)
        done |= self.block_steps[rows] >= self.decoding.block_length
        self.block[rows] += done
        self.block_steps[rows] *= ~done
        self.finished[rows] = self.block[rows] >= self.position_block[-1] + 1
        if self.decoding.approximate.early_stop:
            self._stop_early(rows)
        return done

    def _fetch(self, rows: Indices, place: Tensor, changed: Tensor, done: Tensor) -> None:
        """Tell the host what became of rows ``[R]``, whose places on the device are ``place``.

        Args:
            rows: ``[R]`` int64.
            place: ``[R]`` int64, the same.
            changed: ``[R]`` bool, rows that committed.
            done: ``[R]`` bool, rows whose block is done.
        """
        nfe = torch.stack([price[place] for price in self.price.values()]).sum(0)
        counts = self.step[place], nfe, self.block_steps[place]
        columns = *counts, self.finished[place], changed, done
        read = self.host.fetch(rows, (self.response[place], *columns)) != 0
        self.readings.mark_changed(rows[read[:, 0]])
        self.readings.mark_entered(rows[read[:, 1]], self.response, self.block)

    def _stop_early(self, rows: Tensor) -> None:
        """Finish rows ``[R]`` that are committed up to an end token, and fill them with it.

        What is filled was decided by nobody: it is not charged, and ``committed_at`` stays -1.
        """
        response = self.response[rows]
        stop, end = ended(response, self.mask_id, self.end_ids)
        fill = stop[:, None] & (response == self.mask_id)
        self.response[rows] = torch.where(fill, end[:, None], response)
        self.finished[rows] |= stop
