from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lit_unmask.callbacks import Frontier, FrontierOptions
from toys import DECODING, Coins, make_data, make_module, make_trainer, small_policy

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.evaluation.grid import HeuristicGrid
from lit_unmask.evaluation.store import FILE, Outcome, Run, Store
from lit_unmask.policies import LowConfidence, Random, Thresholded
from lit_unmask.preflight.extends import read_config
from lit_unmask.report.reading import check_comparable
from lit_unmask.sharing import save_policy
from lit_unmask.types import Observation

ROOT = Path(__file__).parents[2]
GRIDS = {
    "low confidence": HeuristicGrid(LowConfidence, [1, 4], [4, 8]),
    "random": HeuristicGrid(Random, [2], [8]),
}


class Counting(LowConfidence):
    """Low confidence that counts the steps of all its instances."""

    steps = 0

    def forward(self, observation: Observation) -> Any:
        Counting.steps += 1
        return super().forward(observation)


def contents(folder: Path) -> dict[str, dict[str, Outcome]]:
    """Return the outcomes of every run by key, without their durations."""
    store = Store(folder)
    return {
        run.key: {uid: replace(row, seconds=0) for uid, row in store.outcomes(run).items()}
        for run in store.runs()
    }


def names(runs: list[Run], stage: str) -> list[tuple[str, int]]:
    return [(run.name, run.block_length) for run in runs if run.stage == stage]


def run_test(denoiser: LLaDA, folder: Path, callback: Frontier, **data: Any) -> Any:
    module = make_module(denoiser)
    make_trainer(folder, callback).test(module, datamodule=make_data(**data), verbose=False)
    return module


