from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lit_unmask.callbacks import UnmaskingStats
from lit_unmask.callbacks.unmasking_stats import _kept, _Watch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import After, make_data, make_module, make_trainer, small_policy

from lit_unmask.denoisers import LLaDA
from lit_unmask.policies import Thresholded


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


def follow(watch: Any, *rounds: tuple[float, float]) -> None:
    for reward, nfe in rounds:
        watch.follow({"reward": reward, "nfe": nfe})


FINE = {"empty_actions": 0.2, "entropy": 1.0}


def test_a_collapse_is_told_once_in_words() -> None:
    watch = _Watch()
    follow(watch, *[(0.8, 9.0)] * 12)
    assert watch.signs(FINE) == []
    follow(watch, (0.0, 9.0))  # one bad round is not a fall
    assert watch.signs(FINE) == []
    follow(watch, *[(0.3, 20.0)] * 20)
    (sign,) = watch.signs(FINE)
    assert sign.startswith("the reward has fallen from 0.80 @ 9.0 forwards to 0.3")
    assert watch.signs(FINE) == []
    (sign,) = watch.signs(FINE | {"entropy": 0.01})
    assert "nearly certain" in sign and "0.010 nats" in sign
    (sign,) = watch.signs(FINE | {"empty_actions": 0.99})
    assert "chooses nothing at 99% of its steps" in sign
    follow(watch, *[(0.0, 1.0)] * 60)
    assert any("opens all at once (1.0 forwards)" in sign for sign in watch.signs(FINE))


def test_a_warning_names_the_best_checkpoint(tiny_llada: LLaDA, tmp_path: Path) -> None:
    certain = small_policy()
    torch.nn.init.constant_(certain.network.output_proj.bias, 60.0)
    saves = ModelCheckpoint(tmp_path / "saved", monitor="val/coins/reward", mode="max")
    stats = UnmaskingStats(every_n_rounds=1)
    trainer = make_trainer(
        tmp_path, saves, stats, enable_checkpointing=True, limit_val_batches=1,
        val_check_interval=1, check_val_every_n_epoch=None,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="nearly certain of all it does") as caught:
        trainer.fit(make_module(tiny_llada, certain), datamodule=make_data())
    said = [str(warning.message) for warning in caught if "nearly certain" in str(warning.message)]
    assert len(said) == 1 and "ModelCheckpoint.monitor" in said[0]
    assert _kept(trainer) == f"the best checkpoint so far is {saves.best_model_path}"


@pytest.mark.parametrize(("stop", "rounds"), [(True, 1), (False, 3)])
def test_a_collapse_may_end_the_training(
    stop: bool, rounds: int, tiny_llada: LLaDA, tmp_path: Path
) -> None:
    certain = small_policy()
    torch.nn.init.constant_(certain.network.output_proj.bias, 60.0)
    trainer = make_trainer(tmp_path, UnmaskingStats(every_n_rounds=1, stop=stop))
    with pytest.warns(UserWarning, match="nearly certain of all it does"):
        trainer.fit(make_module(tiny_llada, certain), datamodule=make_data())
    assert trainer.global_step == rounds


def test_what_is_behind_a_threshold_is_looked_at(tiny_llada: LLaDA, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    trainer = make_trainer(tmp_path, UnmaskingStats(every_n_rounds=1), logger=logger)
    policy = Thresholded(0.5, small_policy())
    trainer.fit(make_module(tiny_llada, policy), datamodule=make_data())
    events = EventAccumulator(logger.log_dir).Reload()
    assert all(point.value > 0 for point in events.Scalars("unmasking/entropy"))
