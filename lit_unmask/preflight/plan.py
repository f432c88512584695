"""Everything that can be said about a run before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

from lit_unmask.errors import ConfigurationError
from lit_unmask.preflight.assumptions import Range
from lit_unmask.preflight.checks import check_settings
from lit_unmask.preflight.devices import GIB, Devices, Missing, find_devices
from lit_unmask.preflight.disk import Disk, disk_of, unwritable
from lit_unmask.preflight.dry_run import Request
from lit_unmask.preflight.evaluation import (
    callback_works,
    check_tuning,
    largest_batch,
    lengths,
    plan_evaluation,
)
from lit_unmask.preflight.memory import Memory, Shape, memory_of
from lit_unmask.preflight.problems import Prompts, missing_problems, prompts_of
from lit_unmask.preflight.rate import Rate, measure
from lit_unmask.preflight.workload import Run, plan_run

# Ranks, and mean over largest rollout time of the ranks where finished rows leave the batch, as
# simulated from the NFE of a training log.
_RANK_BALANCE = ((1, 1.0), (8, 0.90), (64, 0.84))


@dataclass(frozen=True)
class Plan:
    """What a run will be.

    Attributes:
        request: The configuration.
        devices: Where it runs.
        prompts: How long prompts are.
        shape: Of a denoiser call.
        run: Rounds and row-forwards.
        memory: What a rank needs.
        gpu_memory: What a GPU has, in bytes, or None if that is not known.
        rate: How fast forwards are.
        seconds: Wall time of the run, without grading; None if the rounds are not known.
        disk: What it writes.
        missing: What it lacks.
    """

    request: Request
    devices: Devices
    prompts: Prompts
    shape: Shape
    run: Run
    memory: Memory
    gpu_memory: float | None
    rate: Rate
    seconds: Range | None
    disk: Disk
    missing: list[Missing]


def make_plan(request: Request) -> Plan:
    """Work out what a run will be; takes a few seconds, most of them to time the denoiser.

    Raises:
        ConfigurationError: If the run cannot work, whatever is there.
    """
    model, trains, devices = request.model, request.stage == "fit", find_devices(request.trainer)
    check_settings(request.stage, request.settings(devices.ranks), model, request.data)
    check_tuning(request)
    missing = [*request.lacks, *(lack for spec in request.specs for lack in spec.missing)]
    missing += missing_problems(request.sets.values())
    missing += [*devices.missing(request.spec.sizes.parameters), *unwritable(request)]
    prompts, longest = prompts_of(request), max(lengths(request))
    _check_length(request, prompts, longest)
    rollouts = largest_batch(request, devices.ranks)
    decoding = model.decoding if trains else model.eval_decoding
    largest = Shape(1, prompts.tokens, decoding.gen_length if trains else longest)
    rows = decoding.scheduling.admitted([largest.tokens] * rollouts)
    largest = replace(largest, rows=rows)
    shape = replace(largest, length=decoding.gen_length)
    run = _run(request, devices, prompts)
    memory = memory_of(request, largest, rollouts, devices.accelerator == "cpu")
    rate = measure(request, shape, devices)
    given = request.assumptions.gpu_memory
    gpu_memory = devices.memory if given is None else given * GIB
    missing += _too_small(memory, gpu_memory)
    seconds = seconds_of(run, rate, devices.ranks) if run.works else None
    disk, missing = disk_of(request, run), list(dict.fromkeys(missing))
    return Plan(
        request, devices, prompts, shape, run, memory, gpu_memory, rate, seconds, disk, missing
    )


def _run(request: Request, devices: Devices, prompts: Prompts) -> Run:
    if request.stage != "fit":
        return plan_evaluation(request, prompts.tokens)
    run = plan_run(request, devices.ranks, prompts.kept)
    also = callback_works(request, prompts.tokens) if run.works else ()
    return replace(run, works=[*run.works, *also])


def seconds_of(run: Run, rate: Rate, ranks: int) -> Range:
    """Return the wall time of a run.

    ``(row-forwards * cost * row + NFE * decide + replays * replay) / (ranks * balance)``, and the
    balance is what is left of 1 as ranks wait for the slowest: 0.90 of 8 ranks, 0.84 of 64.
    Grading, start-up and what other callbacks compute come on top.
    """
    total = Range.exactly(0.0)
    for work in run.works:
        total += work.computed.times(rate.row * work.cost) + work.charged.times(rate.decide)
        total += work.replayed.times(rate.replay)
    return total.times(1 / (ranks * balance_of(ranks)))


def balance_of(ranks: int) -> float:
    """Return mean over largest rollout time of so many ranks, linear in the logarithm between."""
    for (fewer, high), (more, low) in pairwise(_RANK_BALANCE):
        if ranks <= more:
            place = math.log(ranks / fewer) / math.log(more / fewer)
            return high + place * (low - high)
    return _RANK_BALANCE[-1][1]


def _check_length(request: Request, prompts: Prompts, length: int) -> None:
    if prompts.tokens + length > request.spec.max_length:
        raise ConfigurationError(
            f"prompt length {prompts.tokens} + gen_length={length} exceeds the model's "
            f"max_length={request.spec.max_length}; lower gen_length or max_prompt_length"
        )


def _too_small(memory: Memory, gpu_memory: float | None) -> list[Missing]:
    if gpu_memory is None or memory.total <= gpu_memory:
        return []
    what = f"a GPU of {memory.total / GIB:.1f} GiB; this one has {gpu_memory / GIB:.1f}"
    remedy = (
        "lower model.decoding.scheduling.max_rows (and that of model.eval_decoding), set "
        "model.rounds.recompute and a small replay_chunk, or quantise the denoiser "
        "(configs/hardware)"
    )
    return [Missing(what, remedy)]