def test_test_fills_a_store_and_prints_the_results(
    tiny_llada: LLaDA, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "store"
    module = run_test(tiny_llada, tmp_path, Frontier(GRIDS, str(folder)))
    store = Store(folder)
    runs = store.runs()
    every = [("low confidence", 4), ("low confidence", 8)] * 2 + [("random", 8)]
    assert sorted(names(runs, "tuning")) == sorted([("policy", 4), *every])
    tested = names(runs, "test")
    assert tested[0] == ("policy", 4) and ("random", 8) in tested
    assert set(tested) <= {("policy", 4), *every}
    assert all(len(store.outcomes(run)) == run.num_problems for run in runs)
    check_comparable([run for run in runs if run.stage == "test"])

    problems = list(make_data().test["coins"])
    expected = evaluate(tiny_llada, module.policy, problems, DECODING, seed=0)
    mine = store.outcomes(next(run for run in runs if run.stage == "test"))
    assert [mine[p.uid].correct for p in problems] == expected.correct.tolist()
    assert [mine[p.uid].nfe for p in problems] == expected.nfe.tolist()

    output = capsys.readouterr().out
    assert "coins: 5 held-out problems" in output
    assert f"{expected.accuracy:.3f}" in output and f"{expected.mean_nfe:.1f}" in output
    assert "lit-unmask-report" in output


def test_the_policy_is_tested_at_thresholds(tiny_llada: LLaDA, tmp_path: Path) -> None:
    values = [0.1, 0.12, 0.2]
    options = FrontierOptions(thresholds=values)
    policy = Thresholded(0.12, small_policy())
    store = Store(tmp_path / "store")
    callback = Frontier(GRIDS, str(store.folder), options=options)
    module = make_module(tiny_llada, policy, decoding=replace(DECODING, temperature=0.0))
    make_trainer(tmp_path, callback).test(module, datamodule=make_data(), verbose=False)
    tested = [run for run in store.runs() if (run.stage, run.name) == ("test", "policy")]
    assert [run.params for run in tested] == [{"threshold": value} for value in values]
    problems = list(make_data().test["coins"])
    for run, value in zip(tested, values, strict=True):
        at = Thresholded(value, small_policy())
        expected = evaluate(tiny_llada, at, problems, module.decoding).nfe.tolist()
        assert [store.outcomes(run)[p.uid].nfe for p in problems] == expected


def test_a_second_run_and_new_settings_compute_what_is_new(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    grids = {"low": HeuristicGrid(Counting, [4], [8])}
    Counting.steps = 0
    for _ in range(2):
        run_test(tiny_llada, tmp_path, Frontier(grids, str(tmp_path / "store")))
        assert Counting.steps == 2 * 2  # tuning and test, 8 positions in fours
    before = contents(tmp_path / "store")
    more = {"low": HeuristicGrid(Counting, [4, 8], [8])}
    options = FrontierOptions(seeds=[0, 1], policy_name=None, tested="all")
    run_test(tiny_llada, tmp_path, Frontier(more, str(tmp_path / "store"), options=options))
    assert Counting.steps == 4 + 4 + 2 * 2  # fours with seed 1, eights with both
    after = contents(tmp_path / "store")
    assert before.items() <= after.items()
    assert len(after) == len(before) + 2 + 4


def test_only_settings_on_a_front_are_tested_unless_all_are_asked_for(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    # A position a step in any block length: the same forwards, of which one can be the best.
    grids = {"low confidence": HeuristicGrid(LowConfidence, [1], [1, 2, 4, 8])}
    tuning = {"coins": Coins("tuning", 12)}
    tested = []
    for which in ("fronts", "all"):
        folder = tmp_path / which
        options = FrontierOptions(policy_name=None, tested=which)
        run_test(tiny_llada, tmp_path, Frontier(grids, str(folder), options=options), tuning=tuning)
        store = Store(folder)
        tested.append({run.block_length for run in store.runs() if run.stage == "test"})
        accuracy = {
            run.block_length: sum(row.correct for row in store.outcomes(run).values())
            for run in store.runs()
            if run.stage == "tuning"
        }
    best = [length for length, value in accuracy.items() if value == max(accuracy.values())]
    assert tested == [{8, best[0]}, {1, 2, 4, 8}]


@pytest.mark.parametrize("saved", [False, True])
def test_learned_policies_come_from_checkpoints_and_folders_too(
    tiny_llada: LLaDA, tmp_path: Path, saved: bool
) -> None:
    other = make_module(tiny_llada, small_policy(1))
    path = tmp_path / "other"
    if saved:
        save_policy(other.policy, path)
    else:
        torch.save({"state_dict": other.state_dict()}, path)
    options = FrontierOptions(block_lengths=[4, 8])
    callback = Frontier({}, str(tmp_path / "store"), {"other": str(path)}, options)
    module = run_test(tiny_llada, tmp_path, callback)
    store = Store(tmp_path / "store")
    runs = {(run.name, run.block_length): run for run in store.runs() if run.stage == "test"}
    assert set(runs) == {(name, length) for name in ("policy", "other") for length in (4, 8)}
    assert runs["policy", 4].weights != runs["other", 4].weights
    problems = list(make_data().test["coins"])
    for name, policy in (("policy", module.policy), ("other", other.policy)):
        decoding = replace(DECODING, block_length=8)
        expected = evaluate(tiny_llada, policy, problems, decoding)
        rows = store.outcomes(runs[name, 8])
        assert [rows[problem.uid].nfe for problem in problems] == expected.nfe.tolist()
        assert [rows[problem.uid].correct for problem in problems] == expected.correct.tolist()


def test_validate_reports_on_validation_problems_if_asked_to(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    for asked in (False, True):
        callback = Frontier(GRIDS, str(tmp_path), options=FrontierOptions(validate=asked))
        trainer = make_trainer(tmp_path / "logs", callback, limit_val_batches=1.0)
        trainer.validate(make_module(tiny_llada), datamodule=make_data(), verbose=False)
        assert (tmp_path / FILE).exists() == asked
    assert {run.dataset for run in Store(tmp_path).runs()} == {"coins (validation)"}
    val = {problem.uid for problem in make_data().val["coins"]}
    assert set(Store(tmp_path).outcomes(Store(tmp_path).runs()[-1])) == val


def test_a_fast_dev_run_and_fit_store_nothing(tiny_llada: LLaDA, tmp_path: Path) -> None:
    options = FrontierOptions(validate=True)
    callback = Frontier(GRIDS, str(tmp_path / "store"), options=options)
    trainer = make_trainer(tmp_path, callback, fast_dev_run=1)
    trainer.test(make_module(tiny_llada), datamodule=make_data(), verbose=False)
    settings = {"max_steps": 1, "val_check_interval": 1, "limit_val_batches": 1.0}
    make_trainer(tmp_path, callback, **settings).fit(
        make_module(tiny_llada), datamodule=make_data()
    )
    assert not (tmp_path / "store").exists()


def test_a_scheduler_ends_the_sweep_after_a_chunk(tiny_llada: LLaDA, tmp_path: Path) -> None:
    class Terminate(Callback):
        def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    options = FrontierOptions(chunk=3)
    callback = Frontier(GRIDS, str(tmp_path / "store"), options=options)
    trainer = make_trainer(tmp_path, Terminate(), callback)
    with pytest.raises(SIGTERMException):
        trainer.test(make_module(tiny_llada), datamodule=make_data(), verbose=False)
    assert [len(rows) for rows in contents(tmp_path / "store").values()] == [3]
    run_test(tiny_llada, tmp_path, callback)
    assert {len(rows) for rows in contents(tmp_path / "store").values()} == {4, 5}


MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "block length": (
        {"grids": {"low": HeuristicGrid(LowConfidence, [1], [3])}},
        {},
        "block_length=3 must divide",
    ),
    "policy's block length": (
        {"options": FrontierOptions(block_lengths=[5])},
        {},
        "block_length=5 must divide",
    ),
    "value": ({"grids": {"low": HeuristicGrid(LowConfidence, [0], [4])}}, {}, "k=0"),
    "no tuning set": ({}, {"tuning": {}}, r"data.tuning has no set named \['coins'\]"),
    "no checkpoint": (
        {"checkpoints": {"a": "/no/file"}},
        {},
        "checkpoint 'a' of Frontier: .*exist",
    ),
    "two of a name": (
        {"options": FrontierOptions(policy_name="random")},
        {},
        r"several policies named \['random'",
    ),
    "no seeds": ({"options": FrontierOptions(seeds=[])}, {}, r"seeds=\[\] must not be empty"),
    "no chunk": ({"options": FrontierOptions(chunk=0)}, {}, "chunk=0 must be at least 1"),
    "unwritable": ({"folder": f"{__file__}/out"}, {}, "cannot be written"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found_before_any_work(
    tiny_llada: LLaDA, tmp_path: Path, mistake: str
) -> None:
    changes, data, message = MISTAKES[mistake]
    arguments: Any = {"grids": GRIDS, "folder": str(tmp_path / "store"), **changes}
    with pytest.raises(ConfigurationError, match=message):
        run_test(tiny_llada, tmp_path, Frontier(**arguments), **data)
    assert not (tmp_path / "store").exists()


def test_a_checkpoint_of_another_policy_is_refused(tiny_llada: LLaDA, tmp_path: Path) -> None:
    weights = {"policy.network.other": torch.zeros(1)}
    torch.save({"state_dict": weights}, tmp_path / "other.ckpt")
    callback = Frontier(GRIDS, str(tmp_path / "store"), {"b": str(tmp_path / "other.ckpt")})
    with pytest.raises(ConfigurationError, match=r"checkpoint 'b' of Frontier: .* do not fit"):
        run_test(tiny_llada, tmp_path, callback)


def test_something_else_in_the_folder_is_left_alone(tiny_llada: LLaDA, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("mine\n")
    with pytest.raises(ConfigurationError, match="file is not a database"):
        run_test(tiny_llada, tmp_path, Frontier(GRIDS, str(tmp_path)))
    assert (tmp_path / FILE).read_text() == "mine\n"


def test_the_config_takes_checkpoints_of_tiny_math() -> None:
    mine, trained = (
        read_config(ROOT / "configs" / f"{name}.yaml")["model"]
        for name in ("frontier", "tiny_math")
    )
    assert all(mine[part] == trained[part] for part in ("policy", "denoiser", "decoding"))
