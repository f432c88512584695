"""Kills and watches training runs, kills graders, fills a results store, and counts what is lost.

    python benchmarks/soak.py                                 # all of it
    python benchmarks/soak.py kills --kills 20 --two-ranks 5
    python benchmarks/soak.py ranks --runs 50                 # see benchmarks/ends.py
    python benchmarks/soak.py hour --minutes 60               # see benchmarks/hour.py
    python benchmarks/soak.py load grading                    # see benchmarks/loads.py

What is not asked for keeps its figures in ``results/soak.json``, of which ``docs/soak.md`` is made.

Each run is a small ``lit-unmask fit`` on tiny-llada. It is killed by SIGKILL, all of its ranks at
once, at random times between its start and its end, as often as there are kills left; each time it
is started again, and what it ends with must be, bit for bit, what a run has that nobody disturbed.
A kill is lost if the run does not go on from it, or ends with other weights.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Workers load this file, so that what is heavy is loaded where it is used.
import ends
import hour
import loads

if TYPE_CHECKING:
    import torch

RESULT = Path(__file__).parent / "results" / "soak.json"
PAGE = Path(__file__).parents[1] / "docs" / "soak.md"
ROUNDS = 12
LONGEST = 600.0  # seconds of one start
KILLED = -signal.SIGKILL


def config(folder: Path) -> dict[str, object]:
    """Return a run that saves in rounds and after validations."""
    sums = "lit_unmask.tasks.ShoppingSums"
    train = {"class_path": sums, "init_args": {"split": "train", "size": 20}}
    shown = {"class_path": sums, "init_args": {"split": "validation", "size": 4}}
    checkpoint = "lightning.pytorch.callbacks.ModelCheckpoint"
    return {
        "trainer": {
            "default_root_dir": str(folder), "accelerator": "cpu", "devices": 1,
            "max_steps": ROUNDS, "val_check_interval": 5, "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0, "log_every_n_steps": 1, "enable_model_summary": False,
            "enable_progress_bar": False,
            "logger": {
                "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
                "init_args": {"save_dir": str(folder), "name": "soak"},
            },
            "callbacks": [
                {"class_path": checkpoint,
                 "init_args": {"monitor": "val/math/reward", "mode": "max"}},
                {"class_path": checkpoint,
                 "init_args": {"every_n_train_steps": 2, "save_last": True}},
            ],
        },
        "model": {
            "denoiser": {"class_path": "lit_unmask.denoisers.LLaDA",
                         "init_args": {"path": "tiny-llada"}},
            "policy": {
                "class_path": "lit_unmask.policies.LearnedPolicy",
                "init_args": {"network": {
                    "class_path": "lit_unmask.policies.ConfidenceTransformer",
                    "init_args": {"width": 16, "heads": 2, "feed_forward": 16},
                }},
            },
            "decoding": {"gen_length": 64, "block_length": 16, "temperature": 1.0},
            "rounds": {"group_size": 4},
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
            "schedule": {"class_path": "lit_unmask.training.schedule.WarmupCosine",
                         "init_args": {"warmup_rounds": 2}},
        },
        "data": {
            "class_path": "lit_unmask.tasks.datamodule.TaskDataModule",
            "init_args": {"train": train, "val": {"math": shown}, "batch_size": 2,
                          "eval_batch_size": 4},
        },
    }  # fmt: skip


class Soak:
    """Runs of one number of ranks, and what became of the kills.

    Args:
        home: Where runs write.
        ranks: Processes of a run.
        rng: Draws the times of kills.
    """

    def __init__(self, home: Path, ranks: int, rng: random.Random) -> None:
        self.home, self.ranks, self.rng = home, ranks, rng
        self.expected: dict[str, torch.Tensor] = {}
        self.found = dict.fromkeys(("injected", "survived", "lost", "before_a_checkpoint"), 0)

    def undisturbed(self) -> None:
        """Note what a run ends with that nobody disturbs."""
        folder = self.home / f"undisturbed-{self.ranks}"
        assert self._start(folder, None) == 0, (folder / "log.txt").read_text()[-3000:]
        self.expected = self._end(folder)

    def disturb(self, kills: int) -> Iterator[dict[str, int]]:
        """Kill runs, one after the other, until as many kills are spent; yields what was found."""
        number = 0
        while self.found["injected"] < kills:
            folder, number = self.home / f"ranks-{self.ranks}-run-{number}", number + 1
            mine, code = 0, KILLED
            while code == KILLED and self.found["injected"] < kills:
                code = self._start(folder, self.rng.randrange(6))
                mine += code == KILLED
                self.found["injected"] += code == KILLED
            if code == KILLED:
                code = self._start(folder, None)
            good = code == 0 and self._same(self._end(folder))
            self.found["survived" if good else "lost"] += mine
            print(f"{self.ranks} rank(s), run {number}: {mine} kills, {'same' if good else 'LOST'}",
                  flush=True)  # fmt: skip
            yield self.found

    def _start(self, folder: Path, kill_after: int | None) -> int:
        """Start or go on with a run; returns its exit code.

        Args:
            folder: Of the run.
            kill_after: Checkpoints, and a random part of some seconds, after which it is killed if
                it has not ended: in rounds, validations, while it saves, or while it starts.
        """
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "config.yaml"
        file.write_text(json.dumps(config(folder)))  # which is YAML
        command = [sys.executable, "-m", "lit_unmask", "fit", "--config", str(file)]
        if self.ranks > 1:
            command += [f"--trainer.devices={self.ranks}", "--trainer.strategy=ddp"]
        goes_on = any(folder.rglob("*.ckpt"))
        command += ["--ckpt_path=last"] * goes_on
        with (folder / "log.txt").open("a") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            before, more = _written(folder), self.rng.uniform(0, 3 if kill_after else 30)
            if kill_after is None:
                return process.wait(LONGEST)
            while process.poll() is None and len(_written(folder) - before) < kill_after:
                time.sleep(0.01)
            try:
                return process.wait(more)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # the other ranks too
        self.found["before_a_checkpoint"] += not any(folder.rglob("*.ckpt"))
        return process.wait()

    def _end(self, folder: Path) -> dict[str, torch.Tensor]:
        import torch

        files = folder.rglob("last*.ckpt")
        newest = max(files, key=lambda file: file.stat().st_mtime_ns)
        stored = torch.load(newest, weights_only=True)
        assert stored["global_step"] == ROUNDS, (newest, stored["global_step"])
        return stored["state_dict"]

    def _same(self, end: dict[str, torch.Tensor]) -> bool:
        import torch

        return end.keys() == self.expected.keys() and all(
            torch.equal(value, self.expected[name]) for name, value in end.items()
        )


def _written(folder: Path) -> set[tuple[str, int]]:
    """Return what tells the checkpoints below a folder, and their versions."""
    found = set()
    for file in folder.rglob("*.ckpt"):
        with contextlib.suppress(FileNotFoundError):  # another one took its place
            found.add((str(file), file.stat().st_mtime_ns))
    return found


def kill_runs(asked: argparse.Namespace) -> Iterator[dict[str, dict[str, int]]]:
    """Kill runs of one rank, then of two; yields what was found so far."""
    found = {}
    with tempfile.TemporaryDirectory() as home:
        for ranks, kills in ((1, asked.kills), (2, asked.two_ranks)):
            if kills:
                soak = Soak(Path(home), ranks, random.Random(asked.seed))
                soak.undisturbed()
                for result in soak.disturb(kills):
                    found[f"{ranks} rank" + "s" * (ranks > 1)] = result
                    yield found


def watch_run(asked: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Watch a run that nobody disturbs; yields what was seen."""
    with tempfile.TemporaryDirectory() as home:
        yield hour.watch(config(Path(home)), Path(home), asked.minutes)


