"""What the approximate modes change: drift from the exact engine, on the bundled denoisers.

    python benchmarks/approximate.py --problems 100

Decodes problems of sums at 64 tokens with each mode and without, for two block lengths and two
heuristics; with torchao installed (the extra eight-bit) also with weights of eight bits, where each
forward is compared with that of the whole denoiser. Writes approximate.json and approximate.md to
the folder --out.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.progress import track
from transformers import TorchAoConfig

from lit_unmask.denoisers import Dream, LLaDA, Placement, StockDenoiser
from lit_unmask.evaluation.decode import Evaluation
from lit_unmask.evaluation.drift import Drift, denoiser_drift, drift
from lit_unmask.policies import ConfidenceThreshold, LowConfidence
from lit_unmask.rollout import Approximate, Decoding, Scheduling
from lit_unmask.tasks import ShoppingSums

GEN_LENGTH = 64
DENOISERS: dict[str, type[StockDenoiser]] = {"tiny-llada": LLaDA, "tiny-dream": Dream}
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
# Classes of torchao.quantization.
EIGHT_BITS = {"int8 weights": "Int8WeightOnlyConfig", "fp8 weights": "Float8WeightOnlyConfig"}
HEADER = (
    "| denoiser | policy | block | mode | same proposal: block, all masked | difference of "
    "confidence: block, all masked | accuracy (exact) | NFE (exact) | full + partial forwards "
    "(exact) | tokens saved | same text |"
)


@cache
def eight_bits(name: str, mode: str) -> StockDenoiser:
    """Return a bundled denoiser with its layers' weights in eight bits."""
    quantization = import_module("torchao.quantization")
    config: Any = TorchAoConfig(getattr(quantization, EIGHT_BITS[mode])())
    return DENOISERS[name](name, placement=Placement(quantization=config))


def record(setting: dict[str, Any], found: Drift) -> dict[str, Any]:
    names = ("accuracy_difference", "nfe_difference", "forwards_saved", "tokens_saved")
    said = {
        **vars(found),
        **{name: asdict(getattr(found, name)) for name in ("masked", "eligible")},
        **{name: side(getattr(found, name)) for name in ("approximate", "exact")},
    }
    return setting | said | {name: getattr(found, name) for name in names}


def side(result: Evaluation) -> dict[str, Any]:
    """Return what one of the two engines did."""
    ledger = result.ledger
    counts = {name: getattr(ledger, name) for name in ("full", "partial", "tokens")}
    return {"accuracy": result.accuracy, "mean_nfe": result.mean_nfe, **counts}


def row(setting: dict[str, Any], found: Drift) -> str:
    block, masked, mine, exact = found.eligible, found.masked, found.approximate, found.exact
    proposals = confidences = "no partial forwards"
    if block.positions:
        proposals = f"{block.same_proposal:.3f}, {masked.same_proposal:.3f}"
        confidences = f"{block.confidence_difference:.4f}, {masked.confidence_difference:.4f}"
    elif found.readings:
        proposals = f"all: {masked.same_proposal:.3f}"
        confidences = f"all: {masked.confidence_difference:.4f}"
    cells = [
        *(setting["denoiser"], setting["policy"], str(setting["block_length"]), setting["mode"]),
        *(proposals, confidences),
        f"{mine.accuracy:.3f} ({exact.accuracy:.3f})",
        f"{mine.mean_nfe:.1f} ({exact.mean_nfe:.1f})",
        f"{mine.ledger.full} + {mine.ledger.partial} ({exact.ledger.full})",
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
    modes = [*MODES, *(EIGHT_BITS if find_spec("torchao") else [])]
    settings = list(itertools.product(DENOISERS, POLICIES, BLOCKS, modes))
    records, lines = [], [HEADER, "| --- " * HEADER.count(" | ") + "| --- |"]
    for denoiser, policy, block_length, mode in track(settings, description="drift"):
        decoding = Decoding(GEN_LENGTH, block_length, scheduling=Scheduling(max_rows=128))
        whole, chosen = denoisers[denoiser], POLICIES[policy]
        if mode in MODES:
            decoding = replace(decoding, approximate=MODES[mode])
            found = drift(whole, chosen, problems, decoding, options.seed)
        else:
            found = denoiser_drift(eight_bits(denoiser, mode), whole, chosen, problems, decoding)
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
