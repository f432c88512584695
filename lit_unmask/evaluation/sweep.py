"""Evaluates many policies on many problem sets into a store, and nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import Evaluation, evaluate
from lit_unmask.evaluation.evaluation_set import EvaluationSet
from lit_unmask.evaluation.grading import Grader, InProcess
from lit_unmask.evaluation.grid import Setting
from lit_unmask.evaluation.points import Point, wilson_interval
from lit_unmask.evaluation.store import Outcome, Store
from lit_unmask.rollout import Listener, Progress
from lit_unmask.types import PREDICTOR, Problem

Outcomes = dict[str, Outcome]


class Ranks:
    """The processes that share a sweep: here only this one.

    Attributes:
        rank: Number of this process.
        world: Number of processes.
    """

    rank: int = 0
    world: int = 1

    def broadcast(self, value: Any, source: int = 0) -> Any:
        """Return the value that the process ``source`` has; all of them call it."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """Return the value of each process; all of them call it."""
        return [self.broadcast(value, source) for source in range(self.world)]

    def should_stop(self) -> bool:
        """Return whether this process was asked to stop."""
        return False

    def stop(self) -> None:
        """Stop, between two chunks, because one of the processes was asked to."""


@dataclass
class Sweep:
    """Evaluates settings on sets; what is in the store already is taken from there.

    The missing problems of a run are computed in chunks, of which every rank takes its share. The
    first rank appends a chunk to the store before the next one starts, so that an interrupted
    sweep loses one chunk at most. Rows do not depend on their batch: neither chunks nor ranks
    change an outcome.

    A deterministic heuristic at token temperature 0 gives the same with every seed. It is computed
    with one of them, and the others have a copy in the store, times included.

    Attributes:
        folder: Where the store is; only the first rank reads and writes it.
        ranks: The processes that share the work.
        grader: Where verifiers run.
        listener: Told about the progress of rollouts.
        chunk: Problems a chunk, for each rank.
        computed: Outcomes computed so far, over all ranks.
        found: Outcomes taken from the store so far, those of other seeds included.

    Raises:
        ConfigurationError: If the chunk is empty, or the folder holds another kind of store.
    """

    folder: Path
    ranks: Ranks = field(default_factory=Ranks)
    grader: Grader = field(default_factory=InProcess)
    listener: Listener | None = None
    chunk: int = 64
    computed: int = 0
    found: int = 0

    def __post_init__(self) -> None:
        """Open the store."""
        if self.chunk < 1:
            raise ConfigurationError(f"chunk={self.chunk} must be at least 1")
        self._store = Store(self.folder) if self.ranks.rank == 0 else None

    @property
    def counts(self) -> str:
        """How much was computed and how much was there, in words."""
        return f"{self.computed} outcomes computed, {self.found} found"

    def outcomes(self, problems: EvaluationSet, setting: Setting, seed: int = 0) -> Outcomes:
        """Return the outcomes of a setting on a set by uid, computing those that are missing."""
        run = problems.run(setting, seed)
        missing: list[str] = []
        if self._store is not None:
            same = {} if setting.draws else self._store.outcomes_of_other_seeds(run)
            self._store.append(run, list(same.values()))
            missing = self._store.missing(run, problems.problems)
        missing = self.ranks.broadcast(missing)
        self.found += len(problems.problems) - len(missing)
        size = self.chunk * self.ranks.world
        for start in range(0, len(missing), size):
            part = missing[start : start + size]
            mine = [problems.problems[uid] for uid in part[self.ranks.rank :: self.ranks.world]]
            shares = self.ranks.gather(
                (self._evaluate(problems.denoiser, setting, mine, seed), self.ranks.should_stop())
            )
            if self._store is not None:
                by_uid = {outcome.uid: outcome for share, _ in shares for outcome in share}
                self._store.append(run, [by_uid[uid] for uid in part])
            self.computed += len(part)
            if any(stop for _, stop in shares):
                self.ranks.stop()
        known = self._store.outcomes(run) if self._store is not None else {}
        return self.ranks.broadcast({uid: known[uid] for uid in problems.problems if uid in known})

    def record(
        self, problems: EvaluationSet, setting: Setting, seed: int, mine: Sequence[Outcome]
    ) -> None:
        """Store outcomes that were computed outside of the sweep, those of this rank in ``mine``.

        They count as computed, and not as found where they are asked for next.
        """
        by_uid = {outcome.uid: outcome for share in self.ranks.gather(mine) for outcome in share}
        run = problems.run(setting, seed)
        new: list[str] = []
        if self._store is not None:
            new = self._store.missing(run, [uid for uid in problems.problems if uid in by_uid])
            self._store.append(run, [by_uid[uid] for uid in new])
        new = self.ranks.broadcast(new)
        self.computed, self.found = self.computed + len(new), self.found - len(new)

    def _evaluate(
        self, denoiser: Denoiser, setting: Setting, problems: list[Problem], seed: int
    ) -> list[Outcome]:
        if not problems:
            return []
        fresh = FreshForwards(len(problems), denoiser.mask_id, self.listener)
        policy, decoding = setting.policy.to(denoiser.device), setting.decoding
        result = evaluate(denoiser, policy, problems, decoding, seed, fresh, self.grader)
        return outcomes_of(problems, result, fresh)


def outcomes_of(
    problems: Sequence[Problem], result: Evaluation, fresh: FreshForwards
) -> list[Outcome]:
    """Return what a store keeps of an evaluation that ``fresh`` listened to."""
    price = {kind: forwards.tolist() for kind, forwards in result.price.items()}
    predictor = price.pop(PREDICTOR)
    # Rows that corrector or particles change are new without a step of the policy.
    new = [min(pair) for pair in zip(fresh.count.tolist(), predictor, strict=True)]
    kinds = [
        {"fresh": new[row], "unchanged": predictor[row] - new[row]}
        | {kind: forwards[row] for kind, forwards in price.items()}
        for row in range(len(problems))
    ]
    rows = zip(
        problems,
        *(result.correct.tolist(), result.nfe.tolist(), kinds),
        *(result.tokens.tolist(), result.still_masked.tolist()),
        strict=True,
    )
    return [
        Outcome(
            uid=problem.uid,
            correct=correct,
            nfe=nfe,
            nfe_by_kind=by_kind,
            tokens=tokens,
            still_masked=still_masked,
            seconds=round(result.seconds / len(problems), 6),
        )
        for problem, correct, nfe, by_kind, tokens, still_masked in rows
    ]


class FreshForwards:
    """Counts, by row, the steps of a rollout at which the buffer was a new one.

    A row commits at most once between two calls, and a new buffer is looked at unless the row is
    finished with it.

    Args:
        rows: Number of rows **B**.
        mask_id: Token id of the mask, of which buffers are full at the start.
        listener: Told about the progress too.

    Attributes:
        count: ``[B]`` int64.
    """

    def __init__(self, rows: int, mask_id: int, listener: Listener | None = None) -> None:
        self.count = torch.ones(rows, dtype=torch.int64)
        self._mask_id, self._listener = mask_id, listener
        self._last: torch.Tensor | None = None

    def __call__(self, progress: Progress) -> None:
        """Compare the buffers with those of the last call."""
        response = progress.response
        last = torch.full_like(response, self._mask_id) if self._last is None else self._last
        changed = (response != last).any(1)
        changed[progress.finished] = False
        self.count += changed.cpu()
        self._last = response.clone()
        if self._listener is not None:
            self._listener(progress)


def summarise(setting: Setting, seeds: dict[int, Outcomes]) -> Point:
    """Return the point of a setting, from its outcomes on one set with one or more seeds.

    Verdicts and costs of a problem are averaged over the seeds first, so that the interval is that
    of the number of problems, however many seeds there are.
    """
    rows = [outcome for outcomes in seeds.values() for outcome in outcomes.values()]
    total, nfe = len(rows) // len(seeds), sum(row.nfe for row in rows)
    accuracy = sum(row.correct for row in rows) / len(rows)
    low, high = wilson_interval(round(accuracy * total) / total, total)
    return Point(
        name=setting.name,
        kind=setting.kind,
        params=setting.params,
        block_length=setting.decoding.block_length,
        accuracy=accuracy,
        ci_low=low,
        ci_high=high,
        nfe=nfe / len(rows),
        tokens_per_forward=sum(row.tokens for row in rows) / nfe,
        num_problems=total,
        seed=next(iter(seeds)),
        seconds=sum(row.seconds for row in rows),
    )
