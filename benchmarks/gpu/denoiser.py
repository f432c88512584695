"""Section b: a checkpoint of full size, loaded as a user loads it; speed and memory of a forward.

A *row-forward* is one sequence of 200 + 256 tokens through the layers and, for the response, the
vocabulary head. Times are the median of three after one to warm up, with the device waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from measure import timed
from torch import Tensor

from gpu.check import Check
from gpu.world import checkpoint
from lit_unmask.denoisers import Compile, Denoiser, LLaDA
from lit_unmask.types import Prompt, Signals

# Of the H100, with 13 ms a row-forward; a card with less has its ceiling beside it.
MS_A_ROW, GB_A_ROW = 13.0, 0.10
ROWS = (16, 1, 64, 4, 2, 8, 32)
PROMPT, LENGTH = 200, 256
SIGNALS = Signals()
COMPILE_SECONDS = 25.0
"""Least time with which it is worth beginning to compile."""


def run(check: Check) -> None:
    """Measure."""
    device = torch.device(check.job.device)
    with check.part("ceilings"):
        ceilings(check, device)
    start = time.monotonic()
    folder = checkpoint("llada", check.job.folder, check.job.tiny, check.job.device)
    check.figure("checkpoint written, s", time.monotonic() - start)
    start = time.monotonic()
    denoiser = LLaDA(str(folder), dtype="bfloat16")
    check.figure("checkpoint loaded by LLaDA(path) and probed on the CPU, s", _since(start))
    start = time.monotonic()
    timed(lambda: denoiser.to(device), device)
    check.figure("moved to the device, s", _since(start))
    parameters = sum(weight.numel() for weight in denoiser.parameters())
    check.figure("parameters, 1e9", parameters / 1e9)
    if device.type == "cuda":
        check.figure("memory of the weights, GB", torch.cuda.memory_allocated() / 1e9)
        with check.part("probes on the device"):
            denoiser.probe()
    plain = speed(check, denoiser, "plain", ROWS[: 2 if check.job.tiny else None])
    operations = _operations(denoiser)
    check.figure("1e12 operations a row-forward", operations / 1e12)
    if plain:
        best = min(plain.values())
        check.figure("plain, at its best, 1e12 operations a second", operations / best / 1e12)
    with check.part("head"):
        head(check, denoiser)
    for mode, rows in (("default", 16), ("reduce-overhead", 16), ("default", 4), ("default", 64)):
        if check.job.tiny and (mode, rows) != ("default", 16):
            continue
        part = check.part(f"compiled, {mode}, {rows} rows", needs=COMPILE_SECONDS)
        with part:
            if part.fits:
                with compiled(denoiser, mode, check.job.tiny):
                    speed(check, denoiser, f"compiled ({mode})", (rows,))


def _since(start: float) -> float:
    return time.monotonic() - start


def _operations(denoiser: Denoiser) -> float:
    """Return multiplications and additions of a row-forward, without attention's own."""
    head = denoiser.vocab_size * denoiser.width
    layers = sum(weight.numel() for weight in denoiser.network.model.layers.parameters())
    return 2.0 * ((PROMPT + LENGTH) * layers + LENGTH * head)


