"""A plan for people and for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lit_unmask.preflight.assumptions import Range
from lit_unmask.preflight.devices import GIB
from lit_unmask.preflight.plan import Plan
from lit_unmask.preflight.workload import BALANCE, size_of
from lit_unmask.rollout import Decoding

_HOUR = 3600


def rendered(plan: Plan) -> Group:
    """Return the plan as tables for a terminal."""
    parts: list[RenderableType] = []
    for title, rows in sections(plan).items():
        parts += [Text(title, style="bold"), _table(rows)]
    parts += [Text("row-forwards", style="bold"), _forwards(plan)]
    if not plan.missing:
        return Group(*parts, Text("nothing is missing", style="bold green"))
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("missing", style="bold red", ratio=1)
    table.add_column("remedy", ratio=1)
    for missing in plan.missing:
        table.add_row(Text(missing.what), Text(missing.remedy))
    return Group(*parts, table)


def sections(plan: Plan) -> dict[str, dict[str, str]]:
    """Return what is printed but for row-forwards and missing things, by section and name."""
    return {
        "what will run": _what(plan),
        f"memory of {'one device' if plan.devices.ranks == 1 else 'each device'}": _memory(plan),
        "time": _time(plan),
        "disk": _disk(plan),
    }


def as_json(plan: Plan) -> dict[str, Any]:
    """Return the plan's numbers: bytes, seconds, row-forwards, and what is missing."""
    run, memory = plan.run, plan.memory
    return {
        "stage": plan.asked.stage,
        "denoiser": {
            "class": plan.asked.denoiser.kind.__name__,
            **plan.asked.denoiser.arguments_shown,
            "assumed": plan.asked.denoiser.assumed,
            "sizes": asdict(plan.asked.denoiser.sizes),
        },
        "policy": {"class": _policy_name(plan), "parameters": _policy_size(plan)},
        "devices": asdict(plan.devices),
        "call": asdict(plan.shape),
        "problems": run.problems,
        "rounds": run.rounds,
        "epoch_rounds": run.epoch_rounds,
        "validations": run.validations,
        "work": [asdict(work) for work in run.works],
        "row_forwards": asdict(run.computed),
        "memory": asdict(memory) | {"total": memory.total, "device": plan.gpu_memory},
        "rate": asdict(plan.rate),
        "seconds": None if plan.seconds is None else asdict(plan.seconds),
        "disk": asdict(plan.disk),
        "missing": [asdict(missing) for missing in plan.missing],
    }


def _what(plan: Plan) -> dict[str, str]:
    asked, run, sizes = plan.asked, plan.run, plan.asked.denoiser.sizes
    model, data, source = asked.model, asked.data, asked.denoiser
    shown = ", ".join(f"{name} {value}" for name, value in source.arguments_shown.items())
    said = "assumed from the published checkpoint, as config.json is not here"
    shape = (
        f"{sizes.parameters:,} parameters, {sizes.layers} layers of width {sizes.width}, "
        f"vocabulary {sizes.vocab_size:,}"
    )
    rounds = "not known, as the training problems are not here"
    if run.rounds is not None:
        rounds = (
            f"{run.rounds:,} ({run.epoch_rounds:,} an epoch) of {data.batch_size} prompts, "
            f"{model.collector.group_size} rollouts each; {run.validations} validations"
        )
    of_stage = {"experts": ", ".join(model.experts) or "none", "rounds": rounds}
    if asked.stage != "fit":
        kept = "as model.policy makes them; --ckpt_path takes those of a trained policy"
        of_stage = {"weights of the policy": asked.ckpt_path or kept}
    return {
        "stage": asked.stage,
        "policy": f"{_policy_name(plan)}, {_policy_size(plan):,} parameters",
        "denoiser": f"{source.kind.__name__}, {shown}",
        "sizes": shape + (f" ({said})" if source.assumed else ""),
        "decoding": _decoding(model.decoding),
        "evaluation": _decoding(model.eval_decoding),
        "problems": _problems(plan),
        "prompts": f"{plan.prompts.tokens} tokens ({plan.prompts.source})",
        **of_stage,
        "devices": f"{plan.devices.ranks} x {plan.devices.accelerator} "
        f"on {plan.devices.nodes} node(s); here: {plan.devices.name}",
    }


def _decoding(decoding: Decoding) -> str:
    blocks = "full diffusion" if decoding.block_length == decoding.gen_length else "blocks"
    return (
        f"{decoding.gen_length} tokens, block length {decoding.block_length} ({blocks}), token "
        f"temperature {decoding.temperature:g}, empty actions {decoding.on_empty}"
    )


def _problems(plan: Plan) -> str:
    sizes = {name: size_of(problems) for name, problems in plan.asked.sets.items()}
    if plan.asked.stage == "fit":
        sizes["data.train"] = plan.run.problems  # those whose prompts are short enough
    parts = [f"{name} {'?' if size is None else f'{size:,}'}" for name, size in sizes.items()]
    return ", ".join(part.removeprefix("data.") for part in parts)


