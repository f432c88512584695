"""What a rollout tells while it runs, keeps of its steps, and returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lit_unmask.rollout.history import Charges, Writes, total
from lit_unmask.rollout.host import Indices, upload
from lit_unmask.rollout.ledger import Ledger
from lit_unmask.rollout.resamplers.particles import Particles
from lit_unmask.rollout.state import RowState
from lit_unmask.types import CORRECTOR, PREDICTOR, Steps


@dataclass(frozen=True)
class Progress:
    """State of a rollout that is under way, for progress bars and for early grading.

    Attributes:
        rows: Rows **B** in all.
        rows_left: Rows that are not finished.
        nfe: Forwards charged so far, over all rows.
        computed: Row-forwards that ran so far.
        finished: ``[F]`` int64, rows that have finished since the last call.
        response: ``[B, L]`` int64, the buffers of all rows; those of finished rows stay as they
            are.
    """

    rows: int
    rows_left: int
    nfe: int
    computed: int
    finished: Tensor
    response: Tensor


Listener = Callable[[Progress], None]


@dataclass(frozen=True)
class Rollout:
    """Decoded responses and what it took to get there.

    Attributes:
        response: ``[B, L]`` int64 token ids; holds the mask id where ``still_masked``.
        decisions: ``[B]`` int64, steps that each row took.
        price: ``[B]`` int64 forwards that each row was charged for, by kind.
        committed_at: ``[B, L]`` int64, step at which a position was committed, or -1; also -1
            where an early stop filled in the end token, and at what was there at the start.
        still_masked: ``[B]`` bool, rows that ended with masks left.
        ledger: Row-forwards by kind.
        steps: Recorded steps, or None if recording was off.
        log: All writes to the buffers, from their start to ``response``; None if recording was off.
        charges: What ``price`` was charged for; None if recording was off. Other particles than the
            answer are charged at their own steps.
    """

    response: Tensor
    decisions: Tensor
    price: Mapping[str, Tensor]
    committed_at: Tensor
    still_masked: Tensor
    ledger: Ledger
    steps: Steps | None = None
    log: Writes | None = None
    charges: Charges | None = None

    @property
    def nfe(self) -> Tensor:
        """Forwards of all kinds, ``[B]`` int64."""
        return total(self.price)


def progress(
    state: RowState, particles: Particles | None, ledger: Ledger, rows: Indices
) -> Progress:
    """Return how far a rollout is after rows ``[R]`` took a step; of particles, the answers."""
    finished, response = state.host.finished, state.response
    mine = rows[finished[rows]]
    if particles is not None:
        size = particles.resampler.particles
        finished = finished.reshape(-1, size).min(1)
        mine = np.unique(mine // size)
        mine, response = mine[finished[mine]], response[particles.winners()]
    counts = len(finished), int((~finished).sum()), ledger.charged, ledger.computed
    return Progress(*counts, upload(mine, state.device), response)


Event = TypeVar("Event", Steps, Writes)


@dataclass
class Record:
    """Steps as they are taken.

    Attributes:
        state: The rows, with their log of writes.
        particles: Groups of rows that may replace each other; None without a resampler.
        keeps: Whether anything is kept.
        steps: The steps so far.
        ages: Generations of the rows of steps and of writes, if there are particles.
    """

    state: RowState
    particles: Particles | None
    keeps: bool
    steps: list[Steps] = field(default_factory=list)
    ages: tuple[list[Tensor], list[Tensor]] = field(default_factory=lambda: ([], []))

    def note_generations(self) -> None:
        """Note how old the particles are that something happened to."""
        if self.particles is None or not self.keeps:
            return
        generation, (steps, writes) = self.particles.generation, self.ages
        steps += [generation[one.rollout] for one in self.steps[len(steps) :]]
        written = [] if self.state.log is None else self.state.log.writes
        writes += [generation[one.rollout] for one in written[len(writes) :]]

    def result(self, ledger: Ledger) -> Rollout:
        """Return what has become of the rows; of particles, of those that are the answers."""
        state, particles = self.state, self.particles
        others = [state.price[kind] for kind in state.price if kind not in (PREDICTOR, CORRECTOR)]
        ledger.other = sum(int(price.sum()) for price in others)
        rows, price = torch.arange(len(state.step), device=state.device), state.price
        steps = Steps.cat(self.steps) if self.steps else None
        log = Writes.cat(state.log.writes) if state.log and state.log.writes else None
        charges = Charges.cat(state.log.charges) if state.log and state.log.charges else None
        if particles is not None:
            rows = particles.winners()
            price = dict(particles.price(rows))
            steps = steps and _of_answers(particles, steps, self.ages[0])
            log = log and _of_answers(particles, log, self.ages[1])
            charges = charges and particles.charged(charges, rows)
        response = state.response[rows]
        return Rollout(
            response=response,
            decisions=(state.step - state.begun)[rows],
            price=price,
            committed_at=state.committed_at[rows],
            still_masked=(response == state.mask_id).any(1),
            ledger=ledger,
            steps=steps,
            log=log,
            charges=charges,
        )


def _of_answers(particles: Particles, events: Event, ages: Sequence[Tensor]) -> Event:
    """Return what happened to the answers, numbered by their groups."""
    group = particles.history(events.rollout, torch.cat(list(ages)))
    mine = (group >= 0).nonzero()[:, 0]
    return replace(events.select(mine), rollout=group[mine])
