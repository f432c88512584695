"""A sweep made up by numbers: how hard problems are, and how good each setting is at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lit_unmask.evaluation.store import Outcome, Run, Store
from lit_unmask.report.results import Dataset, Result

LENGTH = 64


@dataclass(frozen=True)
class MadeUp:
    """One setting with its true accuracy and NFE."""

    run: Run
    accuracy: float
    nfe: float
    noisy: bool


def make_run(**settings) -> Run:
    defaults = {
        "dataset": "math",
        "stage": "test",
        "problems": "f00d",
        "num_problems": 4,
        "denoiser": "tiny-llada",
        "name": "threshold",
        "kind": "heuristic",
        "policy": "ConfidenceThreshold",
        "params": {"threshold": 0.9},
        "weights": "",
        "gen_length": LENGTH,
        "block_length": LENGTH,
        "temperature": 0.0,
        "on_empty": "force",
        "approximate": {"cache": "none", "early_stop": False},
        "seed": 0,
    }
    return Run(**(defaults | settings))


def heuristics() -> Iterator[MadeUp]:
    """Three heuristics over parameters and block lengths."""
    for block, bonus in ((8, 0.22), (64, 0.0)):
        for threshold in (0.5, 0.9):
            run = make_run(params={"threshold": threshold}, block_length=block)
            nfe = 8 + 34 * threshold**2 + 4 * (64 - block) / 56
            yield MadeUp(run, 0.05 + 0.38 * threshold + bonus, nfe, False)
        for gamma in (0.1, 0.5):
            run = make_run(
                name="entropy bound", policy="EntropyBound", params={"gamma": gamma},
                block_length=block,
            )  # fmt: skip
            nfe = 28 - 8 * np.log2(gamma / 0.1) / 2 + 3 * (64 - block) / 56
            yield MadeUp(run, 0.66 - 0.11 * np.log2(gamma / 0.1) + bonus / 3, nfe, False)
        for k in (1, 4):
            run = make_run(
                name="low confidence, k", policy="LowConfidence", params={"k": k},
                block_length=block,
            )  # fmt: skip
            yield MadeUp(run, 0.42 / k**0.8 + bonus * 1.3, LENGTH / k, False)


def policies(seeds: int) -> Iterator[MadeUp]:
    """A learned policy in full diffusion, with several training seeds."""
    for seed, (accuracy, nfe) in enumerate([(0.766, 10.4), (0.812, 9.4), (0.748, 13.9)][:seeds]):
        run = make_run(
            name="policy" if seeds == 1 else f"policy/seed-{seed}", kind="learned",
            policy="LearnedPolicy", params={}, weights=f"abcd{seed}",
        )  # fmt: skip
        yield MadeUp(run, accuracy, nfe, True)


def outcomes(made: MadeUp, problems: int, hard: np.ndarray, seed: int) -> list[Outcome]:
    """Draw verdicts that depend on how hard each problem is, and on the setting's own luck."""
    luck = 0 if not made.noisy else seed
    rng = np.random.default_rng([luck, *made.run.key.encode()])
    spread = np.sqrt(1 + 0.7)
    solved = (
        hard + np.sqrt(0.7) * rng.normal(size=problems) < _normal_quantile(made.accuracy) * spread
    )
    nfe = np.clip(np.rint(made.nfe * np.exp(rng.normal(0, 0.15, problems))), 1, LENGTH)
    if made.run.policy == "LowConfidence":
        nfe = np.full(problems, made.nfe)
    return [
        Outcome(
            uid=f"{made.run.stage} problem {i}",
            correct=float(solved[i]),
            nfe=int(nfe[i]),
            nfe_by_kind={"fresh": int(nfe[i]) - 1, "unchanged": 1},
            tokens=int(rng.integers(30, 50)),
            still_masked=False,
            seconds=0.01,
        )
        for i in range(problems)
    ]


def _normal_quantile(share: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(np.clip(share, 0.01, 0.99)))


@dataclass(frozen=True)
class Sweep:
    """What a made-up store holds."""

    datasets: Sequence[str] = ("math",)
    test: int = 120
    tuning: int = 60
    training_seeds: int = 1
    noise_seeds: Sequence[int] = (0,)


def make_store(folder: Path, sweep: Sweep) -> Path:
    """Write a store as a sweep over all settings would."""
    store = Store(folder)
    made = [*policies(sweep.training_seeds), *heuristics()]
    for number, dataset in enumerate(sweep.datasets):
        for stage, problems in (("tuning", sweep.tuning), ("test", sweep.test)):
            rng = np.random.default_rng([number, problems])
            hard = rng.normal(size=problems)
            for one in made:
                for seed in sweep.noise_seeds:
                    run = replace(
                        one.run, dataset=dataset, stage=stage, num_problems=problems, seed=seed,
                        problems=f"{dataset[:2]}{problems:04d}",
                    )  # fmt: skip
                    mine = replace(one, run=run, accuracy=max(one.accuracy - 0.3 * number, 0.02))
                    store.append(run, outcomes(mine, problems, hard, seed))
    return folder


def make_setting(correct: np.ndarray, nfe: np.ndarray | float, **settings) -> Result:
    """Return a setting with given verdicts ``[P]`` or ``[P, S]`` and forwards."""
    correct = np.asarray(correct, dtype=float).reshape(len(correct), -1)
    nfe = np.broadcast_to(np.asarray(nfe, dtype=float).reshape(-1, 1), correct.shape)
    runs = [
        make_run(**settings, num_problems=len(correct), seed=s) for s in range(correct.shape[1])
    ]
    return Result(
        label=runs[0].label,
        runs=tuple(runs),
        correct=correct,
        nfe=nfe,
        nfe_by_kind={"fresh": nfe},
        tokens=np.full(correct.shape, 40.0),
        still_masked=np.zeros(correct.shape),
        seconds=np.zeros(correct.shape),
    )


def make_dataset(test: Sequence[Result], tuning: Sequence[Result] = ()) -> Dataset:
    """Return a dataset of settings with the same number of problems in each part."""
    parts = {"test": test, "tuning": tuning}
    uids = {
        stage: [f"{stage} {i}" for i in range(len(settings[0].correct) if settings else 0)]
        for stage, settings in parts.items()
    }
    return Dataset("math", list(test), list(tuning), uids["test"], uids["tuning"], [])
