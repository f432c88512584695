"""An hour of ``fit``, watched from outside: a part of ``soak.py``."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

EVERY = 5.0  # seconds between samples
PARTS = 6  # of the time, the first and the last of which are compared
ALLOWED = 0.05  # of a difference in what a row-forward takes


@dataclass(frozen=True)
class Sample:
    """What a run and its children hold at one time.

    Attributes:
        time: Seconds since the epoch.
        cpu: Seconds of processor that they have used since the start.
        memory: Megabytes that are theirs, shared pages counted in proportion.
        descriptors: Open files, sockets and pipes of the run itself.
        processes: Number of them.
        yardstick: Seconds of processor of a fixed piece of work, which others on the machine slow.
    """

    time: float
    cpu: float
    memory: float
    descriptors: int
    processes: int
    yardstick: float


def with_company(config: dict[str, Any]) -> dict[str, Any]:
    """Return a run without an end, with a grader's worker and callbacks that write."""
    trainer = config["trainer"] | {"max_steps": 1_000_000, "val_check_interval": 10}
    names = ("UnmaskingStats", "Completions", "ScalarLayout", "RolloutProgressBar")
    trainer["callbacks"] = config["trainer"]["callbacks"] + [
        {"class_path": f"lit_unmask.callbacks.{name}"} for name in names
    ]
    # The work stays what it is: the policy hardly moves.
    optimizer = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-7}}
    pool = {"class_path": "lit_unmask.evaluation.grading.WorkerPool", "init_args": {"processes": 1}}
    del trainer["enable_progress_bar"]
    model = config["model"] | {"optimizer": optimizer, "grader": pool}
    return config | {"trainer": trainer, "model": model}


def watch(config: dict[str, Any], folder: Path, minutes: float) -> dict[str, Any]:
    """Return what a run of some minutes held, and whether any of it grew.

    Args:
        config: Of the run.
        folder: Where it writes.
        minutes: After which it is asked to end, by SIGTERM.
    """
    file = folder / "config.yaml"
    file.write_text(json.dumps(with_company(config)))  # which is YAML
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lit_unmask", "fit", "--config", str(file)],
            stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        samples: list[Sample] = []
        while process.poll() is None and (
            len(samples) < 2 or samples[-1].time - samples[0].time < 60 * minutes
        ):
            if _events(folder):
                samples.append(_sample(process.pid))
            time.sleep(EVERY)
        process.send_signal(signal.SIGTERM)
        code = process.wait(120)
    assert code == 128 + signal.SIGTERM, (code, (folder / "log.txt").read_text()[-3000:])
    return verdict(samples, rounds(folder))


def _events(folder: Path) -> list[Path]:
    """Return the files of TensorBoard in which there are rounds."""
    return [file for file in folder.rglob("events.out.tfevents.*") if file.stat().st_size > 10_000]


def rounds(folder: Path) -> np.ndarray:
    """Return when each round ended and how many row-forwards it took, ``[rounds, 2]``."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = _events(folder)
    events = EventAccumulator(str(file), {"scalars": 0}).Reload().Scalars("train/row_forwards")
    return np.array([(event.wall_time, event.value) for event in events])


def _sample(pid: int) -> Sample:
    import psutil

    run = psutil.Process(pid)
    everyone = [run, *run.children(recursive=True)]
    times = [one.cpu_times() for one in everyone]
    start = time.process_time()
    square = np.ones((256, 256), np.float32)
    for _ in range(50):
        square = square @ square / 256
    return Sample(
        time=time.time(),
        cpu=sum(one.user + one.system for one in times),
        memory=sum(one.memory_full_info().pss for one in everyone) / 1e6,
        descriptors=run.num_fds(),
        processes=len(everyone),
        yardstick=time.process_time() - start,
    )


def verdict(samples: Sequence[Sample], played: np.ndarray) -> dict[str, Any]:
    """Return what grew between the first and the last part of the time.

    Args:
        samples: In the order of time.
        played: When each round ended, and its row-forwards, ``[rounds, 2]``.
    """
    from scipy import stats

    times = np.array([sample.time for sample in samples])
    edges = np.linspace(times[0], times[-1], PARTS + 1)
    cpu = np.interp(edges, times, [sample.cpu for sample in samples])
    ends, forwards = played.T
    # Row-forwards until a time, a round's spread over it.
    done = np.interp(edges, ends, forwards.cumsum())
    count = np.interp(edges, ends, np.arange(len(ends)))
    of_forward, of_round = np.diff(cpu) / np.diff(done), np.diff(edges) / np.diff(count)
    inside = [[s for s in samples if low <= s.time <= high] for low, high in pairwise(edges)]
    yardstick = [statistics.median(s.yardstick for s in part) for part in inside]
    # The first part warms up. Neighbouring samples are alike, so means of ten blocks are fitted.
    memory = np.array([(s.time, s.memory) for part in inside[1:] for s in part])
    blocks = np.array([block.mean(0) for block in np.array_split(memory, 10)])
    line = stats.linregress(blocks[:, 0] / 3600, blocks[:, 1])
    margin = stats.t.ppf(0.975, len(blocks) - 2) * line.stderr
    thirds = np.array_split(memory[:, 1], 3)
    grown = thirds[2].mean() / thirds[0].mean() - 1
    held = [
        [int(statistics.median(getattr(s, name) for s in part)) for part in (inside[1], inside[-1])]
        for name in ("descriptors", "processes")
    ]
    slower = of_forward[-1] / of_forward[0] - 1
    machine = yardstick[-1] / yardstick[0] - 1
    good = {
        "memory": bool(line.slope - margin <= 0 or grown < 0.01),
        "descriptors": held[0][1] <= held[0][0],
        "processes": held[1][1] <= held[1][0],
        "pace": bool(slower <= ALLOWED),
    }
    return {
        "minutes": round((times[-1] - times[0]) / 60, 1),
        "injected": len(played), "survived": len(played) * all(good.values()),
        "lost": len(played) * (not all(good.values())), "good": good,
        "megabytes": round(thirds[2].mean()), "megabytes_grown_share": round(grown, 4),
        "megabytes_an_hour": [round(line.slope + s * margin, 1) for s in (0, -1, 1)],
        "descriptors": held[0], "processes": held[1],
        "cpu_ms_of_a_row_forward": [round(1000 * one, 2) for one in of_forward],
        "seconds_of_a_round": [round(one, 3) for one in of_round],
        "slower": round(slower, 4), "yardstick_slower": round(machine, 4),
    }  # fmt: skip
