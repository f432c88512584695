"""What the bundled denoisers show: accuracy at one token a step, and heuristics at L/8 forwards.

    python benchmarks/denoisers.py --denoiser tiny-llada

Every heuristic is tuned over parameter and block length on tuning problems and then run on 500
test problems. Writes benchmarks/results/<denoiser>.json and .md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.progress import track

from lit_unmask.denoisers import Denoiser, Dream, LLaDA
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.evaluation.grid import HeuristicGrid, Setting, settings
from lit_unmask.evaluation.points import Point, wilson_interval
from lit_unmask.policies import (
    ConfidenceThreshold,
    EntropyBound,
    LeftToRight,
    LowConfidence,
    Margin,
    Random,
)
from lit_unmask.rollout import Decoding, Scheduling
from lit_unmask.tasks import ShoppingSums
from lit_unmask.types import Problem

BLOCKS = [8, 16, 32, 64]
# At 64 tokens no smaller count, and no smaller block, ends within 8 forwards.
COUNTS = [8, 16]
FAST_GRIDS = {
    "threshold": HeuristicGrid(ConfidenceThreshold, [0.05, 0.1, 0.2, 0.3], BLOCKS),
    "low confidence": HeuristicGrid(LowConfidence, COUNTS, BLOCKS),
    "margin": HeuristicGrid(Margin, COUNTS, BLOCKS),
    "entropy bound": HeuristicGrid(EntropyBound, [3.0, 5.0, 8.0, 12.0, 20.0], BLOCKS),
    "left to right": HeuristicGrid(LeftToRight, COUNTS, BLOCKS),
    "random": HeuristicGrid(Random, COUNTS, BLOCKS),
}
SLOW_GRIDS = {
    "low confidence": HeuristicGrid(LowConfidence, [1], [1, 2, 8, 64]),
    "random": HeuristicGrid(Random, [1], [64]),
    "threshold": HeuristicGrid(ConfidenceThreshold, [0.7, 0.9], [2, 8, 64]),
}


class Runner:
    """Runs settings on problem sets of one denoiser."""

    def __init__(self, denoiser: Denoiser, seed: int) -> None:
        self.denoiser, self.seed = denoiser, seed

    def run(self, setting: Setting, problems: Sequence[Problem]) -> Point:
        result = evaluate(self.denoiser, setting.policy, problems, setting.decoding, self.seed)
        low, high = wilson_interval(result.accuracy, len(problems))
        return Point(
            *(setting.name, setting.kind, setting.params, setting.decoding.block_length),
            *(result.accuracy, low, high, result.mean_nfe, result.tokens_per_forward),
            *(len(problems), self.seed, result.seconds),
        )

    def tune(
        self, grids: dict[str, HeuristicGrid], problems: Sequence[Problem], most_nfe: float
    ) -> list[Setting]:
        """Return, for each heuristic, the most accurate setting of at most ``most_nfe``."""
        tried = list(settings(grids, Decoding(64, 64, scheduling=Scheduling(max_rows=128))))
        points = [
            (setting, self.run(setting, problems))
            for setting in track(tried, description="tuning", transient=True)
        ]
        chosen = []
        for name in grids:
            mine = [(c, p) for c, p in points if p.name == name and p.nfe <= most_nfe]
            if mine:
                chosen.append(max(mine, key=lambda pair: pair[1].accuracy)[0])
        return chosen


def row(label: str, point: Point) -> str:
    setting = ", ".join(f"{key}={value}" for key, value in point.params.items())
    return (
        f"| {label} | {point.name} ({setting}) | {point.block_length} | {point.accuracy:.3f} "
        f"({point.ci_low:.3f} to {point.ci_high:.3f}) | {point.nfe:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--denoiser", default="tiny-llada")
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--tuning", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    kind = Dream if "dream" in options.denoiser else LLaDA
    runner = Runner(kind(options.denoiser), options.seed)
    tuning = list(ShoppingSums("tuning", options.tuning, seed=1))
    test = list(ShoppingSums("test", options.problems, seed=1))

    one = runner.tune({"low confidence": SLOW_GRIDS["low confidence"]}, tuning, 64)[0]
    full = {name: HeuristicGrid(g.policy, g.values, [64]) for name, g in SLOW_GRIDS.items()}
    rows = [("one token a step, best block length", runner.run(one, test))]
    for name in ("low confidence", "random"):
        chosen = next(
            settings({name: full[name]}, Decoding(64, 64, scheduling=Scheduling(max_rows=128)))
        )
        rows.append(("one token a step, full diffusion", runner.run(chosen, test)))
    threshold = {"threshold": SLOW_GRIDS["threshold"]}
    rows.append(
        ("most accurate threshold", runner.run(runner.tune(threshold, tuning, 64)[0], test))
    )
    threshold = {"threshold": full["threshold"]}
    rows.append(
        (
            "most accurate threshold, full diffusion",
            runner.run(runner.tune(threshold, tuning, 64)[0], test),
        )
    )
    for chosen in runner.tune(FAST_GRIDS, tuning, 8.0):
        rows.append(("at most L/8 forwards", runner.run(chosen, test)))

    options.out.mkdir(parents=True, exist_ok=True)
    records = [{"label": label, **asdict(point)} for label, point in rows]
    (options.out / f"{options.denoiser}.json").write_text(json.dumps(records, indent=1) + "\n")
    lines = ["| what | heuristic | block length | accuracy (95 % interval) | NFE |"]
    lines += ["| --- | --- | --- | --- | --- |", *(row(*pair) for pair in rows)]
    text = "\n".join(lines) + "\n"
    (options.out / f"{options.denoiser}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
