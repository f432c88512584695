"""Trains the policies of the study, and keeps them with their logs."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_unmask.files import replace_file
from lit_unmask.sharing.saved import read_checkpoint, save_policy
from study.runs import DEMONSTRATIONS, HERE, ROOT, Chain, Run

TRAINED = HERE / "trained"
WORK = ROOT / "runs" / "study"
LOGGED = ("reward", "accuracy", "nfe", "entropy", "kl", "iterations", "row_forwards", "loss")
VALIDATED = ("reward", "accuracy", "nfe", "speeds/reward", "speeds/off_target")


def train_chain(chain: Chain) -> list[str]:
    """Train the runs of a chain that are not there; returns the name of the one that failed."""
    for run in chain:
        if is_done(run.name):
            continue
        print(f"starts: {run.name}", flush=True)
        if not train(run):
            return [run.name]
        if run.name != DEMONSTRATIONS:
            keep(run)
        print(f"done:   {run.name}", flush=True)
    return []


def is_done(name: str) -> bool:
    """Return whether a run need not be started; recordings find that out themselves."""
    return (TRAINED / name / "training.csv").is_file()


def train(run: Run) -> bool:
    """Run the command of a run to its end; returns whether it got there."""
    folder = WORK / run.name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.log").open("a") as output:
        finished = subprocess.run(
            command(run),
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return finished.returncode == 0


def command(run: Run) -> list[str]:
    """Return the command line of a run, which goes on where an earlier one stopped."""
    line = [sys.executable, "-m", "lit_unmask", run.subcommand, "--config", str(run.config)]
    line += run.settings
    if run.name == DEMONSTRATIONS:
        return line
    line += ["--trainer.logger.init_args.save_dir", str(WORK)]
    line += ["--trainer.logger.init_args.name", run.name]
    last = WORK / run.name / "checkpoints" / "last.ckpt"
    if last.is_file():
        return [*line, "--ckpt_path", str(last)]
    if run.weights is not None:
        return [*line, "--ckpt_path", str(WORK / run.weights / "checkpoints" / "best.ckpt")]
    return line


def keep(run: Run) -> None:
    """Store the policies of a finished run, and its log, which marks it as finished."""
    for name in ("best", "last"):
        folder = TRAINED / run.name / name
        if not (folder / "config.json").is_file():
            saved = read_checkpoint(WORK / run.name / "checkpoints" / f"{name}.ckpt")
            save_policy(saved.build(), folder, saved.trained_with)
    write_log(WORK / run.name, TRAINED / run.name / "training.csv")


def write_log(events: Path, file: Path) -> None:
    """Write scalars of a TensorBoard log as a table with a line for each round."""
    log = EventAccumulator(str(events), size_guidance={"scalars": 0})
    log.Reload()
    tags = [f"train/{name}" for name in LOGGED] + [f"val/math/{name}" for name in VALIDATED]
    known = [tag for tag in tags if tag in log.Tags()["scalars"]]
    rounds: dict[int, dict[str, float]] = {}
    for tag in known:
        for event in log.Scalars(tag):
            rounds.setdefault(event.step, {"step": event.step})[tag] = float(f"{event.value:.5g}")

    text = io.StringIO()
    table = csv.DictWriter(text, ["step", *known], lineterminator="\n")
    table.writeheader()
    table.writerows(rounds[step] for step in sorted(rounds))
    replace_file(file, text.getvalue().encode())
