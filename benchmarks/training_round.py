"""Where the time of a training round goes: denoiser, policy, grading, bookkeeping, update.

    python benchmarks/training_round.py --config configs/demo.yaml --rounds 12 --model.teaching=null

Trains for some rounds from the configuration's warm start, without validation, and prints each
part's share of the wall time of a round after the first one, and that of the checks for NaN, which
are within the other parts. Further flags are those of ``lit-unmask fit``. Writes
training_round.json to the folder ``--out``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lit_unmask.callbacks import WarmStart

from lit_unmask.cli import main as lit_unmask
from lit_unmask.evaluation.grading import Grader
from lit_unmask.files import replace_file
from lit_unmask.policies.actions import Bernoulli, UnmaskDistribution
from lit_unmask.policies.learned import behind_threshold
from lit_unmask.preflight.extends import read_config
from lit_unmask.rollout.state import RowState
from lit_unmask.training.broken import BrokenRounds
from lit_unmask.training.module import LitUnmask
from lit_unmask.types import Problem

# What looks for NaN; a policy of other actions has its own in the place of Bernoulli's.
CHECKS = [
    (RowState, "mark"), (Bernoulli, "broken"), (UnmaskDistribution, "broken"),
    (BrokenRounds, "_begin"), (torch.nn.utils, "get_total_norm"),
]  # fmt: skip
PARTS = ("denoiser", "policy", "grading", "bookkeeping", "update", "logging and data")


def now() -> float:
    """Return the time at which the device has done all that it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


class TimedGrader(Grader):
    """Adds up the seconds that another grader keeps this process waiting."""

    def __init__(self, inner: Grader) -> None:
        super().__init__(inner.patience)
        self.inner, self.seconds = inner, 0.0

    def submit(self, problem: Problem, completion: str) -> Future[float]:
        start = time.perf_counter()
        future = self.inner.submit(problem, completion)
        self.seconds += time.perf_counter() - start
        return future

    def close(self) -> None:
        self.inner.close()


class Profile(Callback):
    """Times the parts of each round and writes their means over all but the first.

    Args:
        file: Where the result goes.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self.rounds: list[dict[str, float]] = []
        self.seconds = dict.fromkeys(("denoiser", "policy", "collect", "checks"), 0.0)
        self.collecting = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, LitUnmask)
        pl_module.grader = self.grader = TimedGrader(pl_module.grader)
        self.watch("denoiser", pl_module.denoiser)
        self.watch("policy", behind_threshold(pl_module.policy))
        for owner, name in CHECKS:
            setattr(owner, name, self.timed_check(getattr(owner, name)))
        collect = pl_module.collect

        def timed(problems: Sequence[Problem]) -> Any:
            start, self.collecting = now(), True
            experience = collect(problems)
            self.seconds["collect"], self.collecting = now() - start, False
            self.update_began = now()
            return experience

        pl_module.collect = timed

    def timed_check(self, check: Any) -> Any:
        """Return a check that adds up the seconds that it takes."""

        def timed(*arguments: Any, **named: Any) -> Any:
            start = now()
            found = check(*arguments, **named)
            self.seconds["checks"] += now() - start
            return found

        return timed

    def watch(self, part: str, module: torch.nn.Module) -> None:
        """Add up the seconds that a module's forward takes within rollouts."""

        def begin(*_: object) -> None:
            self.since = now()

        def end(*_: object) -> None:
            if self.collecting:
                self.seconds[part] += now() - self.since

        module.register_forward_pre_hook(begin)
        module.register_forward_hook(end)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start_round()

    def start_round(self) -> None:
        self.began, self.grader.seconds = now(), 0.0
        self.seconds = dict.fromkeys(self.seconds, 0.0)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        ended, spent = now(), self.seconds
        inside = spent["denoiser"], spent["policy"], self.grader.seconds
        update = ended - self.update_began
        whole = ended - self.began
        rest = whole - spent["collect"] - update
        values = (*inside, spent["collect"] - sum(inside), update, rest)
        self.rounds.append(dict(zip(PARTS, values, strict=True)) | {"checks": spent["checks"]})
        self.start_round()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        kept = self.rounds[1:] or self.rounds
        seconds = {part: sum(each[part] for each in kept) / len(kept) for part in PARTS}
        total = sum(seconds.values())
        print(f"{total:.2f} s a round, mean of {len(kept)}, {torch.get_num_threads()} threads")
        for part, value in seconds.items():
            print(f"{part:<18}{value:8.3f} s{value / total:8.1%}")
        checks = sum(each["checks"] for each in kept) / len(kept)
        print(f"of which checks   {checks:8.3f} s{checks / total:8.2%}")
        result = {
            "seconds_a_round": total,
            "rounds": len(kept),
            "threads": torch.get_num_threads(),
            "shares": {part: value / total for part, value in seconds.items()},
            "checks": checks / total,
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.file, (json.dumps(result, indent=1) + "\n").encode())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/demo.yaml")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options, flags = parser.parse_known_args(arguments)
    if options.rounds < 2:
        parser.error(f"--rounds={options.rounds} must be at least 2; the first is not counted")
    lit_unmask(
        [
            *("fit", "--config", options.config),
            f"--trainer.callbacks={json.dumps(callbacks(options))}",
            f"--trainer.max_steps={options.rounds}",
            "--trainer.limit_val_batches=0",
            "--trainer.logger=false",
            "--trainer.enable_checkpointing=false",
            *flags,
        ]
    )


def callbacks(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the configuration's warm start, if it has one, and the profile."""
    name = f"{WarmStart.__module__.rpartition('.')[0]}.{WarmStart.__name__}"
    configured = read_config(options.config)["trainer"]["callbacks"]
    warm = [callback for callback in configured if callback["class_path"] == name]
    file = str(options.out / "training_round.json")
    return [*warm, {"class_path": f"{__name__}.Profile", "init_args": {"file": file}}]


if __name__ == "__main__":
    # Under its own name, because the configuration names the callback's class.
    from training_round import main

    main()
