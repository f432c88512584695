"""How many rollouts a training run has, and how many row-forwards those take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lit_unmask.preflight.assumptions import COMMITTING, Range, heuristic_nfe
from lit_unmask.preflight.dry_run import Request
from lit_unmask.preflight.problems import size_of
from lit_unmask.rollout import Decoding
from lit_unmask.tasks.base import ProblemSet

# In the training log that assumptions.py names: mean over largest NFE of the rows of a round, and
# groups whose rollouts have different rewards. Of the others nothing is replayed.
BALANCE = 0.84
SIGNAL = 0.48
# Answers of the expert to each rollout of a policy that is taught, in whole answers: 0.3 to 0.8 in
# runs on tiny-llada, more while the policy is often wrong.
FINISHED = 0.5
# Epochs of a Trainer that is told neither epochs nor steps.
_LIGHTNING_EPOCHS = 1000


@dataclass(frozen=True)
class Work:
    """Rollouts of one kind.

    A loop in lock step would run ``charged / BALANCE`` row-forwards, as finished rows wait for the
    slowest of their batch; compaction saves those that are not charged.

    Attributes:
        name: What they are for.
        rollouts: How many.
        charged: Sum of NFE.
        skip: Usual row-forwards that are saved as the buffer did not change.
        share: Row-forwards that are saved in first steps, alike in all rows of a group.
        replayed: Steps that the update goes through, counted once for each gradient iteration.
        cost: Time of its row-forward in those of the module's denoiser and length.
    """

    name: str
    rollouts: int
    charged: Range
    skip: float = 0.0
    share: float = 0.0
    replayed: Range = field(default_factory=lambda: Range.exactly(0.0))
    cost: float = 1.0

    @property
    def computed(self) -> Range:
        """Row-forwards that run."""
        kept = 1 - self.skip / self.charged.usual if self.skip else 1.0
        return self.charged.times(kept).less(self.share)


@dataclass(frozen=True)
class Run:
    """What the settings come to.

    Attributes:
        works: Rollouts by kind.
        problems: Training problems, or None if their number is not known.
        rounds: Rounds of the whole run, or None.
        epoch_rounds: Rounds of one epoch, or None.
        validations: Validations of the whole run.
    """

    works: list[Work]
    problems: int | None = None
    rounds: int | None = None
    epoch_rounds: int | None = None
    validations: int = 0

    @property
    def computed(self) -> Range:
        """Row-forwards of the whole run."""
        return sum((work.computed for work in self.works), Range.exactly(0.0))


def rounds_of(trainer: Mapping[str, Any], problems: int, batch: int, ranks: int) -> tuple[int, int]:
    """Return rounds of the run and of an epoch.

    Args:
        trainer: Arguments of ``Trainer``.
        problems: Training problems.
        batch: Prompts a round, over all ranks.
        ranks: Processes.
    """
    full = (problems // ranks) // max(batch // ranks, 1)
    epoch = _limited(full, trainer["limit_train_batches"])
    epochs, steps = trainer["max_epochs"], trainer["max_steps"]
    if epochs is None:
        epochs = _LIGHTNING_EPOCHS if steps == -1 else -1
    rounds = math.inf if epochs == -1 else epochs * epoch
    return int(rounds if steps == -1 else min(rounds, steps)), epoch


def validations_of(trainer: Mapping[str, Any], rounds: int, epoch: int) -> int:
    """Return the number of validations of a run of so many rounds, ``epoch`` of them an epoch."""
    interval = trainer["val_check_interval"]
    every = trainer["check_val_every_n_epoch"]
    if trainer["limit_val_batches"] == 0 or not epoch:
        return 0
    if every is None:
        return rounds // int(interval or 1)
    batches = int(interval) if isinstance(interval, int) else int(epoch * (interval or 1.0))
    each = epoch // max(batches, 1)
    epochs, rest = divmod(rounds, epoch)
    return epochs // every * each + (rest // max(batches, 1) if every == 1 else 0)


def evaluated_size(request: Request, problems: ProblemSet, stage: str) -> int:
    """Return how many problems of a set an evaluation of a stage takes (``val``, ``test``, ...)."""
    size, limit = size_of(problems) or 0, request.trainer[f"limit_{stage}_batches"]
    return _limited(size, limit * request.data.eval_batch_size if type(limit) is int else limit)


def plan_run(request: Request, ranks: int, kept: float) -> Run:
    """Return what a training run's settings come to, but for what callbacks evaluate.

    Args:
        request: The configuration.
        ranks: Processes.
        kept: Share of the training problems whose prompts are short enough.
    """
    data, trainer = request.data, request.trainer
    problems = size_of(data.train)
    if problems is None:
        return Run([])
    problems = round(problems * kept)
    rounds, epoch = rounds_of(trainer, problems, data.batch_size, ranks)
    validations = validations_of(trainer, rounds, epoch)
    teaching = request.model.teaching
    taught = 0 if teaching is None else min(teaching.rounds, rounds)
    works = [*_teaching(request, taught), *_training(request, rounds - taught)]
    decoding = request.model.eval_decoding
    count = sum(evaluated_size(request, problems, "val") for problems in data.val.values())
    if count and validations:
        nfe = request.assumptions.learned_nfe(decoding).times(count * validations)
        works.append(_learning("validation", count * validations, nfe, decoding, 1))
    return Run(works, problems, rounds, epoch, validations)


def _teaching(request: Request, rounds: int) -> Iterator[Work]:
    """Yield the rollouts of rounds that teach from finished answers, and what finishes them."""
    model, teaching, batch = request.model, request.model.teaching, request.data.batch_size
    if not rounds or teaching is None:
        return
    first = min(teaching.oracle_rounds, rounds) * batch
    later = rounds * batch - first
    nfe = heuristic_nfe(teaching.expert.policy, teaching.expert.decoding(model.decoding))
    answers = first + round(later * FINISHED)
    yield Work("teaching, expert", answers, nfe.times(answers))
    if later:
        charged = request.assumptions.learned_nfe(model.decoding).times(later)
        yield _learning("teaching, policy", later, charged, model.decoding, 1)


def _training(request: Request, rounds: int) -> Iterator[Work]:
    """Yield the rollouts of the policy, and those of experts."""
    if not rounds:
        return
    model, prompts = request.model, rounds * request.data.batch_size
    group, decoding = model.rounds.group_size, model.decoding
    count = prompts * group
    nfe = request.assumptions.learned_nfe(decoding).times(count)
    work = _learning("training", count, nfe, decoding, group)
    yield replace(work, replayed=nfe.times(model.rounds.num_iterations * SIGNAL))
    for name, expert in model.experts.items():
        count = prompts * expert.count
        nfe = heuristic_nfe(expert.policy, expert.decoding(decoding))
        yield Work(f"expert {name}", count, nfe.times(count))


def _learning(name: str, rollouts: int, charged: Range, decoding: Decoding, group: int) -> Work:
    """Return the row-forwards of rollouts of a policy that draws, ``group`` to a prompt.

    Skipping saves the share of steps that commit nothing, which there are only with
    ``on_empty="wait"``. Sharing saves the first step of all rows of a group but one. The update
    replays the steps of groups with a signal.
    """
    scheduling = decoding.scheduling
    waits = scheduling.skip and decoding.on_empty == "wait"
    skip = charged.usual * (1 - COMMITTING) if waits else 0.0
    shares = scheduling.share and decoding.temperature == 0
    return Work(name, rollouts, charged, skip, rollouts * (1 - 1 / group) if shares else 0.0)


def _limited(batches: int, limit: int | float | None) -> int:
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)
