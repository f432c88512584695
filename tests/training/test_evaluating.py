"""Validation, test and prediction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from toys import DECODING, After, Coins, make_data, make_module, make_trainer

from lit_unmask.denoisers import LLaDA
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.policies import LowConfidence
from lit_unmask.types import Problem
from lit_unmask.verifiers import Unfinished


def test_validation_counts_every_problem_once(tiny_llada: LLaDA, tmp_path: Path) -> None:
    sets = {"coins": Coins("validation", size=5), "v1.5": Coins("validation", size=3, seed=1)}
    module = make_module(tiny_llada)
    trainer = make_trainer(tmp_path, limit_val_batches=1.0)
    for _ in range(2):  # the second pass starts from nothing
        trainer.validate(module, datamodule=make_data(val=sets), verbose=False)
        for name, task in sets.items():
            result = evaluate(tiny_llada, module.policy, list(task), DECODING, module.rounds.seed)
            rewards = module.reward(result.correct, result.nfe, DECODING.gen_length)
            expected = {
                "accuracy": result.accuracy,
                "nfe": result.mean_nfe,
                "tokens_per_forward": result.tokens_per_forward,
                "still_masked": float(result.still_masked.float().mean()),
                "reward": float(rewards.mean()),
            }
            for metric, value in expected.items():
                logged = float(trainer.callback_metrics[f"val/{name}/{metric}"])
                assert logged == pytest.approx(value, abs=1e-6), metric


def too_late(completion: str, answer: str) -> float:
    return Unfinished() if len(completion) % 2 else 1.0


class Late(Coins):
    """Shopping sums of which the grader finishes those with completions of even length."""

    def draw(self, rng: Random) -> Problem:
        return replace(super().draw(rng), verifier=too_late)


def test_verdicts_that_are_not_finished_are_logged_as_a_share(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    data = make_data(train=Late("train", size=10), val={"late": Late("validation", size=5)})
    module = make_module(tiny_llada)
    played = []
    trainer = make_trainer(
        tmp_path, After(lambda trainer, batch: played.append(batch.correct)), max_steps=1,
        limit_val_batches=1.0, val_check_interval=1,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    share = float(trainer.callback_metrics["train/unfinished_share"])
    assert share == pytest.approx(float((played[0] == 0).float().mean())) and share > 0
    result = evaluate(
        tiny_llada, module.policy, list(data.val["late"]), DECODING, module.rounds.seed
    )
    assert result.unfinished == int((result.correct == 0).sum())
    logged = float(trainer.callback_metrics["val/late/unfinished_share"])
    assert logged == pytest.approx(result.unfinished / 5)


def test_validation_uses_its_own_decoding(tiny_llada: LLaDA, tmp_path: Path) -> None:
    module = make_module(
        tiny_llada, LowConfidence(2), eval_decoding=replace(DECODING, gen_length=16)
    )
    trainer = make_trainer(tmp_path, limit_val_batches=1.0)
    trainer.validate(module, datamodule=make_data(), verbose=False)
    assert float(trainer.callback_metrics["val/coins/nfe"]) == 8


def test_stages_can_follow_each_other(tiny_llada: LLaDA, tmp_path: Path) -> None:
    module, data = make_module(tiny_llada), make_data()
    trainer = make_trainer(tmp_path, limit_val_batches=1.0, val_check_interval=2)
    trainer.fit(module, datamodule=data)
    assert "val/coins/accuracy" in trainer.callback_metrics
    trainer.test(module, datamodule=data, verbose=False)
    assert "test/coins/accuracy" in trainer.callback_metrics
    module.evaluate(list(data.test["coins"]))


def test_predict_returns_one_record_a_problem(tiny_llada: LLaDA, tmp_path: Path) -> None:
    module, data = make_module(tiny_llada, LowConfidence(2)), make_data()
    batches = make_trainer(tmp_path).predict(module, datamodule=data)
    records = [record for batch in batches or [] for record in batch]
    assert [record["uid"] for record in records] == [problem.uid for problem in data.test["coins"]]
    for record, problem in zip(records, data.test["coins"], strict=True):
        assert record["nfe"] == 4
        assert record["correct"] == problem.grade(record["completion"])
