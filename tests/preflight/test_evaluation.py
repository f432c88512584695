"""What evaluations are planned to take, by hand and beside one that was run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from lit_unmask.callbacks import (
    AccuracyNFE,
    Baseline,
    Cell,
    Frontier,
    FrontierOptions,
    TransferTest,
)
from toys import Coins, config, make_data, make_module

from lit_unmask.cli import main
from lit_unmask.denoisers import LLaDA
from lit_unmask.denoisers.loading.placement import Placement
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.grid import HeuristicGrid
from lit_unmask.evaluation.store import Store
from lit_unmask.policies import ConfidenceThreshold, EntropyBound, LowConfidence, Margin, Random
from lit_unmask.preflight.assumptions import Assumptions, Range, heuristic_nfe
from lit_unmask.preflight.devices import GIB
from lit_unmask.preflight.dry_run import Request
from lit_unmask.preflight.evaluation import Tried, check_tuning, largest_batch, plan_evaluation
from lit_unmask.preflight.memory import Shape, memory_of
from lit_unmask.preflight.spec import Spec
from lit_unmask.rollout import Decoding

LIMITS = {"limit_val_batches": None, "limit_test_batches": None, "limit_predict_batches": None}
GRIDS = {
    "low confidence": HeuristicGrid(LowConfidence, [1, 4], [4, 8]),
    "random": HeuristicGrid(Random, [2], [8]),
}
# Forwards of a problem in those settings at 8 tokens: 8 and 8, 2 and 2, and 4.
ALL = 8 + 8 + 2 + 2 + 4


def request_of(denoiser: LLaDA, stage: str, *callbacks: Any, **trainer: Any) -> Request:
    """Return a configuration: 5 problems to validate and to test on, 4 to tune on, NFE 2 to 4."""
    model = make_module(denoiser, decoding=Decoding(8, 4))
    settings = LIMITS | {"callbacks": list(callbacks)} | trainer
    spec: Any = Spec(LLaDA, {"path": denoiser.identity["path"]})
    model._denoiser.value = spec
    nfe = Assumptions(nfe=(2.0, 4.0))
    return Request(stage, settings, model, make_data(), [spec], assumptions=nfe)


def planned(what: Request) -> dict[str, Range]:
    return {work.name: work.computed for work in plan_evaluation(what, 20).works}


@pytest.mark.parametrize(
    ("policy", "block", "nfe"),
    [(LowConfidence(1), 8, 8), (LowConfidence(3), 8, 3), (Margin(3), 4, 4), (Random(8), 2, 4)],
    ids=["one a step", "the last step opens two", "blocks end early", "more than a block"],
)
def test_forwards_of_a_count_are_known(policy: Any, block: int, nfe: int) -> None:
    assert heuristic_nfe(policy, Decoding(8, block)) == Range.exactly(nfe)


@pytest.mark.parametrize("policy", [ConfidenceThreshold(0.9), EntropyBound(0.1)])
@pytest.mark.parametrize("block", [1, 2, 32, 256])
def test_forwards_that_confidence_decides_are_a_range(policy: Any, block: int) -> None:
    nfe = heuristic_nfe(policy, Decoding(256, block))
    assert 256 // block <= nfe.low <= nfe.usual <= nfe.high <= 256
    assert (nfe.low < nfe.high) == (block > 1)


def test_the_policy_runs_on_every_set(tiny_llada: LLaDA) -> None:
    for stage in ("validate", "test", "predict"):
        assert planned(request_of(tiny_llada, stage)) == {"coins: policy": Range(10.0, 15.0, 20.0)}
    few = request_of(tiny_llada, "test", limit_test_batches=2)  # of 2 problems
    assert planned(few)["coins: policy"].usual == 4 * 3
    half = request_of(tiny_llada, "validate", limit_val_batches=0.4)
    assert planned(half)["coins: policy"].usual == 2 * 3


def test_baselines_run_when_it_is_validated(tiny_llada: LLaDA) -> None:
    baselines = AccuracyNFE({"k": Baseline(LowConfidence(2)), "wide": Baseline(Random(4), 8)})
    found = planned(request_of(tiny_llada, "validate", baselines))
    assert (found["baseline k"].usual, found["baseline wide"].usual) == (5 * 4, 5 * 2)
    assert len(planned(request_of(tiny_llada, "test", baselines))) == 1


def test_a_frontier_tunes_all_settings_and_tests_those_on_fronts(tiny_llada: LLaDA) -> None:
    options = FrontierOptions(seeds=[0, 1], block_lengths=[4, 8])
    frontier = Frontier(GRIDS, checkpoints={"seed 1": "a.ckpt"}, options=options)
    found = planned(request_of(tiny_llada, "test", frontier))
    policies = 4 * 3  # two policies, two block lengths
    # Low confidence draws nothing and is computed with one seed; its settings come to ALL - 4.
    both = 2 * 4 + ALL - 4
    assert found["coins, tuning (settings: 9, seeds: 2)"].usual == 4 * (2 * policies + both)
    tested = found["coins, test"]
    # Of low confidence at least one setting and of random the only one; at most all of them.
    assert tested.low == 5 * (2 * 4 * 2 + 2 + 2 * 4)
    assert tested.low < tested.usual < tested.high == 5 * (2 * 4 * 4 + both)
    everything = Frontier(GRIDS, options=FrontierOptions(tested="all"))
    assert planned(request_of(tiny_llada, "test", everything))["coins, test"].usual == 5 * (3 + ALL)
    assert len(planned(request_of(tiny_llada, "validate", everything))) == 1


def test_the_closest_are_two_settings_of_each_heuristic(tiny_llada: LLaDA) -> None:
    closest = Frontier(GRIDS, options=FrontierOptions(tested="closest"))
    found = planned(request_of(tiny_llada, "test", closest))
    assert found["coins, tuning (settings: 6, seeds: 1)"].usual == 4 * (3 + ALL)
    assert found["coins, test"] == Range(5 * (2 + 2 + 4), 5 * (3 + 10 + 4), 5 * 24)


def test_a_frontier_at_the_end_of_training_is_planned_with_it(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, file = config(tiny_checkpoint, tmp_path / "out"), tmp_path / "run.yaml"
    grid = {"policy": "lit_unmask.policies.LowConfidence", "values": [1], "block_lengths": [8]}
    given["trainer"]["callbacks"] = {"class_path": "lit_unmask.callbacks.Frontier",
                                     "init_args": {"folder": str(tmp_path / "compared"),
                                                   "options": {"fit": True, "tested": "all"},
                                                   "grids": {"k": grid}}}  # fmt: skip
    file.write_text(yaml.safe_dump(given))
    arguments = ["plan", f"--config={file}", "--json", "--plan.rate=1", "--plan.nfe=[2,4]"]
    with pytest.raises(SystemExit):
        main(arguments)
    said = json.loads(capsys.readouterr().out)
    works = {work["name"]: work["computed"]["usual"] for work in said["work"]}
    assert list(works) == [
        *("training", "validation", "coins, tuning (settings: 2, seeds: 1)", "coins, test")
    ]
    assert works["coins, tuning (settings: 2, seeds: 1)"] == 4 * (3 + 8)
    assert works["coins, test"] == 5 * (3 + 8)
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--data.tuning={}"])
    assert end.value.code == 2
    assert "data.tuning has no set named ['coins']" in capsys.readouterr().err


def test_cells_of_a_transfer_cost_what_their_length_and_denoiser_do(tiny_llada: LLaDA) -> None:
    home = Cell(Coins("test", 5), Coins("tuning", 3))
    large: Any = Spec(LLaDA, {"path": "GSAI-ML/LLaDA-8B-Instruct", "dtype": "bfloat16"})
    cells = {
        "home": home,
        "long": Cell(home.test, home.tuning, gen_length=16, block_length=8),
        "large": Cell(home.test, home.tuning, denoiser=large),
    }
    what = request_of(tiny_llada, "test", TransferTest(cells, GRIDS))
    works = {work.name: work for work in plan_evaluation(what, 20).works}
    tuning = {name: works[f"{name}, tuning (settings: 6)"] for name in cells}
    assert tuning["home"].computed.usual == 3 * (3 + ALL) and tuning["home"].cost == 1
    assert tuning["long"].computed.usual == 3 * (3 + 2 * ALL)
    assert 1 < tuning["long"].cost < 2 < 1e4 < tuning["large"].cost
    assert works["home, test"].rollouts == 5 * 3
    what.specs.append(large)
    shape, own = Shape(4, 20, 16), what.spec
    memory = memory_of(what, shape, 4, on_cpu=False)
    assert memory.weights == large.weight_bytes > 14 * GIB and memory.steps == 0
    # On a CPU both are in memory, and what a device map places makes no room for another.
    both = own.weight_bytes + large.weight_bytes
    assert memory_of(what, shape, 4, on_cpu=True).weights == both
    own.arguments = {**own.arguments, "placement": Placement(device_map="auto")}
    assert memory_of(what, shape, 4, on_cpu=False).weights == both


def test_the_number_that_runs_is_between_the_cheapest_and_all() -> None:
    nfe = [Range.exactly(value) for value in (8.0, 2.0, 4.0)]
    assert Tried(nfe, 1, 1.5, 2).forwards == Range(2.0, 7.0, 12.0)
    assert Tried.all(nfe).forwards == Range.exactly(14.0)
    assert Tried.all([]).forwards == Range.exactly(0.0)


def test_what_cannot_be_evaluated_is_refused(tiny_llada: LLaDA) -> None:
    what = request_of(tiny_llada, "test", Frontier(GRIDS))
    check_tuning(what)
    what.data.tuning.clear()
    with pytest.raises(ConfigurationError, match=r"data\.tuning has no set named \['coins'\]"):
        check_tuning(what)
    check_tuning(request_of(tiny_llada, "validate", Frontier(GRIDS)))


def test_the_largest_batch_is_that_of_whoever_evaluates(tiny_llada: LLaDA) -> None:
    assert largest_batch(request_of(tiny_llada, "test"), 1) == 2
    assert largest_batch(request_of(tiny_llada, "test", Frontier(GRIDS)), 1) == 64
    assert largest_batch(request_of(tiny_llada, "validate", Frontier(GRIDS)), 1) == 2


def test_an_evaluation_takes_what_was_planned(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, store = config(tiny_checkpoint, tmp_path / "out"), tmp_path / "store"
    given["model"]["decoding"]["temperature"] = 0.0
    grid = {"policy": "lit_unmask.policies.LowConfidence", "values": [1, 2, 3],
            "block_lengths": [4, 8]}  # fmt: skip
    other = grid | {"policy": "lit_unmask.policies.Random", "values": [2]}
    frontier = {"class_path": "lit_unmask.callbacks.Frontier",
                "init_args": {"folder": str(store), "grids": {"k": grid, "random": other},
                              "options": {"seeds": [0, 1], "policy_name": None}}}  # fmt: skip
    given["trainer"]["callbacks"] = [frontier]
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(given))
    with pytest.raises(SystemExit):
        main(["plan", f"--config={file}", "--stage=test", "--json", "--plan.rate=1"])
    works = {work["name"]: work for work in json.loads(capsys.readouterr().out)["work"]}
    main(["test", f"--config={file}", "--trainer.logger=false"])
    taken, rows = Counter[str](), Counter[str]()
    for run in Store(store).runs():
        if run.policy != "Random" and run.seed:
            continue  # a copy of what was computed with the first seed
        for outcome in Store(store).outcomes(run).values():
            taken[run.stage] += outcome.nfe_by_kind["fresh"]
            rows[run.stage] += 1
    tuning = works["coins, tuning (settings: 8, seeds: 2)"]
    assert rows["tuning"] == tuning["rollouts"]
    assert set(tuning["computed"].values()) == {taken["tuning"]}
    tested = works["coins, test"]["computed"]
    assert tested["low"] <= taken["test"] <= tested["high"]
