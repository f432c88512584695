"""Section d: what a user runs, at full size: ``lit-unmask fit`` with the paper's configurations.

Rounds have one prompt and its eight rollouts in the place of sixteen prompts. Three rounds and a
checkpoint, ``plan`` for the same run, a fourth round from the checkpoint, one round of full
diffusion with an expert, and one on Dream's layout.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gpu.check import Check
from gpu.world import ROOT, checkpoint, write_questions
from lit_unmask.cli import main

PROMPTS = 1
TINY = {"llada_gsm8k_math_bl32": 8, "dream_gsm8k_math_bl32": 8, "llada_gsm8k_math_bl256_expert": 32}
"""Block length of a rehearsal, whose responses have 32 tokens."""


def run(check: Check) -> None:
    """Train."""
    with check.part("the run of blocks"):
        blocks(check)
    part = check.part("full diffusion with an expert", needs=25)
    with part:
        if part.fits:
            fit(check, "llada_gsm8k_math_bl256_expert", 1)
    part = check.part("Dream's layout", needs=40)
    with part:
        if part.fits:
            fit(check, "dream_gsm8k_math_bl32", 1)


def blocks(check: Check) -> None:
    """Train for three rounds, resume for a fourth, and hold both against the plan."""
    name = "llada_gsm8k_math_bl32"
    measured = fit(check, name, 3, [_checkpoints(every=3)])
    saved = sorted((check.job.folder / "runs").glob(f"{name}/version_*/checkpoints/last.ckpt"))
    check.figure("checkpoint after three rounds", len(saved) == 1, True)
    part = check.part("the plan's forecast", needs=15)
    with part:
        if part.fits:
            forecast(check, name, measured)
    part = check.part("resumed for a fourth round", needs=20)
    with part:
        if part.fits:
            fit(check, name, 4, resume=saved[0])


def fit(
    check: Check,
    name: str,
    rounds: int,
    callbacks: Sequence[dict[str, Any]] = (),
    resume: Path | None = None,
    more: Sequence[str] = (),
) -> dict[str, float]:
    """Run ``lit-unmask fit`` and note seconds by part; returns seconds a round and peak memory.

    Args:
        check: Where figures go.
        name: Of the configuration.
        rounds: The last round.
        callbacks: To be added.
        resume: Checkpoint to go on from.
        more: Further arguments.
    """
    label = ", ".join([name, *(["resumed"] if resume else []), *(Path(m).stem for m in more[1:])])
    folder = check.job.folder / "parts"
    profile = {"class_path": "training_round.Profile",
               "init_args": {"file": str(folder / "training_round.json")}}  # fmt: skip
    added = [f"--trainer.callbacks+={json.dumps(one)}" for one in (*callbacks, profile)]
    going_on = [] if resume is None else [f"--ckpt_path={resume}"]
    cuda = check.job.device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    start = time.monotonic()
    main(["fit", *arguments(check, name, rounds, more), *added, *going_on])
    check.figure(f"{label}: s in all, loading included", time.monotonic() - start)
    found = json.loads((folder / "training_round.json").read_text())
    check.figure(f"{label}: s a round", found["seconds_a_round"])
    for part, share in found["shares"].items():
        check.figure(f"{label}: share of {part}", share)
    rest = sum(found["shares"][part] for part in ("grading", "update", "logging and data"))
    check.figure(f"{label}: share of update, grading and logging", rest, *_goal(check, 0.05))
    result = {"seconds": found["seconds_a_round"]}
    if cuda:
        result["memory"] = torch.cuda.max_memory_allocated() / 1e9
        check.figure(f"{label}: peak memory, GB", result["memory"])
    # The next run loads its own denoiser.
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
    return result


def _goal(check: Check, value: float) -> tuple[float, ...]:
    return () if check.job.tiny else (value,)


def arguments(check: Check, name: str, rounds: int, more: Sequence[str] = ()) -> list[str]:
    """Return what ``fit`` and ``plan`` are called with, on checkpoint and questions of our own."""
    job = check.job
    model = name.partition("_")[0]
    folder = checkpoint(model, job.folder, job.tiny, job.device)
    small = []
    if job.tiny:
        sizes = f"gen_length={32}", f"block_length={TINY[name]}"
        for which in ("decoding", "eval_decoding"):
            small += [f"--model.{which}.{size}" for size in sizes]
        if "expert" in name:
            small.append("--model.experts.threshold.block_length=8")
    return [
        f"--config={ROOT / 'configs' / name}.yaml",
        f"--config={write_questions(job.folder / 'data')}",
        *more,
        f"--trainer.accelerator={'gpu' if job.device == 'cuda' else 'cpu'}",
        "--trainer.devices=1",
        f"--trainer.max_steps={rounds}",
        "--trainer.limit_val_batches=0",
        f"--trainer.logger.init_args.save_dir={job.folder / 'runs'}",
        f"--model.denoiser.init_args.path={folder}",
        "--model.denoiser.init_args.revision=null",
        f"--data.init_args.batch_size={PROMPTS}",
        *small,
    ]


def _checkpoints(every: int) -> dict[str, Any]:
    """Return a callback that saves what a run is resumed from."""
    settings = {"every_n_train_steps": every, "save_last": True, "filename": "check-{step}"}
    return {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": settings,
    }


def forecast(check: Check, name: str, measured: dict[str, float]) -> None:
    """Note what ``lit-unmask plan`` says about the run that was measured."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main(["plan", *arguments(check, name, 3), "--json"])
    text = printed.getvalue()
    plan = json.loads(text[text.index("{") :])
    check.figure("plan: things missing", len(plan["missing"]), 0)
    for missing in plan["missing"]:
        check.said(f"plan misses {missing['what']}")
    rate = plan["rate"]["row"]
    check.figure("plan: ms a row-forward", 1000 * rate if isinstance(rate, float) else str(rate))
    low, high = (plan["seconds"][end] / plan["rounds"] for end in ("low", "high"))
    check.figure("plan: s a round, at least", low)
    check.figure("plan: s a round, at most", high)
    if not check.job.tiny:
        inside = 0.8 * low <= measured["seconds"] <= 1.2 * high
        check.figure("measured round is what plan says, within a fifth", inside, True)
    needed = plan["memory"]["total"] / 1e9
    check.figure("plan: memory, GB", needed)
    if "memory" in measured:
        check.figure("measured memory is at most the plan's", measured["memory"] <= needed, True)
