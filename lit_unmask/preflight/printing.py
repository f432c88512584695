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
from lit_unmask.preflight.problems import size_of
from lit_unmask.preflight.workload import BALANCE
from lit_unmask.rollout import Decoding

_COUNTS = (1e6, "M"), (1e3, "k"), (1.0, "")
_BYTES = (GIB, " GiB"), (2**20, " MiB"), (1024, " KiB")
_SECONDS = (3600.0, " h"), (60.0, " min"), (1.0, " s"), (1e-3, " ms")


def rendered(plan: Plan) -> Group:
    """Return the plan as tables for a terminal."""
    parts: list[RenderableType] = []
    each = "one device" if plan.devices.ranks == 1 else "each device"
    sections = {
        "what will run": _what(plan), f"memory of {each}": _memory(plan),
        "time": _time(plan), "disk": _disk(plan),
    }  # fmt: skip
    for title, rows in sections.items():
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
        table.add_column(no_wrap=True, style="cyan")
        for name, value in rows.items():
            table.add_row(name, Text(value))
        parts += [Text(title, style="bold"), table]
    parts += [Text("row-forwards", style="bold"), _forwards(plan)]
    if not plan.missing:
        return Group(*parts, Text("nothing is missing", style="bold green"))
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("missing", style="bold red", ratio=1)
    table.add_column("remedy", ratio=1)
    for missing in plan.missing:
        table.add_row(Text(missing.what), Text(missing.remedy))
    return Group(*parts, table)


def as_json(plan: Plan) -> dict[str, Any]:
    """Return the plan's numbers: bytes, seconds, row-forwards, and what is missing."""
    request, run, memory = plan.request, plan.run, plan.memory
    spec = request.spec
    known = {"class": spec.kind.__name__, "assumed": spec.assumed, "sizes": asdict(spec.sizes)}
    return {
        "stage": request.stage,
        "denoiser": {**spec.shown, **known},
        "policy": {"class": type(request.model.policy).__name__, "parameters": request.policy_size},
        "devices": asdict(plan.devices),
        "call": asdict(plan.shape),
        **{name: value for name, value in vars(run).items() if name != "works"},
        "work": [asdict(work) | {"computed": asdict(work.computed)} for work in run.works],
        "row_forwards": asdict(run.computed),
        "memory": asdict(memory) | {"total": memory.total, "device": plan.gpu_memory},
        "rate": asdict(plan.rate),
        "seconds": None if plan.seconds is None else asdict(plan.seconds),
        "disk": asdict(plan.disk),
        "missing": [asdict(missing) for missing in plan.missing],
    }


def _what(plan: Plan) -> dict[str, str]:
    request, run, devices = plan.request, plan.run, plan.devices
    model, spec, sizes = request.model, request.spec, request.spec.sizes
    said = " (assumed from the published checkpoint, as config.json is not here)"
    rounds = "not known, as the training problems are not here"
    if run.rounds is not None:
        rounds = (
            f"{run.rounds:,} ({run.epoch_rounds:,} an epoch) of {request.data.batch_size} prompts, "
            f"{model.collector.group_size} rollouts each; {run.validations} validations"
        )
    of_stage = {"experts": ", ".join(model.experts) or "none", "rounds": rounds}
    if request.stage != "fit":
        kept = "as model.policy makes them; --ckpt_path takes those of a trained policy"
        of_stage = {"weights of the policy": request.ckpt_path or kept}
    counts = {name: size_of(problems) for name, problems in request.sets.items()}
    if request.stage == "fit":
        counts["data.train"] = run.problems  # those whose prompts are short enough
    shown = {name: "?" if count is None else f"{count:,}" for name, count in counts.items()}
    return {
        "stage": request.stage,
        "policy": f"{type(model.policy).__name__}, {request.policy_size:,} parameters",
        "denoiser": ", ".join([spec.kind.__name__, *map(" ".join, spec.shown.items())]),
        "sizes": f"{sizes.parameters:,} parameters, {sizes.layers} layers of width {sizes.width}, "
        f"vocabulary {sizes.vocab_size:,}{said if spec.assumed else ''}",
        "decoding": _decoding(model.decoding),
        "evaluation": _decoding(model.eval_decoding),
        "problems": ", ".join(f"{n.removeprefix('data.')} {size}" for n, size in shown.items()),
        "prompts": f"{plan.prompts.tokens} tokens ({plan.prompts.source})",
        **of_stage,
        "devices": f"{devices.ranks} x {devices.accelerator} on {devices.nodes} node(s); "
        f"here: {devices.name}",
    }


