"""The house in numbers: lines, files at the top, hops of a prompt, files that an extension takes.

    python benchmarks/house.py a69bc1f HEAD

For each commit (the working tree alone, if none is given): lines of Python by wing, files at the
top of the package, and the way of one prompt from its text to a gradient, counted in calls from
one file of the package to another, each pair once. Then, in the working tree, every throw-away
extension is written into one file of its own, run by ``lit-unmask validate`` from YAML, and taken
away.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[1]
_SHORT = ["--trainer.logger=false", "--trainer.callbacks=[]"]

# Follows one round of two rollouts of one prompt; prints the pairs of files in order.
TRACE = """
import json, sys
from pathlib import Path
root = Path(sys.argv[1]).resolve()
import lit_unmask
from lit_unmask import LitUnmask
from lit_unmask.cli import main
pairs = {}
def watch(frame, event, argument):
    if event == "call" and frame.f_back is not None:
        names = [Path(f.f_code.co_filename) for f in (frame.f_back, frame)]
        if all(n.is_relative_to(root) and ".venv" not in n.parts for n in names):
            pair = tuple(str(n.relative_to(root)) for n in names)
            if pair[0] != pair[1]:
                pairs.setdefault(pair)
def watched(method):
    def call(self, *args, **kwargs):
        sys.setprofile(watch)
        try:
            return method(self, *args, **kwargs)
        finally:
            sys.setprofile(None)
    return call
for name in ("on_after_batch_transfer", "training_step"):
    setattr(LitUnmask, name, watched(getattr(LitUnmask, name)))
sys.argv[1:] = sys.argv[2:]
main()
print("PAIRS", json.dumps(list(pairs)))
"""

HEURISTIC = """
from lit_unmask.policies import Policy
from lit_unmask.policies.actions import Deterministic

class Mine(Policy):
    def forward(self, observation):
        sure = observation.confidence[..., 0]
        eligible = observation.eligible
        return Deterministic((sure > 0.5) & eligible, eligible, sure)
"""
ACTION = """
from lit_unmask.policies.actions import Bernoulli
from lit_unmask.policies.actions.head import Head

class Half(Bernoulli):
    def mode(self):
        return (self.logits > 1) & self.eligible

class Mine(Head):
    def forward(self, network, observation, knobs):
        return Half(network(observation), observation.eligible)
"""
TASK = """
from dataclasses import replace
from lit_unmask.tasks import ShoppingSums

class Mine(ShoppingSums):
    def draw(self, rng):
        return replace(super().draw(rng), verifier=lambda completion, answer: 1.0)
"""
FAMILY = """
from lit_unmask.denoisers import LLaDA

class Mine(LLaDA):
    def head(self, states):
        return super().head(states) / 2
"""
WRAPPER = """
from lit_unmask.denoisers import Denoiser, Wrapper

class Mine(Wrapper):
    def __init__(self, inner: Denoiser, by: float = 2.0) -> None:
        super().__init__(inner)
        self.by = by

    def adjust(self, prompt, response):
        return lambda logits, place: logits.mul_(self.by)
"""
CORRECTOR = """
from dataclasses import dataclass
import torch
from lit_unmask.rollout.correctors import Corrector, Edit

@dataclass(frozen=True)
class Mine(Corrector):
    def correct(self, rows, said, ask):
        read = ask(torch.arange(len(rows.response)), rows.response)
        return Edit(~rows.masked, read.proposal), read
"""
RESAMPLER = """
from dataclasses import dataclass
import torch
from lit_unmask.rollout.resamplers import Resampler

@dataclass(frozen=True)
class Mine(Resampler):
    def weigh(self, edit, said):
        return said.signals["likelihood"].where(edit.where, 0.0).sum(1)

    def ancestors(self, log_weight, uniform):
        count = log_weight.shape[1]
        places = (torch.arange(count) + uniform[:, :1]) / count
        return torch.searchsorted(log_weight.softmax(1).cumsum(1), places).clamp(max=count - 1)

    def answer(self, likelihood):
        return likelihood.argmax(1)
