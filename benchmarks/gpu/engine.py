"""Section c: the engine and the plain loop on replayed profiles, both compiled and not.

Profiles are cut to a share of their steps, in the same proportions, so that all fit into the time;
rollouts a second are given for the whole profile.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import torch
from cases import EIGHT_BILLION, TOKENS, RandomWeights, Scale, Workload, random_replay, replay
from measure import Loop, Samples, calibrate, check, run_engine, run_plain, sample, timed

from gpu.check import Check
from gpu.denoiser import compiled
from lit_unmask.denoisers import DenoiserShape
from lit_unmask.rollout import Scheduling

PROFILES = ("late", "start", "slow")
STEPS = {"late": 141, "start": 73, "slow": 237}
EAGER_SHARE = 0.6
"""Of the time that is left once the weights are there."""
COMPILE_SECONDS = 25.0
FEW_STEPS = 12
"""Of the rollouts that compile; they have the shapes of those that are timed."""
ROWS = 8
SMALL = DenoiserShape(64, 2, 4, 128, vocab_size=512, max_length=512, **TOKENS)


def run(check_: Check) -> None:
    """Measure."""
    tiny, device = check_.job.tiny, check_.job.device
    sizes = (SMALL, 24, 32) if tiny else (EIGHT_BILLION, 200, 256)
    weights = RandomWeights(*sizes, ROWS, device, torch.bfloat16)
    base = random_replay("late", weights, Scale())
    calibrate(base, (ROWS,))  # warms up
    tau = calibrate(base, (ROWS,))
    check_.figure(f"{ROWS} rows, ms a row-forward", 1000 * tau)
    # Both loops, of which the engine needs about half.
    whole = 1.6 * ROWS * tau * sum(STEPS.values())
    share = 0.25 if tiny else min(1.0, EAGER_SHARE * check_.left / whole)
    check_.figure("share of the profiles' steps that were replayed", share)
    for name in PROFILES:
        part = check_.part(f"profile {name}", needs=1.6 * ROWS * tau * share * STEPS[name] + 2)
        with part:
            if part.fits:
                compare(check_, name, replay(name, base, share), share)
    part = check_.part("compiled loops, profile late", needs=COMPILE_SECONDS)
    with part:
        if part.fits:
            compare_compiled(check_, replay("late", base, share), share)


def compare(check_: Check, name: str, work: Workload, share: float) -> None:
    """Note both loops on one profile; raises RuntimeError if they decode otherwise."""
    samples = sample(work, repeats=1)
    plain, engine = median(samples.plain.seconds), median(samples.engine.seconds)
    check_.figure(f"{name}: positions committed at the same steps by both loops", True, True)
    check_.figure(f"{name}: rows of {ROWS} with other tokens, by rounding", samples.flipped)
    ratio = samples.plain.computed / samples.engine.computed
    goal = None if name == "slow" else 2.0
    check_.figure(f"{name}: row-forwards, plain / engine", ratio, goal, "at least")
    check_.figure(f"{name}: wall, plain / engine", plain / engine, _goal(check_, 2.0), "at least")
    eta = samples.needed * samples.tau / engine
    check_.figure(f"{name}: eta", eta, _goal(check_, 0.93), "at least")
    rate = ROWS * share / engine
    check_.figure(f"{name}: rollouts/s, engine", rate)
    check_.figure(f"{name}: rollouts/s, plain", ROWS * share / plain)
    _memory(check_, name, samples)


def _goal(check_: Check, value: float) -> float | None:
    return None if check_.job.tiny else value


def _memory(check_: Check, name: str, samples: Samples) -> None:
    for which, loop in (("engine", samples.engine), ("plain loop", samples.plain)):
        if loop.memory is not None:
            goal = 0.10 if which == "engine" else None
            check_.figure(f"{name}: GB a row, {which}", loop.memory, goal)


def compare_compiled(check_: Check, work: Workload, share: float) -> None:
    """Note both loops with compiled layers, beside the plain loop without."""
    # Calls of four rows: more would be filled with copies towards the end.
    fixed = Scheduling(
        deterministic=True, static_rows=ROWS // 2, static_tokens=8, max_rows=ROWS
    )  # fmt: skip
    jobs = {"plain": (run_plain, None), "engine": (run_engine, fixed)}
    eager, loops, results = Loop(), {name: Loop() for name in jobs}, {}
    eager.run(lambda: run_plain(work), work)
    with compiled(work.denoiser, "default", check_.job.tiny):
        for name, (call, scheduling) in jobs.items():
            brief, job = (
                _scheduled(one, scheduling)
                for one in (replay("late", work, FEW_STEPS / STEPS["late"]), work)
            )
            first = timed(lambda c=call, b=brief: c(b), work.denoiser.device)[1]
            check_.figure(f"compiled {name}: s to compile and take a few steps", first)
            results[name] = loops[name].run(lambda c=call, j=job: c(j), job)
            rate = ROWS * share / loops[name].seconds[0]
            check_.figure(f"compiled {name}: rollouts/s", rate)
    check(work, results["plain"], results["engine"])
    check_.figure("compiled loops commit at the same steps", True, True)
    (plain,), (engine,) = loops["plain"].seconds, loops["engine"].seconds
    check_.figure("compiled: wall, plain / engine", plain / engine, _goal(check_, 2.7), "at least")
    ratio = eager.seconds[0] / engine
    check_.figure("wall, eager plain / compiled engine", ratio, _goal(check_, 3.5), "at least")


def _scheduled(work: Workload, scheduling: Scheduling | None) -> Workload:
    """Return a job with another scheduling, if there is one."""
    if scheduling is None:
        return work
    return replace(work, decoding=replace(work.decoding, scheduling=scheduling))
