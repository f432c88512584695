"""Evaluates the policies of the study into a results store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lit_unmask import load_policy
from lit_unmask.denoisers import LLaDA
from lit_unmask.evaluation.evaluation_set import EvaluationSet
from lit_unmask.evaluation.grid import Setting
from lit_unmask.evaluation.sweep import Sweep
from lit_unmask.policies import Conditioned, Policy
from lit_unmask.rollout import Decoding
from lit_unmask.sharing.saved import read_saved
from lit_unmask.tasks import ShoppingSums
from study.runs import ALPHAS, TARGETS, TOLD_TARGET
from study.training import TRAINED

# The name of the set in the store of configs/frontier.yaml, which holds the heuristics.
DATASET = "math"
KINDS = ("best", "last")


@dataclass(frozen=True)
class Trained:
    """One policy of the study at one wanted speed.

    Attributes:
        run: Name of the run.
        kind: Which of its policies: the best by validation, or the last.
        speed: The wanted speed, of a policy that is told one.
    """

    run: str
    kind: str = "best"
    speed: float | None = None

    @property
    def name(self) -> str:
        """What the store calls it."""
        speed = "" if self.speed is None else f" at {self.speed:g}"
        return f"{self.run}{speed} ({self.kind})"

    def load(self) -> tuple[Policy, Decoding]:
        """Return the policy, and decoding as it was trained."""
        folder = TRAINED / self.run / self.kind
        block_length = read_saved(folder).trained_with.block_length
        assert block_length is not None
        return load_policy(folder, speed=self.speed), Decoding(64, block_length)


def names() -> list[str]:
    """Return the runs that have policies."""
    logs = sorted(TRAINED.glob("*/*/training.csv"))
    return [str(log.parent.relative_to(TRAINED)) for log in logs if (log.parent / "best").is_dir()]


def kinds(run: str) -> tuple[str, ...]:
    """Return the policies of a run that differ: the last round may be the best one."""
    best, last = (TRAINED / run / kind / "model.safetensors" for kind in KINDS)
    if not last.is_file() or last.read_bytes() == best.read_bytes():
        return KINDS[:1]
    return KINDS


def trained(runs: Sequence[str]) -> Iterator[Trained]:
    """Iterate over everything that is evaluated of runs."""
    for run in runs:
        for kind in kinds(run):
            told = isinstance(load_policy(TRAINED / run / kind), Conditioned)
            speeds = (TARGETS if run in TOLD_TARGET else ALPHAS) if told else (None,)
            yield from (Trained(run, kind, speed) for speed in speeds)


def evaluate(folder: Path, small: bool = False) -> str:
    """Run what the store lacks.

    Args:
        folder: The store.
        small: Whether to run three policies on two problems alone, to try it.

    Returns:
        How much was computed, in words.
    """
    denoiser, sweep = LLaDA(path="tiny-llada"), Sweep(folder)
    stages: tuple[Literal["tuning", "test"], ...] = ("tuning", "test")
    sizes = (2, 2) if small else (64, 500)
    sets = [
        EvaluationSet.of(DATASET, stage, denoiser, list(ShoppingSums(stage, size=size)))
        for stage, size in zip(stages, sizes, strict=True)
    ]
    for one in trained(names()[: 3 if small else None]):
        policy, decoding = one.load()
        for problems in sets:
            sweep.outcomes(problems, Setting.of(one.name, policy, decoding))
    return sweep.counts
