"""Section e: the small world on a GPU: what ``make demo`` takes, and ``make pretrain`` would."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from training_round import now

from gpu.check import Check, Job
from gpu.world import ROOT
from lit_unmask.cli import main
from lit_unmask.preflight.extends import read_config
from lit_unmask.pretrain.cli import main as pretrain

WARM_UP, STEPS = 50, 250
DEMO_SECONDS = 262.0
"""What the README says of two CPU cores."""


class Pace(Callback):
    """Times training steps after the first ones.

    Args:
        warm_up: Steps that are not counted.
        file: Where seconds a step go.
    """

    def __init__(self, warm_up: int, file: str) -> None:
        self.warm_up, self.file = warm_up, file

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note when counting begins, and the steps since."""
        if batch_idx + 1 == self.warm_up:
            self.began = now()
        self.count = batch_idx + 1 - self.warm_up

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the mean."""
        with open(self.file, "w") as out:
            json.dump((now() - self.began) / self.count, out)


class Milestones(Callback):
    """Notes how long the rounds so far have taken, for a run that may be cut.

    Args:
        file: Of the section's figures.
        every: Rounds between two notes.
    """

    def __init__(self, file: str, every: int = 30) -> None:
        self.check, self.every = Check(Job("", "", ""), Path(file), 0), every

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        self.began = now()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note a milestone."""
        rounds = batch_idx + 1
        if rounds % self.every == 0:
            self.check.figure(f"demo: s until round {rounds} ended", now() - self.began)


def run(check: Check) -> None:
    """Run both."""
    home = check.job.folder / "small"
    home.mkdir()
    os.chdir(home)  # configurations write below the folder they are run in
    for name in ("tiny_llada", "tiny_dream"):
        part = check.part(f"pretraining of {name}", needs=15)
        with part:
            if part.fits:
                pretraining(check, name)
    with check.part("the demo"):
        demo(check)


def _trainer(check: Check, config: dict[str, Any]) -> None:
    cuda = check.job.device == "cuda"
    config["trainer"] |= {"accelerator": "gpu" if cuda else "cpu", "devices": 1}


def pretraining(check: Check, name: str) -> None:
    """Estimate the minutes of a pretraining from some of its steps."""
    config = read_config(ROOT / "configs" / "pretrain" / f"{name}.yaml")
    warm_up, steps = (2, 6) if check.job.tiny else (WARM_UP, STEPS)
    # Two optimizers step in each training step, and Lightning counts both.
    whole = config["trainer"]["max_steps"] / 2
    pace = {"class_path": "gpu.small_world.Pace",
            "init_args": {"warm_up": warm_up, "file": "pace.json"}}  # fmt: skip
    config["trainer"] |= {
        "callbacks": [pace],
        "max_steps": 2 * steps,
        "limit_val_batches": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
    }
    _trainer(check, config)
    with open("pretrain.yaml", "w") as out:
        yaml.safe_dump(config, out)
    pretrain(["fit", "--config", "pretrain.yaml"])
    with open("pace.json") as file:
        seconds = json.load(file)
    check.figure(f"{name}: ms a training step", 1000 * seconds)
    check.figure(f"{name}: minutes of all steps, from {steps - warm_up}", whole * seconds / 60)


def demo(check: Check) -> None:
    """Run the demo's configuration and note where it ends."""
    config = read_config(ROOT / "configs" / "demo.yaml")
    _trainer(check, config)
    if check.job.tiny:
        _shorten(config)
    milestones = {
        "class_path": "gpu.small_world.Milestones",
        "init_args": {"file": str(check.file)},
    }
    config["trainer"]["callbacks"].append(milestones)
    with open("demo.yaml", "w") as out:
        yaml.safe_dump(config, out)
    start = time.monotonic()
    main(["fit", "--config", "demo.yaml"])
    goal = () if check.job.tiny else (DEMO_SECONDS,)
    check.figure("demo: s in all", time.monotonic() - start, *goal)
    with open("runs/demo/results.json") as file:
        rows = json.load(file)
    for row in rows:
        check.figure(f"demo: {row['name']}, accuracy", row["accuracy"])
        check.figure(f"demo: {row['name']}, NFE", row["nfe"])


def _shorten(config: dict[str, Any]) -> None:
    """Leave two rounds and a few problems."""
    config["trainer"] |= {"max_steps": 2, "val_check_interval": 1}
    for callback in config["trainer"]["callbacks"]:
        settings = callback.get("init_args", {})
        if "teaching" in settings:
            settings["teaching"] = {"problems": 4, "epochs": 1}
        if "baselines" in settings:
            settings["baselines"] = dict(list(settings["baselines"].items())[:1])
        if "grids" in settings:
            grid = settings["grids"]["low confidence"] | {"values": [8], "block_lengths": [64]}
            settings["grids"] = {"low confidence": grid}
    for split in ("val", "tuning", "test"):
        config["data"]["init_args"][split]["math"]["init_args"]["size"] = 4
    config["data"]["init_args"]["batch_size"] = 2
