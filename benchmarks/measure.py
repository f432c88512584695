"""Times both loops on one job, in one process, and checks that they decode the same."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TypeVar

import torch
from cases import Workload
from plain_loop import PlainRollout, plain_rollout
from torch import Tensor, nn

from lit_unmask.policies import Policy
from lit_unmask.policies.actions import UnmaskDistribution
from lit_unmask.rollout import Noise, Rollout, rollout
from lit_unmask.types import Observation, Prompt

BATCH_SIZES = (4, 8, 16, 32, 64)
MOST_FLIPS = 0.01
"""Largest share of rows that rounding may carry to another trajectory."""

Result = TypeVar("Result")


@dataclass
class Loop:
    """What was measured on one of the two loops.

    Attributes:
        seconds: Wall time, one a repetition.
        computed: Row-forwards, of one repetition.
        memory: Peak memory a row beyond the weights in 1e9 bytes, None on the CPU.
        shares: Share of the wall time by part, of one repetition; empty on an accelerator, which
            runs behind the clock of the loop.
    """

    seconds: list[float] = field(default_factory=list)
    computed: int = 0
    memory: float | None = None
    shares: dict[str, float] = field(default_factory=dict)

    def run(self, call: Callable[[], Result], work: Workload) -> Result:
        """Run the loop once and note its seconds, and its memory or its shares."""
        device = work.denoiser.device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            result, seconds = timed(call, device)
            peak = torch.cuda.max_memory_allocated(device) - before
            rows = work.decoding.scheduling.max_rows or len(work.prompt)
            self.memory = peak / rows / 1e9
        else:
            with _Stopwatch(work.denoiser) as denoiser, _Stopwatch(work.policy) as policy:
                result, seconds = timed(call, device)
            parts = {"denoiser": denoiser, "policy": policy}
            self.shares = {name: part.seconds / seconds for name, part in parts.items()}
        self.seconds.append(seconds)
        return result


@dataclass
class Samples:
    """What was measured on one job.

    Attributes:
        rows: Rows **B**.
        plain: The plain loop.
        engine: The package's loop.
        tau: Best seconds a row-forward of this length, over batch sizes and repetitions.
        needed: Distinct (prompt, buffer) states at which the denoiser must be asked.
        flipped: Rows that rounding carried to another trajectory, in one repetition at most.
    """

    rows: int
    plain: Loop = field(default_factory=Loop)
    engine: Loop = field(default_factory=Loop)
    tau: float = float("inf")
    needed: int = 0
    flipped: int = 0


def run_plain(work: Workload) -> PlainRollout:
    """Decode with the plain loop."""
    return plain_rollout(work.denoiser, work.policy, work.prompt, work.decoding, work.noise)


def run_engine(work: Workload) -> Rollout:
    """Decode with the package's loop."""
    return rollout(work.denoiser, work.policy, work.prompt, work.decoding, work.noise)


def sample(work: Workload, repeats: int, barrier: Callable[[], object] = lambda: None) -> Samples:
    """Time both loops alternately; which goes first alternates too.

    Args:
        work: The job.
        repeats: Repetitions.
        barrier: Called before each run, for ranks that are to start together.
    """
    samples = Samples(len(work.prompt))
    calibrate(work, BATCH_SIZES[:1])  # warms up
    for repetition in range(repeats):
        barrier()
        samples.tau = min(samples.tau, calibrate(work, BATCH_SIZES))
        plain, engine = _run_both(work, samples, repetition % 2 == 0, barrier)
        samples.plain.computed, samples.engine.computed = plain.computed, engine.ledger.computed
        samples.flipped = max(samples.flipped, check(work, plain, engine))
        samples.needed = needed_forwards(work, engine)
    return samples


def _run_both(
    work: Workload, samples: Samples, plain_first: bool, barrier: Callable[[], object]
) -> tuple[PlainRollout, Rollout]:
    """Run both loops once, in either order."""

    def plain() -> PlainRollout:
        barrier()
        return samples.plain.run(lambda: run_plain(work), work)

    def engine() -> Rollout:
        barrier()
        return samples.engine.run(lambda: run_engine(work), work)

    if plain_first:
        return plain(), engine()
    decoded = engine()
    return plain(), decoded


