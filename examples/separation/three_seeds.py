"""Trains with three seeds and measures on 256 other mixtures: ``results.json``, figure and sounds.

``python examples/separation/three_seeds.py``, some minutes of one core; ``--rounds 20`` for
a look, which writes elsewhere with ``--out FOLDER``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import wave
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from main import main as command_line
from mixtures import RATE, Mixtures, masked, mixtures, ratio_mask, si_sdr, spectrogram
from scipy.stats import t as student
from separation import Heard, MaskPolicy
from torch import Tensor

HERE = Path(__file__).parent
SEEDS = (1, 2, 3)
# Neither seed is one of the training or validation mixtures.
TEST, LONGER = mixtures(256, RATE, 1000), mixtures(15, 2 * RATE, 2000)


def trained(seed: int, rounds: int | None, logs: str) -> MaskPolicy:
    """Return the policy that the configuration trains with a seed."""
    args = ["fit", f"--config={HERE / 'separation.yaml'}", f"--seed_everything={seed}"]
    args += [f"--data.seed={seed}", f"--trainer.logger.init_args.save_dir={logs}"]
    args += [f"--trainer.default_root_dir={logs}", "--trainer.enable_progress_bar=false"]
    args += [] if rounds is None else [f"--trainer.max_steps={rounds}"]
    return command_line(args).model.policy


@torch.no_grad()
def heard_through(policy: MaskPolicy, sounds: Mixtures) -> Tensor:
    """Return what is heard through the most probable mask, ``[B, S]``."""
    return masked(sounds.heard, policy(Heard.of(sounds.heard)).mode())


def interval(values: list[float] | Tensor) -> dict[str, float]:
    """Return mean and 95 % interval of Student's t, of at least two values."""
    each = np.asarray(values, dtype=float)
    half = student.ppf(0.975, len(each) - 1) * each.std(ddof=1) / len(each) ** 0.5
    return {"mean": round(each.mean(), 2), "low": round(each.mean() - half, 2),
            "high": round(each.mean() + half, 2)}  # fmt: skip


def measured(policies: list[MaskPolicy]) -> dict[str, Any]:
    """Return SI-SDR on the test mixtures, in dB."""
    before = si_sdr(TEST.heard, TEST.target)
    after = [si_sdr(heard_through(policy, TEST), TEST.target) for policy in policies]
    oracle = si_sdr(masked(TEST.heard, ratio_mask(TEST)), TEST.target)
    return {
        "about": "SI-SDR in dB of 256 test mixtures of 1 s; intervals of 95 %",
        "command": "python examples/separation/three_seeds.py",
        "before_over_mixtures": interval(before),
        "after_over_seeds": interval([float(each.mean()) for each in after]),
        "gain_over_seeds": interval([float((each - before).mean()) for each in after]),
        "gain_over_mixtures_by_seed": [interval(each - before) for each in after],
        "share_of_mixtures_improved": [float((each > before).float().mean()) for each in after],
        "oracle_over_mixtures": interval(oracle),
    }


def shown(policy: MaskPolicy) -> dict[str, Tensor]:
    """Return sounds ``[S]`` by name, of the longer mixture that gains as much as the median one."""
    through = heard_through(policy, LONGER)
    before, after = (si_sdr(each, LONGER.target) for each in (LONGER.heard, through))
    at = int((after - before).argsort()[len(before) // 2])
    return {
        f"the mixture: {before[at]:.1f} dB": LONGER.heard[at],
        f"through the learned mask: {after[at]:.1f} dB": through[at],
        "the wanted source": LONGER.target[at],
    }


def draw(sounds: dict[str, Tensor], file: Path) -> None:
    """Draw the spectrograms of sounds ``[S]`` by name, in dB below the loudest bin."""
    figure, panes = plt.subplots(1, len(sounds), figsize=(9, 2.8), sharey=True)
    for pane, (name, sound) in zip(panes, sounds.items(), strict=True):
        level = 20 * spectrogram(sound[None])[0].abs().clamp(min=1e-6).log10()
        extent = (0, len(sound) / RATE, 0, RATE / 2000)
        pane.imshow(
            level, origin="lower", aspect="auto", extent=extent, vmin=level.max() - 60,
            vmax=level.max(), cmap="magma",
        )  # fmt: skip
        pane.set(title=name, xlabel="seconds")
    panes[0].set_ylabel("kHz")
    figure.tight_layout()
    figure.savefig(file, dpi=90)


def write(sound: Tensor, file: Path) -> None:
    """Write a sound ``[S]`` as 16-bit WAV, its loudest sample at 0.9."""
    samples = (0.9 * 32767 * sound / sound.abs().max()).short().numpy().astype("<i2")
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())


def main() -> None:
    """Train, measure, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, help="rounds of each fit; as configured if left out")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of all that is written")
    asked = parser.parse_args()
    since = time.process_time()
    with tempfile.TemporaryDirectory() as logs:
        policies = [trained(seed, asked.rounds, logs) for seed in SEEDS]
    results = measured(policies) | {"cpu_seconds": round(time.process_time() - since)}
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    sounds = shown(policies[0])
    draw(sounds, asked.out / "spectrograms.png")
    for name, sound in zip(("mixture", "separated", "target"), sounds.values(), strict=True):
        write(sound, asked.out / f"{name}.wav")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
