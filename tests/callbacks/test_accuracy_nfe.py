from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from lit_unmask.callbacks import AccuracyNFE, Baseline
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import DECODING, make_data, make_module, make_trainer, small_policy

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.policies import LowConfidence
from lit_unmask.policies.actions import Deterministic
from lit_unmask.types import Observation


class Counting(LowConfidence):
    """Low confidence that counts its steps."""

    steps = 0

    def forward(self, observation: Observation) -> Deterministic:
        self.steps += 1
        return super().forward(observation)


def test_baselines_run_once_and_the_path_grows(tiny_llada: LLaDA, tmp_path: Path) -> None:
    policy = Counting(2)
    callback = AccuracyNFE({"pairs": Baseline(policy), "wide": Baseline(LowConfidence(4), 8)})
    logger = TensorBoardLogger(tmp_path)
    trainer = make_trainer(
        tmp_path, callback, logger=logger, max_steps=4, val_check_interval=2, limit_val_batches=1.0
    )
    module, data = make_module(tiny_llada), make_data()
    trainer.fit(module, datamodule=data)
    assert policy.steps == 3 * 4  # batches of 5 problems by 2, once; 8 positions in pairs
    assert [step for step, _, _ in callback.path["coins"]] == [2, 4]
    assert callback.path["coins"][-1][1:] == pytest.approx(
        [float(trainer.callback_metrics[f"val/coins/{name}"]) for name in ("accuracy", "nfe")]
    )

    events = EventAccumulator(logger.log_dir).Reload()
    expected = evaluate(tiny_llada, LowConfidence(2), list(data.val["coins"]), DECODING)
    points = events.Scalars("val/coins/pairs/accuracy")
    assert [point.value for point in points] == pytest.approx([expected.accuracy])
    assert events.Scalars("val/coins/pairs/nfe")[0].value == 4
    assert events.Scalars("val/coins/wide/nfe")[0].value == 2
    assert [image.step for image in events.Images("val/coins/frontier")] == [2, 4]
    named = {tag for tag in events.Tags()["scalars"] if tag.startswith("val/coins/pairs/")}
    assert named == {
        f"val/coins/pairs/{name}"
        for name in (
            *("accuracy", "nfe", "tokens_per_forward", "still_masked", "reward"),
            "unfinished_share",
        )
    }


def test_a_resumed_run_continues_the_path(tiny_llada: LLaDA, tmp_path: Path) -> None:
    settings = {"val_check_interval": 2, "limit_val_batches": 1.0}
    first, second = AccuracyNFE(), AccuracyNFE()
    trainer = make_trainer(tmp_path, first, max_steps=2, **settings)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    make_trainer(tmp_path, second, max_steps=4, **settings).fit(
        make_module(tiny_llada, small_policy(1)), datamodule=make_data(),
        ckpt_path=tmp_path / "first.ckpt",
    )  # fmt: skip
    assert [step for step, _, _ in second.path["coins"]] == [2, 4]
    assert second.path["coins"][:1] == first.path["coins"]


def test_the_sanity_check_is_not_a_measurement(tiny_llada: LLaDA, tmp_path: Path) -> None:
    callback = AccuracyNFE({"low": Baseline(LowConfidence(2))})
    settings = {"max_steps": 1, "limit_val_batches": 1.0, "val_check_interval": 1}
    trainer = make_trainer(tmp_path, callback, num_sanity_val_steps=2, **settings)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    assert [step for step, _, _ in callback.path["coins"]] == [1]
    trainer = make_trainer(tmp_path, callback, fast_dev_run=1)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())


def test_a_block_length_that_does_not_divide_is_refused(tiny_llada: LLaDA, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, AccuracyNFE({"low": Baseline(LowConfidence(), 3)}))
    with pytest.raises(
        ConfigurationError, match="baseline low of AccuracyNFE: block_length=3 must divide"
    ):
        trainer.fit(make_module(tiny_llada), datamodule=make_data())
