"""Trains by the shipped recipes with several seeds and numbers of threads: does each of them do?

    python benchmarks/dependable.py            # all that is missing
    python benchmarks/dependable.py demo       # of the demo alone

Each run is ``lit-unmask fit`` with a configuration as it is, in a folder of its own under
``runs/dependable``, and ends as a row of ``benchmarks/results/dependable.json``. A row that is
there is not computed again, and the command may be interrupted. The heuristic of a row is the most
accurate of those that the run tuned and tested beside its policy, on the same problems.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "dependable.json"
RUNS = ROOT / "runs" / "dependable"


@dataclass(frozen=True)
class Trial:
    """One run.

    Attributes:
        what: Configuration, a file of ``configs`` without its ending.
        task: What it learns.
        denoiser: What proposes.
        seed: Of everything.
        threads: Of each operation on a CPU.
        block_length: Of the policy. In shorter blocks than the response it is compared with the
            heuristics in such blocks, else with all.
    """

    what: str
    task: str
    denoiser: str
    seed: int
    threads: int
    block_length: int = 64

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells it from the others."""
        return key_of(vars(self))

    @property
    def name(self) -> str:
        """Its folder."""
        return "-".join(map(str, self.key))

    @property
    def changes(self) -> list[str]:
        """What the command line says besides the configuration."""
        changes = ["--seed_everything", str(self.seed)]
        if self.denoiser == "tiny-dream":
            changes += ["--model.denoiser", "lit_unmask.denoisers.Dream"]
            changes += ["--model.denoiser.init_args.path", self.denoiser]
        if self.block_length != 64:
            changes += ["--model.decoding.block_length", str(self.block_length)]
        return changes


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what tells a trial, or its row, from the others."""
    return tuple(row[name] for name in ("what", "denoiser", "block_length", "seed", "threads"))


TRIALS = [
    *(
        Trial("demo", "math", "tiny-llada", seed, threads)
        for threads in (2, 1)
        for seed in range(5)
    ),
    *(Trial("tiny_math", "math", "tiny-llada", seed, 1) for seed in range(5)),
    *(Trial("tiny_code", "code", "tiny-llada", seed, 1) for seed in range(3)),
    *(Trial("tiny_math", "math", "tiny-dream", seed, 1) for seed in range(3)),
    *(Trial("tiny_code", "code", "tiny-dream", seed, 1) for seed in range(3)),
    *(Trial("tiny_math", "math", "tiny-llada", seed, 1, 16) for seed in range(3)),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", help="configurations; all without any")
    for name in ("seeds", "threads"):
        parser.add_argument(f"--{name}", type=int, nargs="*", help=f"{name}; all without any")
    options = parser.parse_args(arguments)
    for trial in TRIALS:
        asked = trial.what in (options.what or [trial.what])
        asked = asked and trial.seed in (options.seeds or [trial.seed])
        asked = asked and trial.threads in (options.threads or [trial.threads])
        if asked and trial.key not in set(map(key_of, read())):
            row = run(trial)
            write([*read(), row])  # another process may have written one meanwhile
    print(table(read()))


def read() -> list[dict[str, Any]]:
    """Return the rows so far."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else []


def write(rows: list[dict[str, Any]]) -> None:
    """Write the rows, in the order of the runs."""
    places = {trial.key: place for place, trial in enumerate(TRIALS)}
    rows.sort(key=lambda row: places[key_of(row)])
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


def run(trial: Trial) -> dict[str, Any]:
    """Run a trial to its end; returns its row.

    Raises:
        RuntimeError: If the run fails; names its log.
    """
    folder = RUNS / trial.name
    folder.mkdir(parents=True, exist_ok=True)
    log, start = folder / "log.txt", time.perf_counter()
    print(f"{folder.name}: see {log}", flush=True)
    config = ROOT / "configs" / f"{trial.what}.yaml"
    version = f"{len(list(folder.glob('runs/*/*')))}"
    command = [
        *(sys.executable, "-m", "lit_unmask", "fit", "--config", str(config)),
        *(*trial.changes, "--trainer.logger.init_args.version", version),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(trial.threads)}
    with log.open("w") as file:
        done = subprocess.run(command, cwd=folder, stdout=file, stderr=file, env=environment)
    if done.returncode:
        raise RuntimeError(f"{trial} ended with {done.returncode}; {log} says why")
    return row_of(trial, folder, version, time.perf_counter() - start)


def row_of(trial: Trial, folder: Path, version: str, seconds: float) -> dict[str, Any]:
    """Return the row of a finished run.

    Args:
        trial: What was run.
        folder: Where.
        version: Version of its log.
        seconds: How long it took.
    """
    (results,) = folder.glob("runs/*/results.json")
    points = json.loads(results.read_text())
    policy = next(point for point in points if point["kind"] == "learned")
    heuristics = [point for point in points if point["kind"] == "heuristic"]
    if trial.block_length != 64:  # what is asked there is whether it is better in blocks like these
        heuristics = [each for each in heuristics if each["block_length"] == trial.block_length]
    best = max(heuristics, key=lambda point: (point["accuracy"], -point["nfe"]))
    show = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(show, cwd=ROOT, capture_output=True, text=True, check=True)
    return {
        **vars(trial),
        **{name: round(policy[name], 4) for name in ("accuracy", "ci_low", "ci_high", "nfe")},
        "heuristic_accuracy": round(best["accuracy"], 4),
        "heuristic_nfe": round(best["nfe"], 4),
        **costs(results.parent / f"version_{version}", policy["nfe"]),
        "seconds": round(seconds),
        "commit": commit.stdout.strip(),
    }


def costs(log: Path, nfe: float) -> dict[str, Any]:
    """Return the row-forwards of all rounds, of teaching and of rewards, and the oracle's share.

    The oracle commits what is already right, and nothing else, on the training problems of the
    first rounds. Its share is how many tokens a forward the policy commits, of those of the oracle.

    Args:
        log: Folder of the run's log.
        nfe: Forwards of the policy.
    """
    events = EventAccumulator(str(log), size_guidance={"scalars": 0}).Reload()
    known = set(events.Tags()["scalars"])
    tags = known & {"train/row_forwards", "train/teaching/row_forwards"}
    total = sum(event.value for tag in tags for event in events.Scalars(tag))
    oracle = [event.value for event in events.Scalars("train/teaching/oracle_nfe")]
    share = sum(oracle) / len(oracle) / nfe
    return {"row_forwards": round(total), "oracle_share": round(share, 4)}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    titles = ("run", "denoiser", "block", "seed", "threads", "accuracy", "NFE", "best heuristic")
    lines = [_line([*titles, "oracle's share", "row-forwards", "s"])]
    lines += [_line(["---", "---", *["---:"] * 9])]
    for row in rows:
        accuracy = f"{row['accuracy']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f})"
        heuristic = f"{row['heuristic_accuracy']:.3f} @ {row['heuristic_nfe']:.1f}"
        cells = [*key_of(row), accuracy, f"{row['nfe']:.1f}", heuristic]
        cells += [f"{row['oracle_share']:.0%}", f"{row['row_forwards']:,}", row["seconds"]]
        lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
