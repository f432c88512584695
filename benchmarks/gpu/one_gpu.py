"""Section f: forms for one small GPU: little memory, eight bits, approximate caches."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Before transformers looks for it; a folder of its own, as benchmarks/gpu/pack.py puts it there.
sys.path.append(str(Path(sys.prefix) / "torchao"))

import torch
from approximate import EIGHT_BITS
from measure import timed
from transformers import TorchAoConfig

from gpu.check import Check
from gpu.denoiser import row_forward
from gpu.training import fit
from gpu.world import ROOT, checkpoint, math_problem, question
from lit_unmask.denoisers import Denoiser, LLaDA, Placement
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.evaluation.drift import drift
from lit_unmask.policies import LowConfidence
from lit_unmask.rollout import Approximate, Decoding

CAP = 22.5 * 2**30
"""Bytes that a card of 24 GB leaves to torch."""
CACHES: tuple[Any, ...] = ("prefix", "dual")


def run(check: Check) -> None:
    """Try all three."""
    with check.part("24 GB", needs=0):
        under_a_cap(check)
    folder = checkpoint("llada", check.job.folder, check.job.tiny, check.job.device)
    part = check.part("caches", needs=15)
    with part:
        if part.fits:
            caches(check, placed(check, folder))
    part = check.part("eight bits", needs=10)
    with part:
        if part.fits:
            eight_bits(check, folder)


def placed(check: Check, folder: Path, quantization: Any = None) -> LLaDA:
    """Return the denoiser, loaded onto the device without a stay in the host's memory."""
    where = "cuda:0" if check.job.device == "cuda" else "cpu"
    return LLaDA(
        str(folder), dtype="bfloat16", placement=Placement(where, None, None, quantization)
    )


def under_a_cap(check: Check) -> None:
    """Train for a round with the overlay for 24 GB, in no more memory."""
    overlay = ["--config", str(ROOT / "configs" / "hardware" / "one_24gb.yaml")]
    if check.job.device != "cuda":
        fit(check, "llada_gsm8k_math_bl32", 1, more=overlay)
        return
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, CAP / total))
    try:
        fit(check, "llada_gsm8k_math_bl32", 1, more=overlay)
        check.figure("a round within 22.5 GiB", True, True)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def caches(check: Check, denoiser: Denoiser) -> None:
    """Note speed and drift of the block caches on a heuristic in blocks of 32."""
    length, block, rows = (32, 8, 2) if check.job.tiny else (256, 32, 4)
    problems = [math_problem(f"check/{n}", question(n), "1") for n in range(rows)]
    policy, plain = LowConfidence(4), Decoding(length, block)
    evaluate(denoiser, policy, problems[:1], Decoding(block, block))
    exact = timed(lambda: evaluate(denoiser, policy, problems, plain), denoiser.device)[1]
    check.figure(f"exact, {rows} rows, s", exact)
    for kind in CACHES:
        decoding = Decoding(length, block, approximate=Approximate(kind))
        call = lambda how=decoding: evaluate(denoiser, policy, problems, how)  # noqa: E731
        seconds = timed(call, denoiser.device)[1]
        goal = 8.0 if kind == "dual" and not check.job.tiny else None
        check.figure(f"cache {kind}: wall, exact / cached", exact / seconds, goal, "at least")
        found = drift(denoiser, policy, problems, decoding)
        same, off = found.eligible.same_proposal, found.eligible.confidence_difference
        check.figure(f"cache {kind}: same proposal in the block, share", same)
        check.figure(f"cache {kind}: mean difference of the confidence", off)
        check.figure(f"cache {kind}: tokens saved, share", found.tokens_saved)


def eight_bits(check: Check, folder: Path) -> None:
    """Note speed and memory of layers in eight bits, if torchao is there."""
    if find_spec("torchao") is None:
        check.said("eight bits: torchao is not installed")
        return
    from torchao import quantization

    config: Any = TorchAoConfig(getattr(quantization, EIGHT_BITS["int8 weights"])())
    cuda = check.job.device == "cuda"
    before = torch.cuda.memory_allocated() if cuda else 0
    denoiser = placed(check, folder, config)
    if cuda:
        memory = (torch.cuda.memory_allocated() - before) / 1e9
        check.figure("int8 weights, memory, GB", memory, None if check.job.tiny else 10.0)
    row_forward(check, denoiser, "int8 weights", 16)
