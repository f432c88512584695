"""One policy validated at several speeds."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from lit_unmask.callbacks import SpeedSweep
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_trade import Riddles, fit, trade_module

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.policies import Conditioned, ConfidenceThreshold
from lit_unmask.training.conditioning import Budget
from lit_unmask.training.rewards import NearTarget


def test_every_speed_is_validated_and_rewarded_for_itself(tmp_path: Path) -> None:
    module = trade_module(Budget([2, 5]), NearTarget(2))
    logger = TensorBoardLogger(tmp_path)
    trainer = fit(
        module, tmp_path, 4, batch_size=2, callbacks=[SpeedSweep([2, 3, 5])], logger=logger,
        limit_val_batches=1.0, val_check_interval=2, log_every_n_steps=1,
    )  # fmt: skip
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    problems = [Riddles(16)[index] for index in range(16)]
    policy = module.policy
    assert isinstance(policy, Conditioned)
    results = {
        s: evaluate(module.denoiser, policy.at(s), problems, module.decoding) for s in (2, 3, 5)
    }
    rewards, nfes = [], []
    for speed, result in results.items():
        mean = NearTarget(speed)(result.correct, result.nfe, 8).mean()
        found = {name: logged[f"val/riddles/speed-{speed}/{name}"] for name in ("nfe", "accuracy")}
        assert found == pytest.approx({"nfe": result.mean_nfe, "accuracy": result.accuracy})
        assert logged[f"val/riddles/speed-{speed}/reward"] == pytest.approx(float(mean), abs=1e-6)
        rewards.append(float(mean))
        nfes.append(result.mean_nfe)
    assert logged["val/riddles/speeds/reward"] == pytest.approx(sum(rewards) / 3, abs=1e-6)
    missed = [abs(nfe / speed - 1) for speed, nfe in zip(results, nfes, strict=True)]
    assert logged["val/riddles/speeds/off_target"] == pytest.approx(sum(missed) / 3, abs=1e-6)
    signs = [(b > a) - (b < a) for a, b in pairwise(nfes)]
    assert logged["val/riddles/speeds/nfe_trend"] == sum(signs) / 2
    assert logged["val/riddles/nfe"] == pytest.approx(nfes[0])  # the speed of the policy
    events = EventAccumulator(logger.log_dir).Reload()
    assert [image.step for image in events.Images("val/riddles/speeds")] == [2, 4]
    assert "train/speed/2/multiplier" in events.Tags()["scalars"]


@pytest.mark.parametrize("speeds", [[], [2, 2], [-1, 2]])
def test_speeds_that_cannot_be_swept_are_named(speeds: list[float], tmp_path: Path) -> None:
    module = trade_module(Budget([2, 5]), NearTarget(2))
    with pytest.raises(ConfigurationError, match="of SpeedSweep must be at least one number"):
        fit(module, tmp_path, 1, callbacks=[SpeedSweep(speeds)])


def test_a_policy_that_is_conditioned_on_nothing_is_refused(tmp_path: Path) -> None:
    module = trade_module(None, NearTarget(2), ConfidenceThreshold())
    with pytest.raises(ConfigurationError, match=r"of no use to .*ConfidenceThreshold"):
        fit(module, tmp_path, 1, callbacks=[SpeedSweep([1])])