def _memory(plan: Plan) -> dict[str, str]:
    memory, shape, rounds = plan.memory, plan.shape, plan.asked.model.rounds
    chunk = f"chunks of {rounds.replay_chunk} steps recomputed" if rounds.recompute else "all steps"
    has = "" if plan.gpu_memory is None else f" of {_size(plan.gpu_memory)}"
    own = f", with {_size(memory.context)} of CUDA's own" if memory.context else ""
    cache = {"kept keys and values": _size(memory.cache)} if memory.cache else {}
    update = {"policy": _size(memory.replay)}
    if plan.asked.stage == "fit":
        update = {
            "recorded steps": _size(memory.steps),
            "update of the policy": f"{_size(memory.replay)} ({chunk})",
        }
    return {
        "weights": f"{_size(memory.weights)} ({plan.asked.denoiser.dtype})".replace("torch.", ""),
        "activations": f"{_size(memory.rows)} ({shape.rows} rows of {shape.tokens} tokens at once, "
        f"{_size(memory.row)} each)",
        "chunk of logits": _size(memory.logits),
        **cache,
        **update,
        "together": f"{_size(memory.total)}{has}{own}, with 8 % slack",
    }


def _time(plan: Plan) -> dict[str, str]:
    rate = plan.rate
    rows = {"a row-forward": f"{_short(rate.row)} ({rate.device}: {rate.how})"}
    if rate.decide:
        trains = plan.asked.stage == "fit" and rate.replay
        said = f"; of the update {_short(rate.replay)}" if trains else ""
        rows["a step of the policy"] = _short(rate.decide) + said
    if plan.seconds is None:
        return rows | {"run": "not known, as the number of problems is not"}
    usual = " to ".join(_duration(value) for value in (plan.seconds.low, plan.seconds.high))
    note = ""
    if not plan.devices.here and plan.asked.assumptions.rate is None:
        note = "; on devices as fast as this CPU, so give --plan.rate (ms) of those it is for"
    if plan.asked.stage == "test":
        note = f", nor what a store has already{note}"
    return rows | {"run": f"{_duration(plan.seconds.usual)} ({usual}), grading not counted{note}"}


def _disk(plan: Plan) -> dict[str, str]:
    disk = plan.disk
    return {
        "weights": _size(disk.weights),
        "checkpoints of the policy": _size(disk.checkpoints),
        "logs and figures": _size(disk.logs),
        "folders": f"{', '.join(disk.folders)} ({_size(disk.free)} free)",
    }


def _forwards(plan: Plan) -> RenderableType:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    # Of an evaluation nothing but compaction saves forwards, always the same share.
    trains = plan.asked.stage == "fit"
    table.add_column("for", no_wrap=trains)
    columns = ["rollouts", "NFE", "computed"]
    columns += ["saved: compact", "skip", "share"] if trains else []
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for work in plan.run.works:
        lock_step = work.charged.usual / BALANCE or 1.0
        saved = (work.savings.compact, work.savings.skip, work.savings.share) if trains else ()
        table.add_row(
            work.name,
            f"{work.rollouts:,}",
            _range(work.charged.times(1 / max(work.rollouts, 1))),
            _range(work.computed),
            *(f"{value / lock_step:.0%}" for value in saved),
        )
    total = plan.run.computed
    if plan.run.epoch_rounds and plan.run.rounds:
        training = plan.run.works[0].computed.times(plan.run.epoch_rounds / plan.run.rounds)
        table.add_row("training, one epoch", "", "", _range(training))
    table.add_row("all", "", "", _range(total), style="bold")
    return table


def _table(rows: dict[str, str]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True, style="cyan")
    table.add_column()
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table


def _policy_name(plan: Plan) -> str:
    return type(plan.asked.model.policy).__name__


def _policy_size(plan: Plan) -> int:
    return sum(weight.numel() for weight in plan.asked.model.policy.parameters())


def _range(value: Range) -> str:
    return f"{_number(value.usual)} ({_number(value.low)} to {_number(value.high)})"


def _number(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= 10 * size:
            return (
                f"{value / size:,.0f}{unit}" if value >= 1e2 * size else f"{value / size:.1f}{unit}"
            )
    return f"{value:.0f}"


def _size(count: float) -> str:
    for unit, size in (("GiB", GIB), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.2f} {unit}" if unit == "GiB" else f"{count / size:.0f} {unit}"
    return f"{count / 1024:.0f} KiB"


def _short(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _duration(seconds: float) -> str:
    if seconds >= _HOUR:
        hours = seconds / _HOUR
        return f"{hours:,.0f} h" if hours >= 100 else f"{hours:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
