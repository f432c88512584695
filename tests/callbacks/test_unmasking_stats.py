from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from lit_unmask.callbacks import UnmaskingStats
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import After, make_data, make_module, make_trainer

from lit_unmask.denoisers import LLaDA


def test_stats_describe_the_steps_of_the_round(tiny_llada: LLaDA, tmp_path: Path) -> None:
    rounds: list[Any] = []
    keep = After(lambda trainer, batch: rounds.append(batch))
    logger = TensorBoardLogger(tmp_path)
    stats = UnmaskingStats(every_n_rounds=2, max_steps=10_000)
    trainer = make_trainer(tmp_path, keep, stats, logger=logger, max_steps=4)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    events = EventAccumulator(logger.log_dir).Reload()

    def read(name: str) -> list[float]:
        return [point.value for point in events.Scalars(f"unmasking/{name}")]

    assert [point.step for point in events.Scalars("unmasking/entropy")] == [1, 3]
    for index, steps in enumerate((rounds[0].steps, rounds[2].steps)):
        empty = float((~steps.chosen.any(1)).float().mean())
        assert read("empty_actions")[index] == pytest.approx(empty)
        masked = float(steps.observation.masked.float().mean())
        assert read("still_masked")[index] == pytest.approx(masked)
        mean, largest = read("probability_mean")[index], read("probability_max")[index]
        assert 0 < mean <= largest < 1
        assert read("entropy")[index] > 0
    # The accumulator keeps the last histogram.
    eligible = int(rounds[2].steps.observation.eligible.sum())
    assert events.Histograms("unmasking/probability")[0].histogram_value.num == eligible


def test_only_a_sample_of_the_steps_is_looked_at(tiny_llada: LLaDA, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    trainer = make_trainer(tmp_path, UnmaskingStats(1, max_steps=5), logger=logger, max_steps=1)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    events = EventAccumulator(logger.log_dir).Reload()
    # At most twice the limit, by the stride, times the 4 positions of a block.
    assert events.Histograms("unmasking/probability")[0].histogram_value.num <= 10 * 4
