"""The warm start, with a real small denoiser."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lit_unmask.callbacks import Teaching, WarmStart

from lit_unmask.denoisers import LLaDA
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.policies import ConfidenceTransformer, EntropyBound, LearnedPolicy
from lit_unmask.rollout import Decoding
from lit_unmask.tasks import ShoppingSums
from lit_unmask.tasks.datamodule import TaskDataModule
from lit_unmask.training.module import LitUnmask
from lit_unmask.training.settings import Rounds

DECODING = Decoding(64, 64)


def make_module() -> LitUnmask:
    torch.manual_seed(0)
    network = ConfidenceTransformer(32, 2, 64, output_bias=-5.0, confidence_gain=8.0)
    rounds = Rounds(group_size=2, num_iterations=1)
    return LitUnmask(
        LLaDA("tiny-llada"),
        LearnedPolicy(network),
        DECODING,
        rounds=rounds,
        # Only the teaching may move the weights.
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
    )


def fit(module: LitUnmask, folder: Path, max_steps: int = 1, **settings: object) -> Trainer:
    expert = WarmStart(EntropyBound(0.3), 64, Teaching(problems=32, epochs=20))
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_steps=max_steps,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[expert],
    )
    data = TaskDataModule(ShoppingSums("train", 64, steps=(3, 3)), batch_size=2)
    trainer.fit(module, data, **settings)
    return trainer


def test_a_taught_policy_solves_what_an_untaught_one_does_not(tmp_path: Path) -> None:
    module = make_module()
    untaught = copy.deepcopy(module.policy)
    fit(module, tmp_path)
    problems = list(ShoppingSums("validation", 24, steps=(3, 3)))
    before = evaluate(module.denoiser, untaught, problems, DECODING)
    after = evaluate(module.denoiser, module.policy, problems, DECODING)
    assert after.accuracy > before.accuracy + 0.2


def test_a_resumed_run_is_not_taught_again(tmp_path: Path) -> None:
    module = make_module()
    trainer = fit(module, tmp_path)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    weights = copy.deepcopy(module.policy.state_dict())
    again = make_module()
    fit(again, tmp_path, 2, ckpt_path=str(tmp_path / "one.ckpt"))
    for name, value in again.policy.state_dict().items():
        assert torch.equal(value, weights[name]), name
