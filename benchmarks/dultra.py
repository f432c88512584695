"""Does a planner reproduce the rule that it imitates, and does training its denoiser pay?

    python benchmarks/dultra.py                 # all; --arms warm for the imitation alone

Trains by ``configs/dultra.yaml`` with one seed: the warm start alone, rewards with the denoiser
frozen, and rewards with it trained. Writes ``benchmarks/results/dultra.json``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_unmask import load_policy
from lit_unmask.cli import main as command_line
from lit_unmask.denoisers import Dream
from lit_unmask.evaluation.decode import encode_groups, rollout_numbers
from lit_unmask.policies import Factor
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Decoding, Noise, rollout
from lit_unmask.tasks import ShoppingSums

ROOT = Path(__file__).parents[1]
FROZEN = ["--model.train_denoiser=null"]
ARMS = {
    "warm": [*FROZEN, "--trainer.max_steps=1", "--model.optimizer.init_args.lr=0"],
    "frozen": FROZEN,
    "joint": [],
}


def train(arm: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Train one arm; returns what validation said at its end."""
    folder = asked.runs / arm
    args = ["fit", f"--config={ROOT / 'configs/dultra.yaml'}"]
    args += [
        f"--trainer.logger.init_args.save_dir={folder}",
    ]
    args += [f"--data.init_args.batch_size={asked.batch_size}"]
    args += [f"--trainer.max_steps={asked.rounds}", f"--trainer.val_check_interval={asked.rounds}"]
    args += [*ARMS[arm], *(["--trainer.val_check_interval=1"] if arm == "warm" else [])]
    command_line(args)
    log = max(folder.rglob("events*"), key=lambda file: file.stat().st_mtime).parent
    scalars = EventAccumulator(str(log))
    scalars.Reload()
    names = ["val/math/accuracy", "val/math/nfe"]
    names += ["train/entropy", "train/nfe", "train/accuracy"] if arm != "warm" else []
    found = {name: [round(one.value, 4) for one in scalars.Scalars(name)] for name in names}
    return {name: v[-1] if name.startswith("val") else v for name, v in found.items()}


@torch.no_grad()
def agreement(policy: Policy, problems: int = 64) -> dict[str, float]:
    """Return how often a policy's most probable action is that of the factor rule."""
    denoiser, rule = Dream("tiny-dream"), Factor(1.0)
    asked = list(ShoppingSums("test", size=problems))
    prompt, noise = encode_groups(denoiser, asked, 1), Noise(0, rollout_numbers(asked))
    decoding = Decoding(64, 64, 0.1)
    steps = rollout(
        denoiser, rule, prompt, decoding, noise, record=True, signals=policy.signals
    ).steps
    assert steps is not None
    distribution = policy(steps.observation)
    chosen = distribution.forced(distribution.positions(distribution.mode()))
    both = (chosen & steps.chosen).sum()
    return {
        "steps": len(steps),
        "same_set": float((chosen == steps.chosen).all(1).float().mean()),
        "rule_opens_a_step": float(steps.chosen.sum(1).float().mean()),
        "planner_opens_a_step": float(chosen.sum(1).float().mean()),
        "precision": float(both / chosen.sum()),
        "recall": float(both / steps.chosen.sum()),
    }


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=8, help="prompts a round")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "dultra")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "dultra.json")
    asked = parser.parse_args()
    results = json.loads(asked.out.read_text()) if asked.out.is_file() else {}
    for arm in asked.arms:
        results[arm] = train(arm, asked)
        if arm == "warm":
            file = max((asked.runs / arm).rglob("*.ckpt"), key=lambda one: one.stat().st_mtime)
            results["agreement"] = agreement(load_policy(file))
        asked.out.write_text(json.dumps(results, indent=1) + "\n")
        print(json.dumps({arm: results[arm], "agreement": results.get("agreement")}))


if __name__ == "__main__":
    main()