def ceilings(check: Check, device: torch.device) -> None:
    """Note what the card does at best: a large product and a large copy."""
    side = 512 if check.job.tiny else 8192
    one, two = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = repeated(lambda: one @ two, device, 5)
    check.figure(f"product of {side} x {side} bfloat16, 1e12 operations a second",
                 2 * side**3 / seconds / 1e12)  # fmt: skip
    source = torch.randn((2**22 if check.job.tiny else 2**31) // 2, device=device).bfloat16()
    target = torch.empty_like(source)
    seconds = repeated(lambda: target.copy_(source), device, 5)
    check.figure("copy, TB/s read and written", 2 * source.nbytes / seconds / 1e12)


def repeated(call: Callable[[], Any], device: torch.device, times: int = 3) -> float:
    """Return the median seconds of a call, after one that is not counted."""
    timed(call, device)
    return median(timed(call, device)[1] for _ in range(times))


def buffers(denoiser: Denoiser, rows: int) -> tuple[Prompt, Tensor]:
    """Return prompts of random tokens and responses of masks."""
    generator = torch.Generator().manual_seed(rows)
    tokens = torch.randint(10, 900, (rows, PROMPT), generator=generator).to(denoiser.device)
    masks = torch.full((rows, LENGTH), denoiser.mask_id, device=denoiser.device)
    return Prompt(tokens, torch.ones_like(tokens, dtype=torch.bool)), masks


def speed(check: Check, denoiser: Denoiser, name: str, sizes: tuple[int, ...]) -> dict[int, float]:
    """Note milliseconds and memory of a row-forward; returns seconds by number of rows."""
    found: dict[int, float] = {}
    for rows in sizes:
        part = check.part(f"{name}, {rows} rows", needs=5)
        with part:
            if part.fits:
                found[rows] = row_forward(check, denoiser, name, rows)
    return found


def row_forward(check: Check, denoiser: Denoiser, name: str, rows: int) -> float:
    """Note one size; returns seconds a row-forward."""
    prompt, masks = buffers(denoiser, rows)
    device, cuda = denoiser.device, denoiser.device.type == "cuda"
    first = timed(lambda: denoiser(prompt, masks, SIGNALS), device)[1]
    there = torch.cuda.memory_allocated() if cuda else 0
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = repeated(lambda: denoiser(prompt, masks, SIGNALS), device) / rows
    target = MS_A_ROW if rows >= 16 and not check.job.tiny else None
    check.figure(f"{name}, {rows} rows, ms a row-forward", 1000 * seconds, target)
    if name != "plain":
        check.figure(f"{name}, {rows} rows, s of the first call", first)
    elif cuda:
        memory = (torch.cuda.max_memory_allocated() - there) / rows / 1e9
        goal = GB_A_ROW if rows >= 16 and not check.job.tiny else None
        check.figure(f"{name}, {rows} rows, GB a row", memory, goal)
    if cuda and denoiser.row_limit.rows is not None:
        check.said(f"{name}, {rows} rows ran out of memory: {denoiser.row_limit.rows} at a time")
    return seconds


def head(check: Check, denoiser: Denoiser) -> None:
    """Note the head in chunks of the usual size against all logits at once, 16 rows."""
    prompt, masks = buffers(denoiser, 16)
    cuda, device = denoiser.device.type == "cuda", denoiser.device
    for name, most in (("in chunks", None), ("whole", 2**62)):
        before, denoiser.max_logits = denoiser.max_logits, most
        try:
            states = denoiser.states(prompt, masks)
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            there = torch.cuda.memory_allocated() if cuda else 0
            seconds = repeated(lambda s=states: denoiser.read(s, SIGNALS), device)
            check.figure(f"head {name}, 16 rows, ms a row", 1000 * seconds / 16)
            if cuda:
                peak = torch.cuda.max_memory_allocated() - there
                check.figure(f"head {name}, 16 rows, GB", peak / 1e9)
        finally:
            denoiser.max_logits = before


class Traced(Compile):
    """For rehearsals: layers are traced and run as they are, as generating code takes minutes."""

    def arguments(self) -> dict[str, Any]:
        return {"backend": "aot_eager", "fullgraph": self.fullgraph, "dynamic": self.dynamic}


@contextmanager
def compiled(denoiser: Denoiser, mode: Any, tiny: bool) -> Iterator[None]:
    """Compile the layers of a loaded denoiser for a while."""
    denoiser.compilation = (Traced if tiny else Compile)(mode)
    denoiser.network.model.compile(**denoiser.compilation.arguments())
    try:
        yield
    finally:
        denoiser.compilation = None
        denoiser.network.model._compiled_call_impl = None
        torch.compiler.reset()
