"""How many rollouts an evaluation has, and how many row-forwards those take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch

from lit_unmask.callbacks import AccuracyNFE, Demonstrate, Frontier, TransferTest
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.grid import HeuristicGrid, settings
from lit_unmask.preflight.asked import Asked
from lit_unmask.preflight.assumptions import Range
from lit_unmask.preflight.blueprint import Blueprint
from lit_unmask.preflight.forwards import tested_nfe
from lit_unmask.preflight.workload import BALANCE, Run, Savings, Work, size_of
from lit_unmask.rollout import Decoding
from lit_unmask.tasks.base import ProblemSet

# Of the settings of a heuristic that are tuned, those that are on a front and so are tested: 35 of
# 54 when tiny-llada was tuned on 64 problems, and 6 of 19 when tiny-dream was on 24.
_ON_FRONTS = 0.65


@dataclass(frozen=True)
class Tried:
    """Settings that are run on a set.

    Attributes:
        nfe: Mean forwards of each setting.
        least: Fewest of them that are run.
        usual: How many usually are.
        most: Most of them that are run.
        seeds: Seeds of the noise; one that draws nothing is computed with one of them.
    """

    nfe: Sequence[Range]
    least: int
    usual: float
    most: int
    seeds: int = 1

    @classmethod
    def all(cls, nfe: Sequence[Range], seeds: int = 1) -> Tried:
        """Return settings of which all are run."""
        return cls(nfe, len(nfe), len(nfe), len(nfe), seeds)

    @property
    def forwards(self) -> Range:
        """Forwards of one problem in all settings that are run: any, but the costliest last."""
        if not self.nfe:
            return Range.exactly(0.0)
        lows, highs = sorted(nfe.low for nfe in self.nfe), sorted(nfe.high for nfe in self.nfe)
        usual = sum(nfe.usual for nfe in self.nfe) / len(self.nfe) * self.usual
        return Range(sum(lows[: self.least]), usual, sum(highs[-self.most :]))


@dataclass(frozen=True)
class Condition:
    """Where settings are run.

    Attributes:
        name: What to call it.
        problems: The set.
        cost: Of a row-forward; see :class:`~lit_unmask.preflight.workload.Work`.
    """

    name: str
    problems: ProblemSet
    cost: float = 1.0

    def work(self, *tried: Tried) -> Work:
        """Return the rollouts of settings under it."""
        each = size_of(self.problems) or 0
        charged = Range.exactly(0.0)
        for some in tried:
            charged += some.forwards.times(each * some.seeds)
        lock_step = charged.usual * (1 / BALANCE - 1)
        rollouts = round(each * sum(some.usual * some.seeds for some in tried))
        # Each step commits something or is forced to, and no two rows are alike.
        saved = Savings(lock_step, 0.0, 0.0)
        return Work(self.name, rollouts, charged, charged, saved, cost=self.cost)


def plan_evaluation(asked: Asked, prompt_tokens: int) -> Run:
    """Return what an evaluation comes to, as if nothing of it were in a store yet.

    Args:
        asked: The configuration.
        prompt_tokens: Tokens of a prompt.
    """
    run = Run(None, None, None, 0, [])
    if any(size_of(problems) is None for problems in asked.sets.values()):
        return run
    works = list(_own(asked))
    for callback in asked.callbacks:
        works += works_of(callback, asked, prompt_tokens)
    return replace(run, works=works)


def check_evaluation(asked: Asked) -> None:
    """Refuse what cannot be evaluated.

    Raises:
        ConfigurationError: If the stage has no sets, or one of them none to tune on.
    """
    kind, sets = _reported(asked)
    if not sets:
        raise ConfigurationError(
            f"data.{kind} is not set; {asked.stage} needs at least one named set"
        )
    check_tuning(asked)


def check_tuning(asked: Asked) -> None:
    """Refuse reported sets without one to tune on, where a callback tunes heuristics.

    Raises:
        ConfigurationError: If there is such a set; names it.
    """
    missing = sorted(set(_reported(asked)[1]) - set(asked.data.tuning))
    if missing and any(_runs(callback, asked) for callback in asked.callbacks):
        raise ConfigurationError(
            f"data.tuning has no set named {missing}, on which heuristics would be tuned"
        )


def lengths(asked: Asked) -> list[int]:
    """Return the generation lengths of an evaluation, of cells too."""
    decoding = asked.model.eval_decoding
    cells = [c for found in _transfers(asked) for c in found.cells.values()]
    return [decoding.gen_length, *(cell.decoding(decoding).gen_length for cell in cells)]


def largest_batch(asked: Asked) -> int:
    """Return how many problems a rank is handed at once, at most."""
    sizes = [asked.data.eval_batch_size]
    sizes += [found.options.chunk for found in _transfers(asked)]
    for callback in asked.callbacks:
        if isinstance(callback, Frontier) and _runs(callback, asked):
            sizes.append(callback.options.chunk)
    return max(sizes)


def _transfers(asked: Asked) -> list[TransferTest]:
    found = [callback for callback in asked.callbacks if isinstance(callback, TransferTest)]
    return found if asked.stage == "test" else []


@singledispatch
def works_of(callback: object, asked: Asked, prompt_tokens: int) -> Iterator[Work]:
    """Yield the rollouts that a callback adds; of most callbacks none that matter.

    Args:
        callback: One of the configuration.
        asked: The configuration.
        prompt_tokens: Tokens of a prompt.
    """
    yield from ()


@works_of.register
def _(callback: AccuracyNFE, asked: Asked, prompt_tokens: int) -> Iterator[Work]:
    if asked.stage != "validate":
        return
    decoding = asked.model.eval_decoding
    baselines = callback.baselines.values()
    nfe = [_nfe(asked, baseline.policy, baseline.decoding(decoding)) for baseline in baselines]
    for name, problems in asked.data.val.items():
        yield Condition(f"{name}: baselines ({len(nfe)})", problems).work(Tried.all(nfe))


@works_of.register
def _(callback: Frontier, asked: Asked, prompt_tokens: int) -> Iterator[Work]:
    if not _runs(callback, asked):
        return
    options, decoding = callback.options, asked.model.eval_decoding
    policies = len(callback.checkpoints) + (options.policy_name is not None)
    blocks = options.block_lengths or [decoding.block_length]
    learned = [
        _nfe(asked, asked.model.policy, replace(decoding, block_length=block))
        for block in blocks
        for _ in range(policies)
    ]
    heuristics, seeds = _by_name(asked, callback.grids, decoding), len(options.seeds or [0])
    policy = Tried.all(learned, seeds)
    all_of_them, fronts = [], []
    for nfe, draws in zip(heuristics, _drawing(callback.grids, decoding), strict=True):
        repeats = seeds if draws else 1
        all_of_them.append(Tried.all(nfe, repeats))
        most = len(nfe)
        usual = _ON_FRONTS * most
        if options.tested == "closest":  # the best in full diffusion and the best of all
            most = min(2, most)
            usual = most
        fronts += [Tried(nfe, 1, usual, most, repeats)] * bool(nfe)
    tuned = [policy, *all_of_them]
    tested = tuned if options.tested == "all" else [policy, *fronts]
    count = len(learned) + sum(map(len, heuristics))
    said = f"settings: {count}, seeds: {seeds}"
    for name, problems in _reported(asked)[1].items():
        yield Condition(f"{name}, tuning ({said})", asked.data.tuning[name]).work(*tuned)
        stage = "validate" if asked.stage == "validate" else "test"
        yield Condition(f"{name}, {stage}", problems).work(*tested)


@works_of.register
def _(callback: TransferTest, asked: Asked, prompt_tokens: int) -> Iterator[Work]:
    if asked.stage != "test":
        return
    for name, cell in callback.cells.items():
        decoding = cell.decoding(asked.model.eval_decoding)
        grids = callback.grids if cell.grids is None else cell.grids
        policy = Tried.all([_nfe(asked, asked.model.policy, decoding)])
        nfe = [each for named in _by_name(asked, grids, decoding) for each in named]
        # The closest setting and the most accurate one, which rarely are the same.
        two = Tried(nfe, 1, min(2, len(nfe)), min(2, len(nfe)))
        cost = _cost(asked, cell.denoiser, decoding, prompt_tokens)
        tuning = Condition(f"{name}, tuning (settings: {1 + len(nfe)})", cell.tuning, cost=cost)
        yield tuning.work(policy, Tried.all(nfe))
        yield Condition(f"{name}, test", cell.test, cost=cost).work(policy, two)


def _own(asked: Asked) -> Iterator[Work]:
    """Yield the rollouts of the module's policy on the sets of the stage."""
    kind, sets = _reported(asked)
    decoding = asked.model.eval_decoding
    if asked.stage == "predict" and any(isinstance(c, Demonstrate) for c in asked.callbacks):
        decoding = asked.model.decoding
    limit = asked.trainer[f"limit_{kind if asked.stage == 'validate' else asked.stage}_batches"]
    nfe = Tried.all([_nfe(asked, asked.model.policy, decoding)])
    for name, problems in sets.items():
        size = size_of(problems) or 0
        if isinstance(limit, int):
            size = min(size, limit * asked.data.eval_batch_size)
        elif limit is not None:
            size = int(size * limit)
        work = Condition(f"{name}: policy", problems).work(nfe)
        yield work.share(size / max(work.rollouts, 1))