def _decoding(decoding: Decoding) -> str:
    blocks = "full diffusion" if decoding.block_length == decoding.gen_length else "blocks"
    return (
        f"{decoding.gen_length} tokens, block length {decoding.block_length} ({blocks}), token "
        f"temperature {decoding.temperature:g}, empty actions {decoding.on_empty}"
    )


def _memory(plan: Plan) -> dict[str, str]:
    memory, shape, rounds = plan.memory, plan.shape, plan.request.model.rounds
    chunk = f"chunks of {rounds.replay_chunk} steps recomputed" if rounds.recompute else "all steps"
    has = "" if plan.gpu_memory is None else f" of {_size(plan.gpu_memory)}"
    own = f", with {_size(memory.context)} of CUDA's own" if memory.context else ""
    update = {"policy": _size(memory.replay)}
    if plan.request.stage == "fit":
        update = {
            "recorded steps": _size(memory.steps),
            "update of the policy": f"{_size(memory.replay)} ({chunk})",
        }
    return {
        "weights": f"{_size(memory.weights)} ({plan.request.spec.dtype})".replace("torch.", ""),
        "activations": f"{_size(memory.rows)} ({shape.rows} rows of {shape.tokens} tokens at once, "
        f"{_size(memory.row)} each)",
        "chunk of logits": _size(memory.logits),
        **({"kept keys and values": _size(memory.cache)} if memory.cache else {}),
        **update,
        "together": f"{_size(memory.total)}{has}{own}, with 8 % slack",
    }


def _time(plan: Plan) -> dict[str, str]:
    rate, stage = plan.rate, plan.request.stage
    rows = {"a row-forward": f"{_scaled(rate.row, _SECONDS)} ({rate.device}: {rate.how})"}
    if rate.decide:
        update = f"; of the update {_scaled(rate.replay, _SECONDS)}"
        said = update if stage == "fit" and rate.replay else ""
        rows["a step of the policy"] = _scaled(rate.decide, _SECONDS) + said
    if plan.seconds is None:
        return rows | {"run": "not known, as the number of problems is not"}
    note = ", nor what a store has already" if stage == "test" else ""
    if not plan.devices.here and plan.request.assumptions.rate is None:
        note += "; on devices as fast as this CPU, so give --plan.rate (ms) of those it is for"
    return rows | {"run": f"{_range(plan.seconds, _SECONDS)}, grading not counted{note}"}


def _disk(plan: Plan) -> dict[str, str]:
    disk = plan.disk
    return {
        "weights": _size(disk.weights),
        "checkpoints of the policy": _size(disk.checkpoints),
        "folders": f"{', '.join(disk.folders)} ({_size(disk.free)} free)",
    }


def _forwards(plan: Plan) -> RenderableType:
    table, run = Table(box=SIMPLE_HEAD, padding=(0, 1)), plan.run
    # Of an evaluation nothing but compaction saves forwards, always the same share.
    trains = plan.request.stage == "fit"
    table.add_column("for", no_wrap=trains)
    saves = ["saved: compact", "skip", "share"] if trains else []
    for column in ["rollouts", "NFE", "computed", *saves]:
        table.add_column(column, justify="right", no_wrap=True)
    for work in run.works:
        lock_step = work.charged.usual / BALANCE or 1.0
        saved = lock_step - work.charged.usual, work.skip, work.share
        nfe = _range(work.charged.times(1 / max(work.rollouts, 1)))
        shares = [f"{value / lock_step:.0%}" for value in saved] if trains else []
        table.add_row(work.name, f"{work.rollouts:,}", nfe, _range(work.computed), *shares)
    if run.epoch_rounds and run.rounds:
        training = run.works[0].computed.times(run.epoch_rounds / run.rounds)
        table.add_row("training, one epoch", "", "", _range(training))
    table.add_row("all", "", "", _range(run.computed), style="bold")
    return table


def _range(value: Range, units: tuple[tuple[float, str], ...] = _COUNTS) -> str:
    low, usual, high = (_scaled(end, units) for end in vars(value).values())
    return f"{usual} ({low} to {high})"


def _size(count: float) -> str:
    return _scaled(count, _BYTES)


def _scaled(value: float, units: tuple[tuple[float, str], ...]) -> str:
    """Return a number in three digits and the largest unit that it reaches."""
    size, unit = next((each for each in units if value >= each[0]), units[-1])
    value /= size
    whole = value >= 100 or not unit
    return (f"{value:,.0f}" if whole else f"{value:.3g}") + unit
