"""A large results store, and graders whose workers are killed: parts of ``soak.py``."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PROBLEMS = 1000  # outcomes of a run in the store
HEAD = """\
# It keeps working

`make soak` writes this page; `benchmarks/soak.py` says how. Runs and graders are killed by SIGKILL
at random times, and must end with what undisturbed ones have. Short runs of two ranks, of which one
may be told to end or be killed, must end by themselves, and with exit code 143 if they were told in
their rounds. An undisturbed run must neither grow nor slow down. Memory is a line through the means
of ten blocks of time, with its 95 % interval, after the first sixth; pace is processor time, as
other work may run beside.

| what | injected | survived | lost | |
| --- | ---: | ---: | ---: | --- |
"""


def fill_store(rows: int) -> dict[str, Any]:
    """Return the seconds that a store of many outcomes takes to open and to answer a sweep.

    Args:
        rows: Outcomes, of runs of up to 1000 problems each.
    """
    from lit_unmask.evaluation.runs import Outcome, Run
    from lit_unmask.evaluation.store import FILE, Store

    rng, size = random.Random(0), min(rows, PROBLEMS)
    uids = [f"math/test/{rng.getrandbits(64):016x}" for _ in range(size)]
    runs = [
        Run("math", "test", "p0", size, "tiny", "threshold", "heuristic", "ConfidenceThreshold",
            {"threshold": number / rows}, "", 64, 8, 0.0, "force")
        for number in range(rows // size)
    ]  # fmt: skip

    def outcome(uid: str) -> Outcome:
        nfe = rng.randrange(1, 64)
        return Outcome(uid, float(nfe % 2), nfe, {"fresh": nfe, "unchanged": 0}, 40, False, 0.1)

    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        _, filling = _timed(lambda: [store.append(run, list(map(outcome, uids))) for run in runs])
        store, opening = _timed(lambda: Store(folder))
        asked = [
            _timed(lambda run=run: _sweep(store, run, uids))[1]
            for run in runs[:: len(runs) // 20 or 1]
        ]
        lost = sum(len(store.missing(run, uids)) for run in store.runs())
        megabytes = (Path(folder) / FILE).stat().st_size / 1e6
    return {
        "injected": size * len(runs), "survived": size * len(runs) - lost, "lost": lost,
        "seconds_to_fill": round(filling, 1), "seconds_to_open": round(opening, 2),
        "seconds_of_a_setting": round(max(asked), 3), "megabytes": round(megabytes),
        "load_average": round(os.getloadavg()[0], 1), "cores": os.cpu_count(),
    }  # fmt: skip


def _sweep(store: Any, run: Any, uids: Sequence[str]) -> None:
    """Ask what a sweep asks for one setting."""
    store.append(run, list(store.outcomes_of_other_seeds(run).values()))
    assert not store.missing(run, uids)
    assert len(store.outcomes(run)) == len(uids)


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def fraction(completion: str, answer: str) -> float:
    """Return a verdict that tells completions apart, after two milliseconds."""
    time.sleep(0.002)
    return int(completion) / int(answer)


def grade(problems: int, kills: int, seed: int) -> dict[str, Any]:
    """Return what became of verdicts while workers were killed at random.

    Args:
        problems: Completions, each of which has a verdict of its own.
        kills: Workers killed, each before the verdict of a random one is waited for.
        seed: Draws them.
    """
    from lit_unmask.evaluation.grading import WorkerPool
    from lit_unmask.types import Problem

    rng = random.Random(seed)
    work = [Problem(str(number), (), str(problems), fraction) for number in range(problems)]
    before, pool = set(rng.sample(range(problems * 9 // 10), kills)), WorkerPool(2)
    futures = [pool.submit(one, one.uid) for one in work]
    verdicts: list[float] = []
    try:
        for number, one in enumerate(work):
            if number in before:
                assert pool._pool is not None
                os.kill(rng.choice(list(pool._pool._processes)), signal.SIGKILL)
            verdicts.append(pool.wait(futures[number], one))
    finally:
        pool.close()
    right = sum(said == number / problems for number, said in enumerate(verdicts))
    return {
        "injected": kills, "survived": kills * (right == problems),
        "problems": problems, "right_once": right,
        "lost": problems - right, "twice": len(verdicts) - len(set(verdicts)),
    }  # fmt: skip


def rows_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each part, with what was done to it in words."""
    rows = [
        {"what": f"training runs killed, {ranks}", "more": "same weights, bit for bit"} | one
        for ranks, one in found.get("kills", {}).items()
    ]
    if one := found.get("ranks"):
        ends = "; ".join(f"{what} ({count})" for what, count in one["ends"].items())
        more = f"{one['hung']} hung, exit codes: {ends}"
        rows.append({"what": "short runs of two ranks", "more": more} | one)
    if one := found.get("hour"):
        first, last = (one["cpu_ms_of_a_row_forward"][at] for at in (0, -1))
        clock = one["seconds_of_a_round"]
        line, low, high = one["megabytes_an_hour"]
        worse = ", ".join(name for name, good in one["good"].items() if not good)
        more = (
            f"{one['minutes']} minutes; {one['megabytes']} MB, {line} MB an hour more ({low} to "
            f"{high}); descriptors and processes {', '.join(map(str, one['descriptors']))} and "
            f"{', '.join(map(str, one['processes']))} before and after; {first} ms of processor a "
            f"row-forward in the first sixth, {last} in the last, fixed work beside it "
            f"{one['yardstick_slower']:+.1%}; {clock[0]} and {clock[-1]} s a round by the clock; "
            f"{worse or 'nothing'} got worse"
        )
        rows.append({"what": "rounds of an undisturbed run", "more": more} | one)
    if one := found.get("load"):
        more = (
            f"opens in {one['seconds_to_open']} s, answers a setting of a sweep in "
            f"{one['seconds_of_a_setting']} s, {one['megabytes']} MB "
            f"(load average {one['load_average']} on {one['cores']} cores)"
        )
        rows.append({"what": "rows in a results store", "more": more} | one)
    if one := found.get("grading"):
        more = (
            f"{one['problems']} problems, {one['right_once']} with their one verdict, "
            f"{one['twice']} counted twice; lost are verdicts"
        )
        rows.append({"what": "grading workers killed", "more": more} | one)
    return rows


def page(found: dict[str, Any]) -> str:
    """Return the page of all figures."""
    lines = HEAD.splitlines()
    for row in rows_of(found):
        counts = (row[name] for name in ("what", "injected", "survived", "lost", "more"))
        lines.append(f"| {' | '.join(map(str, counts))} |")
    return "\n".join(lines) + "\n"