def _reported(asked: Asked) -> tuple[str, Mapping[str, ProblemSet]]:
    """Return which sets the stage reports on."""
    if asked.stage == "validate":
        return "val", asked.data.val
    return "test", asked.data.test


def _runs(callback: object, asked: Asked) -> bool:
    """Return whether a callback tunes heuristics and runs them in the stage."""
    if not isinstance(callback, Frontier):
        return False
    asks = {"test": True, "validate": callback.options.validate, "fit": callback.options.fit}
    return asks.get(asked.stage, False)


def _nfe(asked: Asked, policy: object, decoding: Decoding) -> Range:
    return tested_nfe(policy, decoding, asked.assumptions)  # type: ignore[arg-type]


def _by_name(
    asked: Asked, grids: Mapping[str, HeuristicGrid], decoding: Decoding
) -> list[list[Range]]:
    """Return the forwards of all settings of each heuristic."""
    found: dict[str, list[Range]] = {name: [] for name in grids}
    for each in settings(dict(grids), decoding):
        found[each.name].append(_nfe(asked, each.policy, each.decoding))
    return list(found.values())


def _drawing(grids: Mapping[str, HeuristicGrid], decoding: Decoding) -> list[bool]:
    """Return of each heuristic whether it depends on the seed of the noise."""
    drawing = {each.name for each in settings(dict(grids), decoding) if each.draws}
    return [name in drawing for name in grids]


def _cost(asked: Asked, other: object, decoding: Decoding, prompt_tokens: int) -> float:
    """Return the operations of a row-forward of a cell in those of the module's."""
    own = asked.denoiser
    denoiser = other if isinstance(other, Blueprint) else own
    usual = own.sizes.operations(prompt_tokens, asked.model.eval_decoding.gen_length)
    return denoiser.sizes.operations(prompt_tokens, decoding.gen_length) / usual
