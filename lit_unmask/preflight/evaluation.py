"""How many rollouts an evaluation has, and how many row-forwards those take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

from lit_unmask.callbacks import AccuracyNFE, Demonstrate, Frontier, TransferTest
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.grid import HeuristicGrid, Setting, settings
from lit_unmask.preflight.assumptions import Range
from lit_unmask.preflight.dry_run import Request
from lit_unmask.preflight.problems import size_of
from lit_unmask.preflight.workload import Run, Work, evaluated_size
from lit_unmask.rollout import Decoding
from lit_unmask.tasks.base import ProblemSet

# Of the settings of a heuristic that are tuned, those that are on a front and so are tested: 35 of
# 54 when tiny-llada was tuned on 64 problems, and 6 of 19 when tiny-dream was on 24.
_ON_FRONTS = 0.65


@dataclass(frozen=True)
class Tried:
    """Settings of which some are run on a set.

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


def plan_evaluation(request: Request, prompt_tokens: int) -> Run:
    """Return what an evaluation comes to, as if nothing of it were in a store yet."""
    if any(size_of(problems) is None for problems in request.sets.values()):
        return Run([])
    return Run([*_own(request), *callback_works(request, prompt_tokens)])


def callback_works(request: Request, prompt_tokens: int) -> Iterator[Work]:
    """Yield the rollouts that callbacks add to those of the stage."""
    for callback in request.callbacks:
        yield from _works(callback, request, prompt_tokens)


def check_tuning(request: Request) -> None:
    """Refuse reported sets without one to tune on, where a callback tunes heuristics.

    Raises:
        ConfigurationError: If there is such a set; names it.
    """
    missing = sorted(set(_reported(request)) - set(request.data.tuning))
    if missing and _frontiers(request):
        raise ConfigurationError(
            f"data.tuning has no set named {missing}, on which heuristics would be tuned"
        )


def lengths(request: Request) -> list[int]:
    """Return the generation lengths of a stage, of cells too."""
    decoding = request.model.eval_decoding
    cells = [cell for found in _transfers(request) for cell in found.cells.values()]
    also = [request.model.decoding] if request.stage == "fit" else []
    found = [decoding, *also, *(cell.decoding(decoding) for cell in cells)]
    return [decoding.gen_length for decoding in found]


def largest_batch(request: Request, ranks: int) -> int:
    """Return how many rollouts a rank makes at once, at most."""
    data = request.data
    if request.stage == "fit":
        return data.batch_size // ranks * request.model.collector.group_size
    chunks = [found.options.chunk for found in [*_transfers(request), *_frontiers(request)]]
    return max([data.eval_batch_size, *chunks])


def _transfers(request: Request) -> list[TransferTest]:
    found = [callback for callback in request.callbacks if isinstance(callback, TransferTest)]
    return found if request.stage == "test" else []


def _frontiers(request: Request) -> list[Frontier]:
    """Return the callbacks that tune heuristics and run them in the stage."""
    found = [callback for callback in request.callbacks if isinstance(callback, Frontier)]
    runs = {"test": lambda _: True, "validate": lambda o: o.validate, "fit": lambda o: o.fit}
    asks = runs.get(request.stage, lambda _: False)
    return [callback for callback in found if asks(callback.options)]


@singledispatch
def _works(callback: object, request: Request, prompt_tokens: int) -> Iterator[Work]:
    """Yield the rollouts that a callback adds; of most callbacks none that matter."""
    yield from ()


@_works.register
def _(callback: AccuracyNFE, request: Request, prompt_tokens: int) -> Iterator[Work]:
    if request.stage not in ("fit", "validate"):
        return
    sets, decoding = request.data.val.values(), request.model.eval_decoding
    count = sum(evaluated_size(request, problems, "val") for problems in sets)
    for name, baseline in callback.baselines.items():
        nfe = _nfe(request, baseline.policy, baseline.decoding(decoding))
        yield Work(f"baseline {name}", count, nfe.times(count))


