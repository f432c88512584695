"""How often the company of a row flips one of its decisions in float32.

    python benchmarks/flips.py --problems 200

What the denoiser says about a row follows from the row alone, but its last bits may depend on the
shape of the batch, and where two numbers are almost equal, a decision may fall otherwise. Decodes
problems of sums with tiny-llada one row at a time, and again in batches of several sizes, with and
without what the engine saves. A row has flipped if its response or its number of forwards is
another. With ``decoding.scheduling.deterministic`` none may: batches of one size are then compared
with those of another. Writes flips.json and flips.md to the folder ``--out``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from lit_unmask import load_policy
from lit_unmask.denoisers import Denoiser, LLaDA
from lit_unmask.evaluation import rollout_numbers
from lit_unmask.evaluation.points import wilson_interval
from lit_unmask.policies import ConfidenceThreshold, LowConfidence, Policy
from lit_unmask.rollout import Decoding, Noise, Rollout, Scheduling, rollout
from lit_unmask.tasks import ShoppingSums
from lit_unmask.types import Problem

LENGTH = 64
POLICIES: dict[str, Policy] = {
    "threshold (0.9)": ConfidenceThreshold(0.9),
    "low confidence (k=4)": LowConfidence(4),
    "learned (policy/seed-1)": load_policy(Path(__file__).parent / "policies/policy/seed-1"),
}
TEMPERATURES = [0.0, 0.5]
ALONE = Scheduling(max_rows=1, share=False)
NOTHING_SAVED = Scheduling(skip=False, share=False, lookahead=1, call_tokens=None)
FIXED = Scheduling(deterministic=True)
# By name: how rows are decoded, and how the rows that they are compared with.
BATCHES = {
    "64 rows": (Scheduling(max_rows=64), ALONE),
    "16 rows, nothing saved": (replace(NOTHING_SAVED, max_rows=16), ALONE),
    "5 rows": (Scheduling(max_rows=5), ALONE),
    "64 rows, deterministic, with 5": (replace(FIXED, max_rows=64), replace(FIXED, max_rows=5)),
}
HEADER = "| policy | temperature | batch | rows | flipped | share | 95 % interval |"


@dataclass(frozen=True)
class Flips:
    """Rows of one setting that were decoded otherwise.

    Attributes:
        policy: Who chose the positions.
        temperature: Token temperature.
        batch: How rows were batched.
        rows: Rows that were compared.
        flipped: Those whose response or number of forwards differs.
    """

    policy: str
    temperature: float
    batch: str
    rows: int
    flipped: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson interval of the share."""
        return wilson_interval(self.flipped / self.rows, self.rows)

    def record(self) -> dict[str, Any]:
        low, high = self.interval
        return {**asdict(self), "share": self.flipped / self.rows, "low": low, "high": high}

    def row(self) -> str:
        low, high = self.interval
        cells = [self.policy, f"{self.temperature:g}", self.batch, str(self.rows)]
        cells += [str(self.flipped), f"{self.flipped / self.rows:.2%}", f"{low:.2%} to {high:.2%}"]
        return f"| {' | '.join(cells)} |"


def count_flips(found: Rollout, expected: Rollout) -> int:
    """Return the number of rows whose response or number of forwards differs."""
    other = (found.response != expected.response).any(1) | (found.nfe != expected.nfe)
    return int(other.sum())


def measure(
    denoiser: Denoiser, problems: Sequence[Problem], policy: str, temperature: float
) -> list[Flips]:
    """Return the flips of one policy in all batches."""
    decoded: dict[Scheduling, Rollout] = {}
    prompt, noise = denoiser.encode(problems), Noise(0, rollout_numbers(problems))

    def decode(scheduling: Scheduling) -> Rollout:
        if scheduling not in decoded:
            decoding = Decoding(LENGTH, LENGTH, temperature, scheduling=scheduling)
            decoded[scheduling] = rollout(denoiser, POLICIES[policy], prompt, decoding, noise)
        return decoded[scheduling]

    return [
        Flips(policy, temperature, name, len(problems), count_flips(decode(one), decode(other)))
        for name, (one, other) in BATCHES.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    start, denoiser = time.perf_counter(), LLaDA("tiny-llada")
    problems = list(ShoppingSums("test", options.problems, seed=1))
    settings = [(policy, temperature) for policy in POLICIES for temperature in TEMPERATURES]
    flips = [
        one
        for policy, temperature in track(settings, description="flips")
        for one in measure(denoiser, problems, policy, temperature)
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    records = json.dumps([one.record() for one in flips], indent=1)
    (options.out / "flips.json").write_text(f"{records}\n")
    lines = [HEADER, "| --- | ---: | --- | ---: | ---: | ---: | ---: |"]
    lines += [one.row() for one in flips]
    note = f"float32, {options.threads} thread(s), {time.perf_counter() - start:.0f} s"
    text = "\n".join(lines) + f"\n\n{note}.\n"
    (options.out / "flips.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
