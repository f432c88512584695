"""What the approximate modes change: drift from the exact engine, on the bundled denoisers.

    python benchmarks/approximate.py --problems 100

Decodes problems of sums at 64 tokens with each mode and without, for two block lengths and two
heuristics. Writes benchmarks/results/approximate.json and .md.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.progress import track

from lit_unmask.denoisers import Denoiser, Dream, LLaDA
from lit_unmask.drift import Drift, drift
from lit_unmask.policies import ConfidenceThreshold, LowConfidence
from lit_unmask.rollout import Approximate, Decoding, Scheduling
from lit_unmask.tasks import ShoppingSums

GEN_LENGTH = 64
DENOISERS: dict[str, type[Denoiser]] = {"tiny-llada": LLaDA, "tiny-dream": Dream}
BLOCKS = [8, 16]
POLICIES = {
    "low confidence (k=1)": LowConfidence(1),
    "threshold (0.9)": ConfidenceThreshold(0.9),
}
MODES = {
    "prefix": Approximate(cache="prefix"),
    "dual": Approximate(cache="dual"),
    "early stop": Approximate(early_stop=True),
}
HEADER = (
    "| denoiser | policy | block | mode | same proposal: block, all masked | difference of "
    "confidence: block, all masked | accuracy (exact) | NFE (exact) | full + partial forwards "
    "(exact) | tokens saved | same text |"
)


def record(setting: dict[str, Any], found: Drift) -> dict[str, Any]:
    names = ("accuracy_difference", "nfe_difference", "forwards_saved", "tokens_saved")
    return setting | asdict(found) | {name: getattr(found, name) for name in names}


def row(setting: dict[str, Any], found: Drift) -> str:
    block, masked, mine, exact = found.eligible, found.masked, found.approximate, found.exact
    proposals = confidences = "no partial forwards"
    if found.readings:
        proposals = f"{block.same_proposal:.3f}, {masked.same_proposal:.3f}"
        confidences = f"{block.confidence_difference:.4f}, {masked.confidence_difference:.4f}"
    cells = [
        *(setting["denoiser"], setting["policy"], str(setting["block_length"]), setting["mode"]),
        *(proposals, confidences),
        f"{mine.accuracy:.3f} ({exact.accuracy:.3f})",
        f"{mine.mean_nfe:.1f} ({exact.mean_nfe:.1f})",
        f"{mine.full} + {mine.partial} ({exact.full})",
        f"{found.tokens_saved:.0%}",
        f"{found.same_completions:.0%}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    problems = list(ShoppingSums("test", options.problems, seed=1))
    denoisers = {name: kind(name) for name, kind in DENOISERS.items()}
    settings = list(itertools.product(DENOISERS, POLICIES, BLOCKS, MODES))
    records, lines = [], [HEADER, "| --- " * HEADER.count(" | ") + "| --- |"]
    for denoiser, policy, block_length, mode in track(settings, description="drift"):
        decoding = Decoding(
            GEN_LENGTH,
            block_length,
            scheduling=Scheduling(max_rows=128),
            approximate=MODES[mode],
        )
        found = drift(denoisers[denoiser], POLICIES[policy], problems, decoding, options.seed)
        setting: dict[str, Any] = {
            "denoiser": denoiser,
            "policy": policy,
            "block_length": block_length,
            "mode": mode,
            "problems": len(problems),
            "seed": options.seed,
        }
        records.append(record(setting, found))
        lines.append(row(setting, found))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "approximate.json").write_text(json.dumps(records, indent=1) + "\n")
    text = "\n".join(lines) + f"\n\n{len(problems)} problems, seed {options.seed}.\n"
    (options.out / "approximate.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