@_works.register
def _(callback: Frontier, request: Request, prompt_tokens: int) -> Iterator[Work]:
    if callback not in _frontiers(request):
        return
    options, decoding = callback.options, request.model.eval_decoding
    policies = len(callback.checkpoints) + (options.policy_name is not None)
    blocks = options.block_lengths or [decoding.block_length]
    learned = [
        _nfe(request, request.model.policy, replace(decoding, block_length=block))
        for block in blocks
    ] * policies
    seeds = len(options.seeds or [0])
    heuristics, fronts = [], []
    for mine in _by_name(callback.grids, decoding):
        nfe = [_nfe(request, each.policy, each.decoding) for each in mine]
        repeats = seeds if any(each.draws for each in mine) else 1
        heuristics.append(Tried.all(nfe, repeats))
        most, usual = len(nfe), _ON_FRONTS * len(nfe)
        if options.tested == "closest":  # the best in full diffusion and the best of all
            most = usual = min(2, most)
        fronts += [Tried(nfe, 1, usual, most, repeats)] * bool(nfe)
    policy = Tried.all(learned, seeds)
    tested = heuristics if options.tested == "all" else fronts
    count = len(learned) + sum(len(each.nfe) for each in heuristics)
    stage = "validate" if request.stage == "validate" else "test"
    for name, problems in _reported(request).items():
        tuning = f"{name}, tuning (settings: {count}, seeds: {seeds})"
        yield _work(tuning, request.data.tuning[name], [policy, *heuristics])
        yield _work(f"{name}, {stage}", problems, [policy, *tested])


@_works.register
def _(callback: TransferTest, request: Request, prompt_tokens: int) -> Iterator[Work]:
    if callback not in _transfers(request):
        return
    usual = request.spec.sizes.operations(prompt_tokens, request.model.eval_decoding.gen_length)
    for name, cell in callback.cells.items():
        decoding = cell.decoding(request.model.eval_decoding)
        grids = callback.grids if cell.grids is None else cell.grids
        policy = Tried.all([_nfe(request, request.model.policy, decoding)])
        mine = [each for named in _by_name(grids, decoding) for each in named]
        nfe = [_nfe(request, each.policy, each.decoding) for each in mine]
        # The closest setting and the most accurate one, which rarely are the same.
        two = Tried(nfe, 1, min(2, len(nfe)), min(2, len(nfe)))
        other: Any = cell.denoiser
        spec = request.spec if other is None else other.itself
        cost = spec.sizes.operations(prompt_tokens, decoding.gen_length) / usual
        tuning = f"{name}, tuning (settings: {1 + len(nfe)})"
        yield _work(tuning, cell.tuning, [policy, Tried.all(nfe)], cost)
        yield _work(f"{name}, test", cell.test, [policy, two], cost)


def _work(name: str, problems: ProblemSet, tried: Sequence[Tried], cost: float = 1.0) -> Work:
    """Return the rollouts of settings on a set.

    Each step commits something or is forced to, and no two rows are alike: all of it is computed.
    """
    each = size_of(problems) or 0
    charged = sum((some.forwards.times(each * some.seeds) for some in tried), Range.exactly(0.0))
    rollouts = round(each * sum(some.usual * some.seeds for some in tried))
    return Work(name, rollouts, charged, cost=cost)


def _own(request: Request) -> Iterator[Work]:
    """Yield the rollouts of the module's policy on the sets of the stage."""
    decoding, stage = request.model.eval_decoding, request.stage
    if stage == "predict" and any(isinstance(c, Demonstrate) for c in request.callbacks):
        decoding = request.model.decoding
    nfe = _nfe(request, request.model.policy, decoding)
    for name, problems in _reported(request).items():
        size = evaluated_size(request, problems, "val" if stage == "validate" else stage)
        yield Work(f"{name}: policy", size, nfe.times(size))


def _reported(request: Request) -> Mapping[str, ProblemSet]:
    """Return the sets that the stage reports on."""
    return request.data.val if request.stage == "validate" else request.data.test


def _nfe(request: Request, policy: object, decoding: Decoding) -> Range:
    return request.assumptions.trained_nfe(policy, decoding)  # type: ignore[arg-type]


def _by_name(grids: Mapping[str, HeuristicGrid], decoding: Decoding) -> list[list[Setting]]:
    """Return the settings of each heuristic."""
    found: dict[str, list[Setting]] = {name: [] for name in grids}
    for each in settings(dict(grids), decoding):
        found[each.name].append(each)
    return list(found.values())
