"""GRPO learns: where every answer is right, the policy becomes fast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from lit_unmask.denoisers import LLaDA
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.policies import ConfidenceTransformer, LearnedPolicy
from lit_unmask.rollout import Decoding
from lit_unmask.tasks import ShoppingSums
from lit_unmask.tasks.datamodule import TaskDataModule
from lit_unmask.training.module import LitUnmask
from lit_unmask.training.rewards import MultiplicativeSpeed
from lit_unmask.training.schedule import WarmupCosine
from lit_unmask.training.settings import Rounds
from lit_unmask.types import Problem


def always_right(completion: str, answer: str) -> float:
    return 1.0


class Forgiving(ShoppingSums):
    """Shopping sums that any answer solves."""

    def draw(self, rng) -> Problem:
        return replace(super().draw(rng), verifier=always_right)


def test_a_policy_learns_to_be_fast_where_nothing_can_go_wrong(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = LitUnmask(
        LLaDA("tiny-llada"),
        LearnedPolicy(ConfidenceTransformer(16, 2, 32, output_bias=-2.0)),
        Decoding(64, 64),
        reward=MultiplicativeSpeed(alpha=2.0),
        rounds=Rounds(group_size=8, num_iterations=2),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=0.02),
        schedule=WarmupCosine(warmup_rounds=1),
    )
    problems = list(Forgiving("validation", 16))
    before = evaluate(module.denoiser, module.policy, problems, module.decoding).mean_nfe
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        max_steps=12,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=0.2,
    )
    trainer.fit(module, TaskDataModule(Forgiving("train", 64), batch_size=2))
    after = evaluate(module.denoiser, module.policy, problems, module.decoding).mean_nfe
    assert after < 0.6 * before
