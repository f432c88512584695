"""Everything that can be said about a run before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from lit_unmask.errors import ConfigurationError
from lit_unmask.plan.asked import Asked
from lit_unmask.plan.assumptions import Range
from lit_unmask.plan.devices import GIB, Devices, find_devices
from lit_unmask.plan.disk import Disk, disk_of, unwritable
from lit_unmask.plan.memory import Memory, Shape, memory_of, rows_at_once
from lit_unmask.plan.missing import Missing
from lit_unmask.plan.problems import Prompts, counted, prompts_of, sandbox_missing
from lit_unmask.plan.rate import Rate, measure
from lit_unmask.plan.workload import Run, plan_run

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


def make_plan(asked: Asked) -> Plan:
    """Work out what a run will be; takes a few seconds, most of them to time the denoiser.

    Raises:
        ConfigurationError: If the run cannot work, whatever is there.
    """
    model, data, given = asked.model, asked.data, asked.assumptions
    devices = find_devices(asked.trainer)
    asked.check(devices.ranks)
    missing = [*asked.lacks, *(lack for each in asked.denoisers for lack in each.missing)]
    missing += [*counted(data), *sandbox_missing(data)]
    missing += [*devices.missing(asked.denoiser.sizes.parameters), *unwritable(asked)]
    prompts = prompts_of(data, asked.denoiser, given.prompt_tokens)
    _check_length(asked, prompts)
    rollouts = data.batch_size // devices.ranks * model.collector.group_size
    rows = rows_at_once(model, rollouts, prompts.tokens + model.decoding.gen_length)
    shape = Shape(rows, prompts.tokens, model.decoding.gen_length)
    run = plan_run(asked, devices.ranks, prompts.kept)
    rate = measure(model, asked.denoiser, shape, devices, given.rate)
    memory = memory_of(asked, shape, rollouts, devices.accelerator == "cpu")
    gpu_memory = devices.memory if given.gpu_memory is None else given.gpu_memory * GIB
    missing += _too_small(memory, gpu_memory)
    return Plan(
        asked=asked,
        devices=devices,
        prompts=prompts,
        shape=shape,
        run=run,
        memory=memory,
        gpu_memory=gpu_memory,
        rate=rate,
        seconds=None if run.rounds is None else seconds_of(run, rate, devices.ranks),
        disk=disk_of(asked, run),
        missing=list(dict.fromkeys(missing)),
    )


def seconds_of(run: Run, rate: Rate, ranks: int) -> Range:
    """Return the wall time of a run.

    ``(row-forwards * row + NFE * decide + replayed steps * replay) / (ranks * balance)``, where the
    balance is what is left of 1 as ranks wait for the slowest: 0.90 of 8 ranks, 0.84 of 64.
    Grading, start-up and what other callbacks compute come on top.
    """
    total = Range.exactly(0.0)
    for work in run.works:
        total += work.computed.times(rate.row) + work.charged.times(rate.decide)
        total += work.replayed.times(rate.replay)
    return total.times(1 / (ranks * balance_of(ranks)))


def balance_of(ranks: int) -> float:
    """Return mean over largest rollout time of so many ranks, linear in the logarithm between."""
    for (fewer, high), (more, low) in pairwise(_RANK_BALANCE):
        if ranks <= more:
            place = math.log(ranks / fewer) / math.log(more / fewer)
            return high + place * (low - high)
    return _RANK_BALANCE[-1][1]


def _check_length(asked: Asked, prompts: Prompts) -> None:
    decodings = asked.model.decoding, asked.model.eval_decoding
    length = max(decoding.gen_length for decoding in decodings)
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
        "lower model.decoding.scheduling.max_rows, set model.rounds.recompute and a small "
        "replay_chunk, or quantise the denoiser (configs/hardware)"
    )
    return [Missing(what, remedy)]
