"""A toy denoiser whose answers get better the fewer positions are opened at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from lit_unmask.policies import Conditioned, ConfidenceTransformer, LearnedPolicy, Policy
from lit_unmask.rollout import Decoding
from lit_unmask.tasks.datamodule import TaskDataModule
from lit_unmask.training.conditioning import Condition
from lit_unmask.training.module import LitUnmask
from lit_unmask.training.rewards import SpeedReward
from lit_unmask.training.schedule import WarmupCosine
from lit_unmask.training.settings import Rounds
from lit_unmask.types import Problem, Prompt, Reading, Signals

LENGTH = 8
_MASK, _RIGHT, _WRONG = 0, 1, 2


def share_right(completion: str, answer: str) -> float:
    """Return the share of right tokens."""
    return completion.count("r") / LENGTH


class Patience(nn.Module):
    """Proposes the right token at position ``i`` once ``i`` positions have been committed.

    All confidences are alike, so that all there is to choose is how many positions to open: one a
    step makes about half of the tokens right, all at once an eighth.
    """

    mask_id = _MASK
    end_ids = frozenset({3})
    identity: ClassVar = {"path": "patience", "revision": None, "config_hash": ""}
    device = torch.device("cpu")

    def encode(self, problems: Sequence[Problem]) -> Prompt:
        tokens = torch.tensor([[int(problem.uid)] for problem in problems])
        return Prompt(tokens, torch.ones_like(tokens, dtype=torch.bool))

    def decode(self, response: Tensor) -> list[str]:
        return ["".join("_rw"[token] for token in row) for row in response.tolist()]

    def check_length(self, prompt: Prompt, gen_length: int) -> None:
        pass

    def forward(self, prompt: Prompt, response: Tensor, signals: Signals, *drawn: Any) -> Reading:
        committed = (response != _MASK).sum(1, keepdim=True)
        # Another order in each problem, so that the place says nothing.
        order = (torch.arange(LENGTH) * 3 + prompt.tokens) % LENGTH
        proposal = torch.where(order <= committed, _RIGHT, _WRONG)
        return Reading(proposal, torch.full((*response.shape, signals.top_k), 0.5))


@dataclass(frozen=True)
class Riddles:
    """Problems for :class:`Patience`."""

    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < self.size:
            raise IndexError(index)
        return Problem(str(index), (), "", share_right)

    def check(self) -> None:
        pass


def conditioned_policy(speed: float = 1.0, seed: int = 0, **settings: Any) -> Conditioned:
    """Return a small policy that is conditioned on the speed."""
    torch.manual_seed(seed)
    network = ConfidenceTransformer(16, 2, 16, output_bias=-1.5, speed=True, **settings)
    return Conditioned(speed, LearnedPolicy(network))


def trade_module(
    condition: Condition | None, reward: SpeedReward, policy: Policy | None = None, **settings: Any
) -> LitUnmask:
    """Return a module that learns on :class:`Patience`; a policy of its reward's speed."""
    defaults: dict[str, Any] = {
        "rounds": Rounds(group_size=8, num_iterations=2),
        "optimizer": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
        "schedule": WarmupCosine(warmup_rounds=0),
    }
    policy = policy or conditioned_policy(reward.condition)
    decoding = Decoding(LENGTH, LENGTH)
    denoiser: Any = Patience()
    return LitUnmask(
        denoiser, policy, decoding, reward=reward, condition=condition, **(defaults | settings)
    )


def fit(
    module: LitUnmask, folder: Any, rounds: int, batch_size: int = 8, **settings: Any
) -> Trainer:
    """Train for some rounds; returns the trainer."""
    checkpoint = settings.pop("ckpt_path", None)
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "default_root_dir": folder,
        "max_steps": rounds,
        "max_epochs": -1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
    }
    trainer = Trainer(**(defaults | settings))
    train: Any = Riddles(1000)
    data = TaskDataModule(train, val={"riddles": Riddles(16)}, batch_size=batch_size)  # type: ignore[dict-item]
    trainer.fit(module, data, ckpt_path=checkpoint)
    return trainer
