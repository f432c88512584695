from __future__ import annotations

import re
from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from lit_unmask.callbacks import AccuracyNFE, Baseline, Inspection, ScalarLayout, UnmaskingStats
from lit_unmask.callbacks.layout import scalar_layout
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from toys import make_data, make_module, make_trainer

from lit_unmask.denoisers import LLaDA
from lit_unmask.policies import LowConfidence

Charts = dict[tuple[str, str], list[str]]


@pytest.fixture(scope="module")
def run(
    tiny_llada: LLaDA, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Charts, list[str]]:  # fmt: skip
    """What a short run with all that is arranged has: charts, and the tags of its scalars."""
    folder = tmp_path_factory.mktemp("layout")
    logger = TensorBoardLogger(folder)
    trainer = make_trainer(
        folder, ScalarLayout(), UnmaskingStats(1), Inspection(count=2),
        AccuracyNFE({"pairs-0.5": Baseline(LowConfidence(2))}), logger=logger, max_steps=2,
        val_check_interval=2, limit_val_batches=1.0, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    events = EventAccumulator(logger.log_dir).Reload()
    stored = events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    charts = {
        (category.title, chart.title): list(chart.multiline.tag)
        for category in Layout.FromString(stored).category
        for chart in category.chart
    }
    return charts, events.Tags()["scalars"]


def drawn(patterns: list[str], tags: list[str]) -> set[str]:
    """Return the tags that TensorBoard draws: it matches from the start."""
    return {tag for tag in tags if any(re.match(pattern, tag) for pattern in patterns)}


def test_every_line_of_every_chart_finds_a_scalar(run: tuple[Charts, list[str]]) -> None:
    charts, tags = run
    assert {category for category, _ in charts} == {
        "Accuracy", "Forwards", "Reward", "Policy health", "Speed", "Inspection",
    }  # fmt: skip
    for chart, patterns in charts.items():
        for pattern in patterns:
            assert drawn([pattern], tags), (chart, pattern)


@pytest.mark.parametrize(
    ("chart", "lines"),
    {
        ("Accuracy", "coins"): {"val/coins/accuracy", "val/coins/pairs-0.5/accuracy"},
        ("Forwards", "coins"): {"val/coins/nfe", "val/coins/pairs-0.5/nfe"},
        ("Forwards", "training rounds"): {"train/nfe"},  # not train/nfe_max
        ("Reward", "training rounds"): {"train/reward"},  # not train/reward_std
        ("Policy health", "clip ratios"): {"train/clip_ratio/low", "train/clip_ratio/high"},
        ("Speed", "rollouts a second"): {"train/rollouts_per_s"},
    }.items(),
)
def test_a_chart_draws_what_its_title_says(
    run: tuple[Charts, list[str]], chart: tuple[str, str], lines: set[str]
) -> None:
    charts, tags = run
    assert drawn(charts[chart], tags) == lines


def test_names_of_sets_are_taken_by_the_letter() -> None:
    patterns = scalar_layout(["math.v2", "math"])["Accuracy"]["math.v2"][1]
    tags = ["val/math.v2/accuracy", "val/math_v2/accuracy", "val/math/accuracy"]
    assert drawn(patterns, tags) == {"val/math.v2/accuracy"}


def test_without_tensorboard_there_is_nothing_to_arrange(tiny_llada: LLaDA, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, ScalarLayout(), max_steps=1)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    assert not list(tmp_path.rglob("events*"))
