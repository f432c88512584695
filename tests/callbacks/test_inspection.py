from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lit_unmask.callbacks import Baseline, Inspection
from lit_unmask.callbacks.inspection_figures import Portrait, figures
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import DECODING, Coins, make_data, make_module, make_trainer, small_policy

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.inspection.inspection import Findings
from lit_unmask.inspection.trace import record
from lit_unmask.policies import LowConfidence
from lit_unmask.policies.actions import Deterministic
from lit_unmask.rollout import Decoding
from lit_unmask.training.module import LitUnmask
from lit_unmask.types import Observation

FIGURES = {"order", "response", "pace", "probability", "tail"}
FILES = {"data.json", *(f"{name}.png" for name in FIGURES)}
PNG = b"\x89PNG"


class Watched(LowConfidence):
    """Low confidence that counts its steps and notes the mode that it runs in."""

    def __init__(self) -> None:
        super().__init__(2)
        self.modes: list[bool] = []

    def forward(self, observation: Observation) -> Deterministic:
        self.modes.append(self.training)
        return super().forward(observation)


SETTINGS: dict[str, Any] = {"max_steps": 4, "limit_val_batches": 1.0, "val_check_interval": 1}


@dataclass
class Run:
    """A run of 4 rounds and as many validations, of which the first of every three is looked at."""

    folder: Path
    trainer: Trainer
    module: LitUnmask
    policy: Watched


@pytest.fixture(scope="module")
def run(tiny_llada: LLaDA, tmp_path_factory: pytest.TempPathFactory) -> Run:
    policy = Watched()
    logger = TensorBoardLogger(tmp_path_factory.mktemp("inspected"))
    callback = Inspection(3, count=4, baselines={"pairs": Baseline(policy, 8)})
    trainer = make_trainer(
        logger.root_dir, callback, logger=logger, num_sanity_val_steps=1, **SETTINGS
    )
    module = make_module(tiny_llada)
    trainer.fit(module, datamodule=make_data())
    return Run(Path(logger.log_dir), trainer, module, policy)


@pytest.fixture(scope="module")
def events(run: Run) -> EventAccumulator:
    return EventAccumulator(str(run.folder)).Reload()


def test_figures_and_numbers_are_in_tensorboard(events: EventAccumulator) -> None:
    images = {tag for tag in events.Tags()["images"] if tag.startswith("inspection/")}
    assert images == {f"inspection/coins/{name}" for name in FIGURES}
    for tag in images:  # the fourth validation is the end too, which is not looked at again
        assert [image.step for image in events.Images(tag)] == [1, 4]
        assert events.Images(tag)[0].width > 500
    scalars = {tag for tag in events.Tags()["scalars"] if tag.startswith("inspection/coins/")}
    assert {f"inspection/coins/{name}" for name in ("forced_forwards", "order_position")} < scalars
    assert all([point.step for point in events.Scalars(tag)] == [1, 4] for tag in scalars)


def test_files_lie_beside_the_logs(run: Run, events: EventAccumulator) -> None:
    forced = events.Scalars("inspection/coins/forced_forwards")
    folder = run.folder / "inspection" / "coins"
    assert {one.name for one in folder.iterdir()} == {"1", "4"}
    for point in forced:
        files = {file.name: file for file in (folder / str(point.step)).iterdir()}
        assert set(files) == FILES
        assert all(files[f"{name}.png"].read_bytes().startswith(PNG) for name in FIGURES)
        data = json.loads(files["data.json"].read_text())
        assert data["set"] == "coins" and data["round"] == point.step
        problems = list(Coins("validation", size=5))[:4]
        assert data["problems"] == [problem.uid for problem in problems]
        assert np.array(data["policy"]["order"]).shape == (4, 8)
        assert data["policy"]["scalars"]["forced_forwards"] == pytest.approx(point.value, abs=1e-4)
        assert data["baselines"]["pairs"]["nfe"] == [4] * 4


def test_baselines_run_once_in_evaluation_mode_and_keep_their_own(run: Run) -> None:
    # Four steps of two positions, and one question about all of them.
    assert run.policy.modes == [False] * 5
    assert run.policy.training


def test_looking_changes_nothing(run: Run, tiny_llada: LLaDA, tmp_path: Path) -> None:
    module = make_module(tiny_llada)
    make_trainer(tmp_path, **SETTINGS).fit(module, datamodule=make_data())
    seen, unseen = run.module.state_dict(), module.state_dict()
    assert all(torch.equal(seen[name], unseen[name]) for name in unseen)


