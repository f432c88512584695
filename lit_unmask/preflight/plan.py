"""Everything that can be said about a run before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import chain, pairwise

from lit_unmask.errors import ConfigurationError
from lit_unmask.preflight.asked import Asked
from lit_unmask.preflight.assumptions import Range
from lit_unmask.preflight.devices import GIB, Devices, find_devices
from lit_unmask.preflight.disk import Disk, disk_of, unwritable
from lit_unmask.preflight.evaluation import (
    check_evaluation,
    check_tuning,
    largest_batch,
    lengths,
    plan_evaluation,
    works_of,
)
from lit_unmask.preflight.memory import (
    Memory,
    Shape,
    memory_of,
    memory_of_evaluation,
    rows_at_once,
)
from lit_unmask.preflight.missing import Missing
from lit_unmask.preflight.problems import (
    Prompts,
    count_only,
    evaluated_prompts,
    missing_graders,
    missing_problems,
    prompts_of,
)
from lit_unmask.preflight.rate import Rate, measure
from lit_unmask.preflight.workload import Run, plan_run
from lit_unmask.tasks.base import ProblemSet

# Ranks, and mean over largest rollout time of the ranks where finished rows leave the batch, as
# simulated from the NFE of a training log.
_RANK_BALANCE = ((1, 1.0), (8, 0.90), (64, 0.84))


@dataclass(frozen=True)
class Plan:
    """What a run will be.

    Attributes:
        asked: The configuration.
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

    asked: Asked
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


@dataclass(frozen=True)
class Outlook:
    """What follows from a stage, whether it trains or evaluates.

    Attributes:
        prompts: How long prompts are.
        shape: Of a denoiser call.
        run: Rounds and row-forwards.
        memory: What a rank needs.
    """

    prompts: Prompts
    shape: Shape
    run: Run
    memory: Memory


def make_plan(asked: Asked) -> Plan:
    """Work out what a run will be; takes a few seconds, most of them to time the denoiser.

    Raises:
        ConfigurationError: If the run cannot work, whatever is there.
    """
    devices = find_devices(asked.trainer)
    trains = asked.stage == "fit"
    if trains:
        asked.check(devices.ranks)
    else:
        check_evaluation(asked)
    missing = [*asked.lacks, *(lack for each in asked.denoisers for lack in each.missing)]
    count_only(asked.data, asked.callbacks)
    sets = list(asked.sets.values())
    missing += [*missing_problems(sets), *missing_graders(sets)]
    missing += [*devices.missing(asked.denoiser.sizes.parameters), *unwritable(asked)]
    seen = _training(asked, devices) if trains else _evaluation(asked, devices, sets)
    rate = measure(asked.model, asked.denoiser, seen.shape, devices, asked.assumptions.rate)
    given = asked.assumptions.gpu_memory
    gpu_memory = devices.memory if given is None else given * GIB
    missing += _too_small(seen.memory, gpu_memory)
    return Plan(
        asked=asked,
        devices=devices,
        **vars(seen),
        gpu_memory=gpu_memory,
        rate=rate,
        seconds=seconds_of(seen.run, rate, devices.ranks) if seen.run.works else None,
        disk=disk_of(asked, seen.run),
        missing=list(dict.fromkeys(missing)),
    )


def _training(asked: Asked, devices: Devices) -> Outlook:
    model, data = asked.model, asked.data
    prompts = prompts_of(data, asked.denoiser, asked.assumptions.prompt_tokens)
    decodings = model.decoding, model.eval_decoding
    _check_length(asked, prompts, max(decoding.gen_length for decoding in decodings))
    rollouts = data.batch_size // devices.ranks * model.collector.group_size
    length = model.decoding.gen_length
    rows = rows_at_once(model.decoding, rollouts, prompts.tokens + length)
    shape = Shape(rows, prompts.tokens, length)
    run = plan_run(asked, devices.ranks, prompts.kept)
    if run.works:
        check_tuning(asked)
        also = (works_of(callback, asked, prompts.tokens) for callback in asked.callbacks)
        run = replace(run, works=[*run.works, *chain.from_iterable(also)])
    on_cpu = devices.accelerator == "cpu"
    return Outlook(prompts, shape, run, memory_of(asked, shape, rollouts, on_cpu))


def _evaluation(asked: Asked, devices: Devices, sets: list[ProblemSet]) -> Outlook:
    decoding = asked.model.eval_decoding
    prompts = evaluated_prompts(sets, asked.denoiser, asked.assumptions.prompt_tokens)
    longest = max(lengths(asked))
    _check_length(asked, prompts, longest)
    rollouts = largest_batch(asked)
    rows = rows_at_once(decoding, rollouts, prompts.tokens + longest)
    run = plan_evaluation(asked, prompts.tokens)
    on_cpu = devices.accelerator == "cpu"
    memory = memory_of_evaluation(asked, Shape(rows, prompts.tokens, longest), rollouts, on_cpu)
    return Outlook(prompts, Shape(rows, prompts.tokens, decoding.gen_length), run, memory)


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


def _check_length(asked: Asked, prompts: Prompts, length: int) -> None:
    if prompts.tokens + length > asked.denoiser.max_length:
        raise ConfigurationError(
            f"prompt length {prompts.tokens} + gen_length={length} exceeds the model's "
            f"max_length={asked.denoiser.max_length}; lower gen_length or max_prompt_length"
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