def timed(call: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """Return a call's result and its seconds, with all work of the device done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    result = call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - start


class _Stopwatch:
    """Adds up the seconds that a module spends in its forward."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.seconds = module, 0.0

    def __enter__(self) -> _Stopwatch:
        self.hooks = [
            self.module.register_forward_pre_hook(self._start),
            self.module.register_forward_hook(self._stop),
        ]
        return self

    def _start(self, *_: object) -> None:
        self.since = time.perf_counter()

    def _stop(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self.since

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()


def calibrate(work: Workload, sizes: tuple[int, ...]) -> float:
    """Return the best seconds a row-forward over batch sizes, for prompts of mean length.

    All rows have one length, so that there is no padding.
    """
    attention = work.prompt.attention
    length = round(float(attention.sum(1).float().mean()))
    most = work.decoding.scheduling.max_rows or len(attention)
    best = float("inf")
    for size in sorted({min(size, most) for size in sizes}):
        tokens = torch.full((size, length), work.denoiser.pad_id, device=attention.device)
        prompt = Prompt(tokens, torch.ones_like(tokens, dtype=torch.bool))
        shape = (size, work.decoding.gen_length)
        masks = torch.full(shape, work.denoiser.mask_id, device=attention.device)

        def call(prompt: Prompt = prompt, masks: Tensor = masks) -> object:
            return work.denoiser(prompt, masks, work.policy.signals)

        best = min(best, *(timed(call, attention.device)[1] / size for _ in range(2)))
    return best


def needed_forwards(work: Workload, result: Rollout) -> int:
    """Return the number of distinct (prompt, buffer) states at which the denoiser must be asked.

    A row asks at its first step and after each commit, unless that was its last step. At a positive
    token temperature rows draw their own tokens and no two states count as one.
    """
    prompt = torch.cat([work.prompt.tokens, work.prompt.attention.long()], dim=1)
    group = torch.unique(prompt, dim=0, return_inverse=True)[1]
    states = []
    for row in range(len(work.prompt)):
        at = result.committed_at[row]
        after = at[at >= 0].unique() + 1
        steps = torch.cat([after.new_zeros(1), after[after < result.decisions[row]]])
        known = (at >= 0) & (at < steps[:, None])
        buffers = torch.where(known, result.response[row], work.denoiser.mask_id)
        own = group[row] if work.decoding.temperature == 0 else torch.as_tensor(row)
        states.append(torch.cat([own.expand(len(steps), 1).to(buffers), buffers], dim=1))
    return len(torch.cat(states).unique(dim=0))


def check(work: Workload, plain: PlainRollout, engine: Rollout) -> int:
    """Compare two trajectories of a job; raise RuntimeError where rounding cannot explain them.

    Below float32 the shape of a batch changes logits by whole rounding steps, so that proposals
    differ often: there only the steps are compared, which a replay does not take from them.

    Returns:
        Rows whose trajectory differs. Each was decoded again by both loops in float64, with the
        same outcome, and there is one at most or at most ``MOST_FLIPS`` of all rows.
    """
    for result in (plain, engine):
        if work.committed_at is not None and not torch.equal(
            result.committed_at, work.committed_at
        ):
            raise RuntimeError("a replay did not commit its positions at their steps")
    differing = _differing(plain, engine)
    if work.denoiser.network.dtype != torch.float32:
        if work.committed_at is None:
            raise RuntimeError("only replays can be compared below float32")
        return len(differing)
    if len(differing) > max(1, MOST_FLIPS * len(work.prompt)):
        raise RuntimeError(f"{len(differing)} of {len(work.prompt)} rows differ: no rounding")
    if len(differing):
        exact = _in_double(work, differing)
        if len(_differing(run_plain(exact), run_engine(exact))):
            raise RuntimeError("rows differ in float64 too: the loops are not the same")
    return len(differing)


def _differing(plain: PlainRollout, engine: Rollout) -> Tensor:
    """Return the rows ``[F]`` int64 in which response, steps or NFE differ."""
    same = (plain.response == engine.response).all(1) & (plain.nfe == engine.nfe)
    return (~same | (plain.committed_at != engine.committed_at).any(1)).nonzero()[:, 0]


class _Double(Policy):
    """A copy of a policy in float64."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.inner, self.signals = copy.deepcopy(policy).double(), policy.signals

    def forward(self, observation: Observation) -> UnmaskDistribution:
        signals = {name: value.double() for name, value in observation.signals.items()}
        confidence = observation.confidence.double()
        return self.inner(replace(observation, confidence=confidence, signals=signals))


def _in_double(work: Workload, rows: Tensor) -> Workload:
    """Return some rows of a job in float64."""
    return replace(
        work,
        denoiser=copy.deepcopy(work.denoiser).double(),
        policy=_Double(work.policy),
        prompt=work.prompt.select(rows),
        noise=Noise(work.noise.seed, work.noise.rollout[rows]),
        committed_at=None,
    )


def merge(parts: list[Samples]) -> Samples:
    """Return the samples of a job that ranks shared: they end when the slowest does."""
    loops = {
        name: Loop(
            [max(seconds) for seconds in _by_repetition(parts, name)],
            sum(getattr(part, name).computed for part in parts),
        )
        for name in ("plain", "engine")
    }
    return Samples(
        rows=sum(part.rows for part in parts),
        tau=min(part.tau for part in parts),
        needed=sum(part.needed for part in parts),
        flipped=sum(part.flipped for part in parts),
        **loops,
    )


def balance(parts: list[Samples]) -> float:
    """Return mean over maximum of the ranks' seconds in the engine, the median repetition's."""
    return median(sum(each) / len(each) / max(each) for each in _by_repetition(parts, "engine"))


def _by_repetition(parts: list[Samples], loop: str) -> list[tuple[float, ...]]:
    """Return, for each repetition, the seconds of all ranks in ``plain`` or ``engine``."""
    return list(zip(*(getattr(part, loop).seconds for part in parts), strict=True))
