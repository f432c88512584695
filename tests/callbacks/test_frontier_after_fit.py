"""The frontier at the end of training: the best checkpoint beside tuned heuristics."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lit_unmask.callbacks import Frontier, FrontierOptions
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import DECODING, Coins, make_data, make_module, make_trainer

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.evaluation.grid import HeuristicGrid
from lit_unmask.policies import ConfidenceThreshold, LowConfidence
from lit_unmask.types import Problem

GRIDS = {
    "low confidence": HeuristicGrid(LowConfidence, [1, 4], [4, 8]),
    "threshold": HeuristicGrid(ConfidenceThreshold, [0.5], [8]),
}
PNG = b"\x89PNG"


class Unanswerable(Coins):
    """Problems whose verifier breaks."""

    def draw(self, rng: random.Random) -> Problem:
        def fail(completion: str, answer: str) -> float:
            raise RuntimeError("no verdict")

        return replace(super().draw(rng), verifier=fail)


def test_fit_ends_with_a_comparison_of_the_best_checkpoint(
    tiny_llada: LLaDA, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, logger = tmp_path / "results", TensorBoardLogger(tmp_path)
    # By the number of forwards, so that the best checkpoint is surely not the last one.
    best = ModelCheckpoint(tmp_path, monitor="val/coins/nfe", mode="max", filename="best")
    options = FrontierOptions(
        fit=True, tested="closest", results=str(folder), next_step="lit-unmask --help"
    )
    comparison = Frontier(GRIDS, str(tmp_path / "store"), options=options)
    trainer = make_trainer(
        tmp_path, best, comparison, logger=logger, enable_checkpointing=True, max_steps=4,
        val_check_interval=1, limit_val_batches=1.0,
    )  # fmt: skip
    module, data = make_module(tiny_llada), make_data()
    trainer.fit(module, datamodule=data)

    stored = torch.load(tmp_path / "best.ckpt", weights_only=True)
    for name, value in module.state_dict().items():
        assert torch.equal(value, stored["state_dict"][name])
    rows = json.loads((folder / "results.json").read_text())
    fields = {"dataset", "name", "kind", "params", "block_length", "accuracy", "ci_low", "ci_high"}
    fields |= {"nfe", "tokens_per_forward", "num_problems", "seed", "seconds"}
    assert all(set(row) == fields for row in rows)
    assert rows[0]["kind"] == "learned"
    assert {row["kind"] for row in rows[1:]} == {"heuristic"}
    assert {row["name"] for row in rows} == {"policy", *GRIDS}
    for row in rows:
        assert row["num_problems"] == 5
        assert row["ci_low"] <= row["accuracy"] <= row["ci_high"]
    expected = evaluate(tiny_llada, module.policy, list(data.test["coins"]), DECODING)
    assert rows[0]["accuracy"] == pytest.approx(expected.accuracy)
    assert rows[0]["nfe"] == pytest.approx(expected.mean_nfe)
    assert rows[0]["params"] == {"alpha": 1.0}

    trials = json.loads((folder / "tuning.json").read_text())
    assert len(trials) == 5
    assert {row["num_problems"] for row in trials} == {4}
    settings = [(row["name"], row["params"], row["block_length"]) for row in trials]
    assert all((r["name"], r["params"], r["block_length"]) in settings for r in rows[1:])
    assert (folder / "frontier.png").read_bytes().startswith(PNG)
    assert {file.name for file in folder.iterdir()} == {
        "results.json", "tuning.json", "frontier.png",
    }  # fmt: skip
    events = EventAccumulator(logger.log_dir).Reload()
    assert len(events.Images("test/coins/frontier")) == 1
    output = capsys.readouterr().out
    assert "5 held-out problems" in output
    assert "lit-unmask --help" in output


def test_a_heuristic_can_be_tested_against_others(tiny_llada: LLaDA, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    options = FrontierOptions(policy_name="mine", results=str(folder), seeds=None)
    comparison = Frontier(GRIDS, str(tmp_path / "store"), options=options)
    sets = {"a": Coins("test", 3), "b": Coins("test", 5, seed=1)}
    tuning = {name: Coins("tuning", 2) for name in sets}
    trainer = make_trainer(tmp_path, comparison)
    module, data = make_module(tiny_llada, LowConfidence(2)), make_data(test=sets, tuning=tuning)
    module.eval_seed = 5
    trainer.test(module, datamodule=data, verbose=False)
    rows = json.loads((folder / "results.json").read_text())
    assert {row["seed"] for row in rows} == {5}
    mine = [row for row in rows if row["name"] == "mine"]
    assert [row["kind"] for row in mine] == ["heuristic", "heuristic"]
    assert [(row["dataset"], row["num_problems"]) for row in mine] == [("a", 3), ("b", 5)]
    assert {file.name for file in folder.glob("*.png")} == {"frontier-a.png", "frontier-b.png"}


def test_an_error_leaves_earlier_results_alone(tiny_llada: LLaDA, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "results.json").write_text("earlier")
    options = FrontierOptions(fit=True, results=str(folder))
    frontier = Frontier(GRIDS, str(tmp_path / "store"), options=options)
    trainer = make_trainer(tmp_path, frontier, max_steps=1)
    sets = {"coins": Coins("test", 2), "broken": Unanswerable("test", 2)}
    tuning = {name: Coins("tuning", 2) for name in sets}
    with pytest.raises(RuntimeError, match="no verdict"):
        trainer.fit(make_module(tiny_llada), datamodule=make_data(test=sets, tuning=tuning))
    assert {file.name: file.read_text() for file in folder.iterdir()} == {"results.json": "earlier"}


def test_a_fast_dev_run_compares_nothing(tiny_llada: LLaDA, tmp_path: Path) -> None:
    options = FrontierOptions(fit=True, results=str(tmp_path / "out"))
    frontier = Frontier(GRIDS, str(tmp_path / "store"), options=options)
    trainer = make_trainer(tmp_path, frontier, fast_dev_run=1)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    assert not (tmp_path / "out").exists() and not (tmp_path / "store").exists()


MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "block length": (
        {"grids": {"low": HeuristicGrid(LowConfidence, [1], [3])}},
        {},
        "block_length=3 must divide",
    ),
    "value": ({"grids": {"low": HeuristicGrid(LowConfidence, [0], [4])}}, {}, "k=0"),
    "no tuning set": ({}, {"tuning": {}}, r"data.tuning has no set named \['coins'\]"),
    "no policy": ({"policy_name": None}, {}, "tested='closest' needs a policy_name"),
    "unwritable": ({"folder": f"{__file__}/out"}, {}, "cannot be written"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found_before_training(
    tiny_llada: LLaDA, tmp_path: Path, mistake: str
) -> None:
    given, data, message = MISTAKES[mistake]
    settings = dict(given)
    grids = settings.pop("grids", None)
    results = settings.pop("folder", str(tmp_path / "results"))
    options = FrontierOptions(fit=True, results=results, tested="closest", **settings)
    trainer = make_trainer(
        tmp_path, Frontier(grids or GRIDS, str(tmp_path / "store"), options=options)
    )
    with pytest.raises(ConfigurationError, match=message):
        trainer.fit(make_module(tiny_llada), datamodule=make_data(**data))
    assert not (tmp_path / "results").exists() and not (tmp_path / "store").exists()