def test_a_resumed_run_keeps_the_rhythm_and_its_end_is_looked_at(
    run: Run, tiny_llada: LLaDA, tmp_path: Path
) -> None:
    run.trainer.save_checkpoint(tmp_path / "last.ckpt")
    logger = TensorBoardLogger(tmp_path)
    settings = SETTINGS | {"max_steps": 6}
    trainer = make_trainer(tmp_path, Inspection(3, count=1), logger=logger, **settings)
    trainer.fit(make_module(tiny_llada), datamodule=make_data(), ckpt_path=tmp_path / "last.ckpt")
    folder = Path(logger.log_dir) / "inspection" / "coins"
    assert {one.name for one in folder.iterdir()} == {"6"}


def test_the_rollouts_are_those_of_the_evaluation(tiny_llada: LLaDA, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    trainer = make_trainer(tmp_path, Inspection(count=5), logger=logger)
    module, data = make_module(tiny_llada), make_data()
    trainer.test(module, datamodule=data, verbose=False)
    folder = Path(logger.log_dir) / "inspection" / "coins-test" / "0"
    stored = json.loads((folder / "data.json").read_text())["policy"]["nfe"]
    expected = evaluate(tiny_llada, module.policy, list(data.test["coins"]), DECODING)
    assert stored == expected.nfe.tolist()


def test_validate_looks_once(tiny_llada: LLaDA, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    trainer = make_trainer(tmp_path, Inspection(9, 1), logger=logger, limit_val_batches=1.0)
    sets = {"a.b": Coins("validation", size=2)}
    trainer.validate(make_module(tiny_llada), datamodule=make_data(val=sets), verbose=False)
    folder = Path(logger.log_dir) / "inspection" / "a.b" / "0"
    assert {file.name for file in folder.iterdir()} == FILES


def test_trying_a_few_batches_writes_nothing(tiny_llada: LLaDA, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, Inspection(), fast_dev_run=1, limit_val_batches=1.0)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    assert not list(tmp_path.rglob("inspection"))


MISTAKES: dict[str, tuple[dict[str, Any], bool, str]] = {
    "block length": (
        {"baselines": {"low": Baseline(LowConfidence(), 3)}}, True,
        "baseline low of Inspection: block_length=3 must divide",
    ),
    "no logger": ({}, False, "TensorBoardLogger"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found_before_training(
    tiny_llada: LLaDA, tmp_path: Path, mistake: str
) -> None:
    settings, tensorboard, message = MISTAKES[mistake]
    logger: Any = TensorBoardLogger(tmp_path) if tensorboard else CSVLogger(tmp_path)
    trainer = make_trainer(tmp_path, Inspection(**settings), logger=logger)
    with pytest.raises(ConfigurationError, match=message):
        trainer.fit(make_module(tiny_llada), datamodule=make_data())
    assert trainer.global_step == 0


@pytest.mark.parametrize("settings", [{"count": 0}, {"every_n_validations": 0}, {"threshold": 2}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        Inspection(**settings)


ODD_DECODINGS = {
    "one forward, one problem": (LowConfidence(8), Decoding(8, 8), 1),
    "nothing committed": (small_policy(), Decoding(8, 8, on_empty="wait"), 2),
}


@pytest.mark.parametrize("case", ODD_DECODINGS)
def test_odd_rollouts_are_drawn_without_a_warning(tiny_llada: LLaDA, case: str) -> None:
    policy, decoding, count = ODD_DECODINGS[case]
    trace = record(tiny_llada, policy, list(Coins("validation", count)), decoding)
    if case == "nothing committed":
        still = {name: np.zeros_like(trace.committed) for name in ("committed", "forced")}
        nowhere = {"committed_at": np.full_like(trace.committed_at, -1)}
        trace = type(trace)(**(vars(trace) | still | nowhere))
    findings = Findings.of(trace)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = figures(Portrait("odd", findings, {"the same": findings}))
        for figure in drawn.values():
            FigureCanvasAgg(figure).draw()
    assert set(drawn) == FIGURES


def test_every_axis_says_what_it_shows(tiny_llada: LLaDA) -> None:
    findings = Findings.of(record(tiny_llada, LowConfidence(2), list(Coins("test", 3)), DECODING))
    for name, figure in figures(Portrait("coins, round 3", findings)).items():
        titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
        assert any(title.startswith("coins, round 3") for title in titles), name
        # One label for each direction at least: panels share theirs.
        assert any(axes.get_xlabel() for axes in figure.axes), name
        assert any(axes.get_ylabel() for axes in figure.axes), name
