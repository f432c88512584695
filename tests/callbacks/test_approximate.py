"""Callbacks decode with the module's approximations, or refuse to before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lit_unmask.callbacks import (
    AccuracyNFE,
    Baseline,
    Demonstrate,
    Frontier,
    SpeedSweep,
    Trajectories,
    TransferTest,
    WarmStart,
)
from lit_unmask.callbacks.transfer import Cell
from toy_rollouts import conditioned
from toys import Coins, make_data, make_module, make_trainer

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.grid import HeuristicGrid
from lit_unmask.evaluation.store import FILE, Store
from lit_unmask.policies import LowConfidence
from lit_unmask.policies.actions import Deterministic
from lit_unmask.rollout import Approximate, Decoding
from lit_unmask.types import Observation

CACHED = Decoding(gen_length=8, block_length=4, approximate=Approximate("dual"))
Maker = Callable[[Path, int], Callback]


class Counted(LowConfidence):
    """Low confidence that counts its steps, whoever makes it."""

    steps = 0

    def forward(self, observation: Observation) -> Deterministic:
        Counted.steps += 1
        return super().forward(observation)


def grids(block_length: int) -> dict[str, HeuristicGrid]:
    return {"low": HeuristicGrid(Counted, [2], [block_length])}


def cell(block_length: int) -> Cell:
    return Cell(Coins("test", size=2), Coins("tuning", size=2), grids=grids(block_length))


# By name: makes the callback with a block length of its own, and says when it decodes.
CALLBACKS: dict[str, tuple[Maker, str]] = {
    "AccuracyNFE": (lambda to, n: AccuracyNFE({"low": Baseline(Counted(2), n)}), "fit"),
    "Frontier": (lambda to, n: Frontier(grids(n), str(to / "store")), "test"),
    "Trajectories": (
        lambda to, n: Trajectories(f"{to}.html", baselines={"low": Baseline(Counted(2), n)}),
        "predict",
    ),
    "TransferTest": (lambda to, n: TransferTest({"far": cell(n)}, {}, str(to)), "test"),
    "WarmStart": (lambda to, n: WarmStart(Counted(2), n), "fit"),
}


def run(callback: Callback, stage: str, denoiser: LLaDA, folder: Path, **settings: Any) -> None:
    module = make_module(denoiser, decoding=CACHED, **settings)
    trainer = make_trainer(
        folder,
        callback,
        max_steps=1,
        limit_val_batches=1.0,
        val_check_interval=1,
        logger=TensorBoardLogger(folder),
    )
    getattr(trainer, stage)(module, datamodule=make_data())


@pytest.fixture
def partial(tiny_llada: LLaDA) -> Any:
    """Counts the denoiser's partial forwards and the whole ones without a cache."""
    seen = {"cached": 0, "exact": 0}

    def watch(module: Any, inputs: Any, options: dict[str, Any], output: Any) -> None:
        seen["exact" if options.get("kept") is None else "cached"] += 1

    handle = tiny_llada.register_forward_hook(watch, with_kwargs=True)
    yield seen
    handle.remove()


@pytest.mark.parametrize("name", CALLBACKS)
def test_what_a_callback_decodes_is_as_approximate_as_the_module(
    name: str, tiny_llada: LLaDA, tmp_path: Path, partial: dict[str, int]
) -> None:
    make, stage = CALLBACKS[name]
    Counted.steps = 0
    run(make(tmp_path / "out", 2), stage, tiny_llada, tmp_path)
    assert Counted.steps > 0 and partial["cached"] > 0 and partial["exact"] == 0
    for store in (tmp_path / "out").rglob(FILE):
        runs = Store(store.parent).runs()
        assert {run.block_length for run in runs} == {2, 4}
        assert all(run.approximations == {"cache": "dual"} for run in runs)
        assert all(run.label.endswith(", cache=dual") for run in runs)


@pytest.mark.parametrize("name", CALLBACKS)
def test_blocks_that_have_no_use_for_the_cache_are_refused_before_any_work(
    name: str, tiny_llada: LLaDA, tmp_path: Path, partial: dict[str, int]
) -> None:
    make, stage = CALLBACKS[name]
    match = "must divide the policy's" if name == "WarmStart" else "there is no other block"
    with pytest.raises(ConfigurationError, match=match):
        run(make(tmp_path / "out", 8), stage, tiny_llada, tmp_path)
    assert partial == {"cached": 0, "exact": 0}


def test_speeds_are_swept_as_approximately_as_validation(
    tiny_llada: LLaDA, tmp_path: Path, partial: dict[str, int]
) -> None:
    run(SpeedSweep([1, 3]), "validate", tiny_llada, tmp_path, policy=conditioned())
    assert partial["cached"] > 0 and partial["exact"] == 0


def test_demonstrations_are_not_recorded_approximately(tiny_llada: LLaDA, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cache='dual'.*leave decoding\.approximate out"):
        run(Demonstrate(str(tmp_path / "out")), "predict", tiny_llada, tmp_path)
    assert not (tmp_path / "out").exists()
