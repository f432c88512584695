from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import config

from lit_unmask.cli import main

TESTS = Path(__file__).parents[1]
THRESHOLD = "lit_unmask.policies.ConfidenceThreshold"
LONGEST_RUN = 240  # seconds


def write_config(file: Path, checkpoint: Path, folder: Path) -> Path:
    """Write a run of 3 rounds by plain SGD, whose steps are the gradients, with all callbacks.

    It has an expert, too.
    """
    settings = config(checkpoint, folder)
    settings["trainer"] |= {"max_steps": 3, "val_check_interval": 3, "enable_progress_bar": True}
    settings["trainer"]["callbacks"] = [
        {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
            "init_args": {"every_n_train_steps": 1, "save_top_k": -1, "filename": "{step}"},
        },
        {"class_path": "lit_unmask.callbacks.RolloutProgressBar"},
        {"class_path": "lit_unmask.callbacks.Completions"},
        {"class_path": "lit_unmask.callbacks.ScalarLayout"},
        {"class_path": "lit_unmask.callbacks.Inspection", "init_args": {"count": 3}},
        {
            "class_path": "lit_unmask.callbacks.UnmaskingStats",
            "init_args": {"every_n_rounds": 1},
        },
        {
            "class_path": "lit_unmask.callbacks.AccuracyNFE",
            "init_args": {"baselines": {"threshold": {"policy": {"class_path": THRESHOLD}}}},
        },
        {
            "class_path": "lit_unmask.callbacks.Frontier",
            "init_args": {
                "folder": str(folder / "store"),
                "options": {"fit": True, "results": str(folder / "comparison")},
                "grids": {
                    "threshold": {"policy": THRESHOLD, "values": [0.5], "block_lengths": [4]}
                },
            },
        },
    ]
    settings["model"]["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1.0}}
    settings["trainer"]["check_val_every_n_epoch"] = None
    settings["model"]["decoding"]["block_length"] = 8
    settings["model"]["experts"] = {
        "threshold": {
            "policy": {"class_path": THRESHOLD, "init_args": {"threshold": 0.5}},
            "block_length": 4,
        }
    }
    settings["model"]["rounds"] |= {"group_size": 2}
    settings["model"]["rounds"]["seed"] = 1
    settings["data"]["init_args"]["batch_size"] = 4
    file.write_text(yaml.safe_dump(settings))
    return file


def on_two_ranks(file: Path) -> tuple[int, str]:
    """Return the exit code and the output of a run of two processes."""
    flags = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu"]
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "lit_unmask", "fit", "--config", str(file), *flags],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=LONGEST_RUN)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the second rank too
        raise
    return process.returncode, output


@pytest.fixture(scope="module")
def runs(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same configuration run by one rank and by two ranks with half the prompts each."""
    home = tmp_path_factory.mktemp("ddp")
    folders = {"one": home / "one", "two": home / "two"}
    one, two = (
        write_config(home / f"{name}.yaml", tiny_checkpoint, folder)
        for name, folder in folders.items()
    )
    main(["fit", "--config", str(one)])
    code, output = on_two_ranks(two)
    assert code == 0, output[-3000:]
    return folders


def policy(folder: Path, step: int) -> dict[str, torch.Tensor]:
    file = folder / "run" / "version_0" / "checkpoints" / f"step={step}.ckpt"
    return torch.load(file, weights_only=True)["state_dict"]


def scalars(folder: Path) -> dict[str, list[float]]:
    events = EventAccumulator(str(folder / "run" / "version_0")).Reload()
    return {tag: [p.value for p in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_two_ranks_with_half_the_prompts_take_the_same_steps(runs: dict[str, Path]) -> None:
    first, last = policy(runs["one"], 1), policy(runs["one"], 3)
    assert max((last[name] - first[name]).abs().max() for name in last) > 1e-3
    for step in (1, 2, 3):
        one, two = policy(runs["one"], step), policy(runs["two"], step)
        assert one.keys() == two.keys()
        assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6


def test_two_ranks_log_the_numbers_of_all_problems(runs: dict[str, Path]) -> None:
    one, two = scalars(runs["one"]), scalars(runs["two"])
    assert two.keys() - one.keys() == {"train/rank_balance"} and not one.keys() - two.keys()
    assert all(0.5 <= balance <= 1 for balance in two["train/rank_balance"])
    # Five problems are an odd number for two ranks.
    for tag in one:
        if tag.startswith("val/") or tag in ("train/reward", "train/nfe", "train/loss"):
            assert two[tag] == pytest.approx(one[tag], abs=1e-6), tag
    advantage = "train/expert/threshold/advantage"
    assert two[advantage] == pytest.approx(one[advantage], abs=1e-6)
    assert "val/coins/accuracy" in one
    assert "val/coins/threshold/accuracy" in one
    assert two["train/ratio_first"] == pytest.approx([1] * 3, abs=1e-5)


def test_two_ranks_compare_once(runs: dict[str, Path]) -> None:
    one, two = (
        json.loads((folder / "comparison" / "results.json").read_text()) for folder in runs.values()
    )
    for row in [*one, *two]:
        del row["seconds"]
    assert one == two


def test_what_breaks_on_one_rank_stops_both_at_the_same_place(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    settings = config(tiny_checkpoint, tmp_path)
    settings["model"]["denoiser"]["class_path"] = "toys.Breaks"
    settings["model"]["rounds"]["group_size"] = 2
    settings["trainer"] |= {"val_check_interval": None, "callbacks": None}
    (tmp_path / "broken.yaml").write_text(yaml.safe_dump(settings))
    code, output = on_two_ranks(tmp_path / "broken.yaml")
    assert code == 1, output[-3000:]
    assert "error: the denoiser's probabilities of problem" in output
    assert "error: numbers of this round on another rank" in output
    folder = tmp_path / "run" / "version_0" / "broken"
    assert {file.name for file in folder.iterdir()} == {"round-0.ckpt", "round-0-rank-1.json"}