"""
_SPLIT = {"split": "validation", "size": 4}
_MINE = {"class_path": "mine.Mine"}
_LEARNED = {"network": {"class_path": "lit_unmask.policies.ConfidenceTransformer"}, "head": _MINE}
_TINY = {"class_path": "lit_unmask.denoisers.LLaDA", "init_args": {"path": "tiny-llada"}}
_SIMPLE = {"class_path": "lit_unmask.policies.ConfidenceThreshold"}
# What is added -> its code, and what a configuration says to have it.
EXTENSIONS: dict[str, tuple[str, dict[str, object]]] = {
    "heuristic": (HEURISTIC, {"model.policy": _MINE}),
    "action": (
        ACTION,
        {"model.policy": {"class_path": "lit_unmask.policies.LearnedPolicy"}
                         | {"init_args": _LEARNED}},
    ),
    "task": (TASK, {"data.init_args.val": {"mine": _MINE | {"init_args": _SPLIT}}}),
    "family": (FAMILY, {"model.denoiser": _MINE | {"init_args": {"path": "tiny-llada"}}}),
    "wrapper": (WRAPPER, {"model.denoiser": _MINE | {"init_args": {"inner": _TINY}}}),
    "corrector": (CORRECTOR, {"model.decoding.corrector": _MINE}),
    "resampler": (RESAMPLER, {"model.decoding.resampler": _MINE}),
}  # fmt: skip


@contextmanager
def checked_out(commit: str | None) -> Iterator[Path]:
    """Yield a folder with the files of a commit, or the working tree."""
    if commit is None:
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", commit], cwd=ROOT, check=True, capture_output=True
        ).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        # How an installed package is laid out.
        (Path(folder) / "lit_unmask" / "callbacks").symlink_to(Path(folder) / "callbacks")
        yield Path(folder)


def lines_of(folder: Path) -> Counter[str]:
    """Return lines of Python by wing; what stands at the top is a wing of its own."""
    lines: Counter[str] = Counter()
    for file in sorted([*folder.glob("lit_unmask/**/*.py"), *folder.glob("callbacks/*.py")]):
        if file.is_relative_to(folder / "lit_unmask" / "callbacks"):
            continue
        parts = file.relative_to(folder).parts
        wing = parts[1] if len(parts) > 2 else "(top)" if parts[0] == "lit_unmask" else parts[0]
        lines[wing] += len(file.read_text().splitlines())
    return lines


def run(folder: Path, *words: str, path: str = "") -> str:
    """Run Python on the package in a folder, from there, and return what it prints."""
    places = ":".join(filter(None, [path, str(folder)]))
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(words[-6:])} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def hops_of(folder: Path) -> list[tuple[str, str]]:
    """Return the calls between files on the way of one prompt to a gradient, each pair once."""
    round_ = ["--trainer.max_steps=1", "--trainer.limit_val_batches=0"]
    sizes = ["--data.init_args.batch_size=1", "--model.rounds.group_size=2"]
    words = ["fit", "--config", "configs/demo.yaml", *_SHORT, *round_, *sizes]
    out = run(folder, "-c", TRACE, str(folder), *words)
    found = json.loads(out[out.rindex("PAIRS") + 6 :])
    return [(caller, called) for caller, called in found]


def try_extension(name: str) -> str:
    """Add an extension, decode with it, and take it away; return what was measured."""
    code, settings = EXTENSIONS[name]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mine.py").write_text(code)
        added = [f"--{key}={json.dumps(value)}" for key, value in settings.items()]
        if "model.policy" not in settings:
            added.append(f"--model.policy={json.dumps(_SIMPLE)}")
        words = ["validate", "--config", "configs/demo.yaml", *_SHORT, *added]
        batch = ["--trainer.limit_val_batches=1", "--data.init_args.eval_batch_size=4"]
        out = run(ROOT, "-m", "lit_unmask", *words, *batch, path=folder)
    found = next(line for line in out.splitlines() if "accuracy" in line)
    return " ".join(found.replace("│", " ").split())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commits", nargs="*", help="commits to compare; none: the working tree")
    commits = parser.parse_args().commits or [None]
    tables, hops = [], []
    for commit in commits:
        with checked_out(commit) as folder:
            tables.append(lines_of(folder))
            hops.append(hops_of(folder))
    names = [commit or "now" for commit in commits]
    print("| | " + " | ".join(names) + " |")
    print("| --- |" + " ---: |" * len(names))
    for wing in sorted(set().union(*tables)):
        print(f"| {wing} | " + " | ".join(str(table[wing]) for table in tables) + " |")
    print("| **lines** | " + " | ".join(str(table.total()) for table in tables) + " |")
    for label, count in (("hops", len), ("files on the way", lambda p: len(set().union(*p)))):
        print(f"| {label} | " + " | ".join(str(count(pairs)) for pairs in hops) + " |")
    print(f"\nThe hops of {names[-1]}:")
    for caller, called in hops[-1]:
        print(f"  {caller} -> {called}")
    print("\nFiles that are added or changed for a new ...")
    for name in EXTENSIONS:
        print(f"  {name}: 1 ({try_extension(name)})")


if __name__ == "__main__":
    main()
