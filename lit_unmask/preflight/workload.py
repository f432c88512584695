"""How many rollouts a run has, and how many row-forwards those take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lit_unmask.callbacks import AccuracyNFE
from lit_unmask.errors import ConfigurationError
from lit_unmask.preflight.asked import Asked
from lit_unmask.preflight.assumptions import COMMITTING, Range
from lit_unmask.preflight.forwards import heuristic_nfe
from lit_unmask.rollout import Decoding
from lit_unmask.tasks.base import ProblemSet

# In the training log that assumptions.py names: mean over largest NFE of the rows of a round, and
# groups whose rollouts have different rewards. Of the others nothing is replayed.
BALANCE = 0.84
SIGNAL = 0.48
# Epochs of a Trainer that is told neither epochs nor steps.
_LIGHTNING_EPOCHS = 1000


@dataclass(frozen=True)
class Savings:
    """Row-forwards of a lock-step loop that need not run, by what saves them.

    Attributes:
        compact: Those of finished rows, which would wait for the slowest.
        skip: Those of rows whose buffer did not change.
        share: Those of the first step, alike in all rows of a group.
    """

    compact: float
    skip: float
    share: float


@dataclass(frozen=True)
class Work:
    """Rollouts of one kind.

    Attributes:
        name: What they are for.
        rollouts: How many.
        charged: Sum of NFE.
        computed: Row-forwards that run.
        savings: What the others come to, at the usual NFE.
        replayed: Steps that the update goes through, counted once for each gradient iteration.
        cost: Time of its row-forward in those of the module's denoiser and length.
    """

    name: str
    rollouts: int
    charged: Range
    computed: Range
    savings: Savings
    replayed: Range = Range.exactly(0.0)  # noqa: RUF009  (frozen)
    cost: float = 1.0

    def share(self, part: float) -> Work:
        """Return a part of these rollouts, none of which is replayed."""
        saved = Savings(*(value * part for value in vars(self.savings).values()))
        charged, computed = self.charged.times(part), self.computed.times(part)
        rollouts = round(self.rollouts * part)
        return replace(self, rollouts=rollouts, charged=charged, computed=computed, savings=saved)


@dataclass(frozen=True)
class Run:
    """What the settings come to.

    Attributes:
        problems: Training problems, or None if their number is not known.
        rounds: Rounds of the whole run, or None.
        epoch_rounds: Rounds of one epoch, or None.
        validations: Validations of the whole run.
        works: Rollouts by kind.
    """

    problems: int | None
    rounds: int | None
    epoch_rounds: int | None
    validations: int
    works: list[Work]

    @property
    def computed(self) -> Range:
        """Row-forwards of the whole run."""
        total = Range.exactly(0.0)
        for work in self.works:
            total += work.computed
        return total


def size_of(problems: ProblemSet | None) -> int | None:
    """Return the number of problems, or None if they cannot be had or nobody knows."""
    try:
        return (len(problems) or None) if problems is not None else None
    except (ConfigurationError, ZeroDivisionError):  # the latter from a mixture of unknown sizes
        return None


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


def plan_run(asked: Asked, ranks: int, kept: float) -> Run:
    """Return what a run's settings come to.

    Args:
        asked: The configuration.
        ranks: Processes.
        kept: Share of the training problems whose prompts are short enough.
    """
    problems = size_of(asked.data.train)
    if problems is None:
        return Run(None, None, None, 0, [])
    problems = round(problems * kept)
    rounds, epoch = rounds_of(asked.trainer, problems, asked.data.batch_size, ranks)
    validations = validations_of(asked.trainer, rounds, epoch)
    works = [*_training(asked, rounds), *_validating(asked, validations)]
    return Run(problems, rounds, epoch, validations, works)


@dataclass(frozen=True)
class _Kind:
    """Rollouts of one kind.

    Attributes:
        name: What they are for.
        rollouts: How many.
        nfe: Mean NFE of one.
        group: Rollouts that share a prompt; None for a heuristic, which commits in each step.
        replays: Times that the update goes through each step.
    """

    name: str
    rollouts: int
    nfe: Range
    group: int | None = None
    replays: int = 0


def _training(asked: Asked, rounds: int) -> Iterator[Work]:
    """Return the rollouts of the policy, and those of experts."""
    model, prompts = asked.model, rounds * asked.data.batch_size
    group, decoding, replays = model.rounds.group_size, model.decoding, model.rounds.num_iterations
    nfe = asked.assumptions.learned_nfe(decoding)
    yield _work(_Kind("training", prompts * group, nfe, group, replays), decoding)
    for name, expert in model.experts.items():
        nfe = heuristic_nfe(expert.policy, expert.decoding(decoding))
        kind = _Kind(f"expert {name}", prompts * expert.count, nfe, None, replays)
        yield _work(kind, decoding)


def _validating(asked: Asked, validations: int) -> Iterator[Work]:
    """Return the rollouts of validations, and of the baselines, which run once."""
    limit = asked.trainer["limit_val_batches"]
    sizes = [size_of(problems) or 0 for problems in asked.data.val.values()]
    if isinstance(limit, int):
        sizes = [min(size, limit * asked.data.eval_batch_size) for size in sizes]
    problems, decoding = sum(sizes), asked.model.eval_decoding
    if not problems or not validations:
        return
    nfe = asked.assumptions.learned_nfe(decoding)
    yield _work(_Kind("validation", problems * validations, nfe, 1), decoding)
    shown = [found for found in asked.callbacks if isinstance(found, AccuracyNFE)]
    for baseline in (each for found in shown for each in found.baselines.items()):
        nfe = heuristic_nfe(baseline[1].policy, baseline[1].decoding(decoding))
        yield _work(_Kind(f"baseline {baseline[0]}", problems, nfe), decoding)


def _work(kind: _Kind, decoding: Decoding) -> Work:
    """Return the row-forwards of rollouts.

    A lock-step loop runs ``rollouts * nfe / balance``. Of the ``rollouts * nfe`` that are charged,
    skipping saves the share of steps that commit nothing, which only policies that draw have, and
    only with ``on_empty="wait"``. Sharing saves the first step of all rows of a group but one. The
    update replays the steps of groups with a signal.
    """
    charged = kind.nfe.times(kind.rollouts)
    scheduling, draws = decoding.scheduling, kind.group is not None
    waits = scheduling.skip and decoding.on_empty == "wait" and draws
    kept = COMMITTING if waits else 1.0
    shares = scheduling.share and decoding.temperature == 0 and draws
    shared = kind.rollouts * (1 - 1 / (kind.group or 1)) if shares else 0.0
    return Work(
        name=kind.name,
        rollouts=kind.rollouts,
        charged=charged,
        computed=charged.times(kept).less(shared),
        savings=Savings(charged.usual * (1 / BALANCE - 1), charged.usual * (1 - kept), shared),
        replayed=charged.times(kind.replays * SIGNAL),
    )


def _limited(batches: int, limit: int | float | None) -> int:
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)