def run_ranks(asked: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Start runs of two ranks, some of them disturbed; yields what was seen so far."""
    with tempfile.TemporaryDirectory() as home:
        yield from ends.run_ranks(config(Path(home)), Path(home), asked.runs, asked.seed)


def main() -> None:
    """Run what the command line asks for; exits with 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    what = ["kills", "ranks", "hour", "load", "grading"]
    parser.add_argument("what", nargs="*", help=f"Any of {what}; all without.")
    parser.add_argument("--kills", type=int, default=20, help="Kills of runs of one process.")
    parser.add_argument("--two-ranks", type=int, default=5, help="Kills of runs of two ranks.")
    parser.add_argument("--runs", type=int, default=50, help="Short runs of two ranks.")
    parser.add_argument("--minutes", type=float, default=60, help="Of the run that is watched.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="Rows of the results store.")
    parser.add_argument("--problems", type=int, default=10_000, help="Problems that are graded.")
    parser.add_argument("--workers-killed", type=int, default=20, help="Kills of their workers.")
    parser.add_argument("--seed", type=int, default=0, help="Draws the times of the kills.")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file to write.")
    parser.add_argument("--page", type=Path, default=PAGE, help="Markdown file to write.")
    asked = parser.parse_args()
    if unknown := set(asked.what) - set(what):
        parser.error(f"{sorted(unknown)} is none of {what}")
    found = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    parts = {
        "kills": lambda: kill_runs(asked),
        "ranks": lambda: run_ranks(asked),
        "hour": lambda: watch_run(asked),
        "load": lambda: [loads.fill_store(asked.rows)],
        "grading": lambda: [loads.grade(asked.problems, asked.workers_killed, asked.seed)],
    }
    for name in asked.what or what:
        for result in parts[name]():
            found[name] = result
            asked.out.write_text(json.dumps(found, indent=1) + "\n")
            asked.page.write_text(loads.page(found))
    print(json.dumps(found))
    sys.exit(any(row["lost"] for row in loads.rows_of(found)))


if __name__ == "__main__":
    main()
