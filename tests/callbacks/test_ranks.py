from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import yaml
from toys import config

from lit_unmask.cli import main
from lit_unmask.evaluation.store import Outcome, Store

TESTS = Path(__file__).parents[1]
LONGEST_RUN = 240  # seconds


def contents(folder: Path) -> dict[str, dict[str, Outcome]]:
    """Return the outcomes of every run by key, without their durations."""
    store = Store(folder)
    return {
        run.key: {uid: replace(row, seconds=0) for uid, row in store.outcomes(run).items()}
        for run in store.runs()
    }


def write_config(folder: Path, checkpoint: Path) -> Path:
    """Write a sweep and a transfer test, on an odd number of problems."""
    settings = config(checkpoint, folder)
    grids = {
        "low": {
            "policy": "lit_unmask.policies.LowConfidence",
            "values": [2, 4],
            "block_lengths": [4, 8],
        }
    }
    coins = {
        split: {"class_path": "toys.Coins", "init_args": {"split": split, "size": 5}}
        for split in ("tuning", "test")
    }
    del settings["trainer"]["logger"]
    settings["trainer"] |= {
        "logger": False,
        "callbacks": [
            {
                "class_path": "lit_unmask.callbacks.Frontier",
                "init_args": {
                    "folder": str(folder / "store"),
                    "grids": grids,
                    "options": {"chunk": 2},
                },
            },
            {
                "class_path": "lit_unmask.callbacks.TransferTest",
                "init_args": {
                    "folder": str(folder / "transfer"),
                    "grids": grids,
                    "cells": {"far": {**coins, "gen_length": 16}},
                },
            },
        ],
    }
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(settings))
    return file


def test_two_ranks_give_the_store_of_one(tiny_checkpoint: Path, tmp_path: Path) -> None:
    one, two = (write_config(tmp_path / name, tiny_checkpoint) for name in ("one", "two"))
    main(["test", "--config", str(one)])
    flags = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu"]
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "lit_unmask", "test", "--config", str(two), *flags],
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
    assert process.returncode == 0, output[-3000:]
    for folder in ("store", "transfer/store"):
        alone, shared = (contents(tmp_path / name / folder) for name in ("one", "two"))
        assert alone == shared
        assert [list(rows) for rows in alone.values()] == [list(rows) for rows in shared.values()]
        assert {len(rows) for rows in alone.values()} <= {4, 5} and len(alone) > 3
    tables = [
        json.loads((tmp_path / name / "transfer" / "transfer.json").read_text())
        for name in ("one", "two")
    ]
    for [row] in tables:
        for side in ("policy", "heuristic", "best"):
            del row[side]["seconds"]
    assert tables[0] == tables[1]
