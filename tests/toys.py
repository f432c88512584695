"""Settings of short runs, and a task that random denoisers sometimes solve."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from transformers import LlamaConfig, LlamaForCausalLM

from lit_unmask.denoisers import Denoiser, LLaDA
from lit_unmask.evaluation import rollout_numbers
from lit_unmask.policies import ConfidenceTransformer, LearnedPolicy, Policy
from lit_unmask.rollout import Decoding, Noise, Rollout, rollout
from lit_unmask.tasks import ShoppingSums
from lit_unmask.tasks.datamodule import TaskDataModule
from lit_unmask.training.module import LitUnmask
from lit_unmask.training.schedule import WarmupCosine
from lit_unmask.training.settings import Rounds
from lit_unmask.types import Problem

# At temperature 1, so that the rollouts of a group differ whatever the random weights.
DECODING = Decoding(gen_length=8, block_length=4, temperature=1.0)


def coin(completion: str, answer: str) -> float:
    """Return 1.0 for half of all completions."""
    return float(zlib.crc32(completion.encode()) % 2)


class Coins(ShoppingSums):
    """Shopping sums whose verdict is a coin flip, always the same for the same completion."""

    def draw(self, rng: random.Random) -> Problem:
        return replace(super().draw(rng), verifier=coin)


class Hopeless(ShoppingSums):
    """Shopping sums of which no answer is right."""

    def draw(self, rng: random.Random) -> Problem:
        return replace(super().draw(rng), verifier=lambda completion, answer: 0.0)


class Unread(LLaDA):
    """A denoiser whose weights must not be read."""

    def __init__(self, path: str) -> None:
        raise RuntimeError("the weights were read")


class Breaks(LLaDA):
    """A denoiser whose logits become NaN on the second rank, some calls after the probes."""

    calls = 0

    def head(self, states: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        broken = os.environ.get("LOCAL_RANK") == "1" and self.calls > 4
        return super().head(states) * (torch.nan if broken else 1.0)


class LooksAtDenoiser(Callback):
    """A callback that needs a loaded denoiser when it is made."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.mask_id = denoiser.mask_id


def small_policy(seed: int = 0) -> LearnedPolicy:
    """Return a learned policy of few parameters, the same for the same seed."""
    torch.manual_seed(seed)
    return LearnedPolicy(ConfidenceTransformer(width=16, heads=2, feed_forward=16))


def large_steps(parameters: Any) -> torch.optim.Optimizer:
    """Return an optimizer whose steps are easy to see."""
    return torch.optim.AdamW(parameters, lr=1e-2)


def make_module(denoiser: Denoiser, policy: Policy | None = None, **settings: Any) -> LitUnmask:
    """Return a module for short runs."""
    defaults: dict[str, Any] = {
        "decoding": DECODING,
        "rounds": Rounds(group_size=4),
        "optimizer": large_steps,
        "schedule": WarmupCosine(warmup_rounds=0),
    }
    return LitUnmask(denoiser, policy or small_policy(), **(defaults | settings))


def make_data(**settings: Any) -> TaskDataModule:
    """Return problems for short runs: rounds of 2 prompts, 5 prompts to validate on."""
    defaults: dict[str, Any] = {
        "train": Coins("train", size=10),
        "val": {"coins": Coins("validation", size=5)},
        "test": {"coins": Coins("test", size=5)},
        "tuning": {"coins": Coins("tuning", size=4)},
        "batch_size": 2,
        "eval_batch_size": 2,
    }
    return TaskDataModule(**(defaults | settings))


def make_trainer(folder: Any, *callbacks: Callback, **settings: Any) -> Trainer:
    """Return a quiet trainer for 3 rounds that writes into ``folder`` only."""
    defaults: dict[str, Any] = {
        "default_root_dir": folder,
        "accelerator": "cpu",
        "devices": 1,
        "max_steps": 3,
        "max_epochs": -1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
        "num_sanity_val_steps": 0,
    }
    return Trainer(callbacks=list(callbacks), **(defaults | settings))


def decode_problems(
    denoiser: Denoiser,
    policy: Policy,
    problems: Sequence[Problem],
    decoding: Decoding,
    seed: int = 0,
) -> Rollout:
    """Return one rollout a problem, with the noise that an evaluation gives it."""
    prompt = denoiser.encode(problems).to(denoiser.device)
    noise = Noise(seed, rollout_numbers(problems).to(denoiser.device))
    return rollout(denoiser, policy, prompt, decoding, noise)


class After(Callback):
    """Calls a function with the trainer and the batch after every round."""

    def __init__(self, function: Callable[[Trainer, Any], None]) -> None:
        self.function = function

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any,
                           batch_idx: int) -> None:  # fmt: skip
        self.function(trainer, batch)


class Gradients(Callback):
    """Keeps the policy's gradients of every backward pass, by parameter name."""

    def __init__(self) -> None:
        self.taken: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        named = pl_module.policy.named_parameters()
        self.taken.append({name: weight.grad.clone() for name, weight in named})


class Terminate(Callback):
    """Sends this process a signal in a round, on one rank."""

    def __init__(self, number: int = int(signal.SIGTERM), round: int = 0, rank: int = 0) -> None:
        self.number, self.round, self.rank = number, round, rank

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.global_step, trainer.global_rank) == (self.round, self.rank):
            os.kill(os.getpid(), self.number)


class Deletes(Callback):
    """Deletes the folder of the logger before the second round."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == 1:
            shutil.rmtree(trainer.log_dir)


class Dawdles(Callback):
    """Makes each round of one rank about ten times as long."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_rank == self.rank:
            time.sleep(2.0)


def write_autoregressive(tokenizer: Any, folder: Path, seed: int = 0, spare: int = 0) -> Path:
    """Write a random autoregressive model with the words of a tokenizer; returns its folder."""
    settings = LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        vocab_size=len(tokenizer) + spare, max_position_embeddings=128,
    )  # fmt: skip
    network, generator = LlamaForCausalLM(settings), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 2:  # large weights, so that what is said depends on the text
                weight.normal_(std=0.5, generator=generator)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def config(checkpoint: Any, folder: Any) -> dict[str, Any]:
    """Return the configuration of a short run on the command line that writes into ``folder``."""

    def coins(split: str, size: int) -> dict[str, Any]:
        return {"class_path": "toys.Coins", "init_args": {"split": split, "size": size}}

    network = {
        "class_path": "lit_unmask.policies.ConfidenceTransformer",
        "init_args": {"width": 16, "heads": 2, "feed_forward": 16},
    }
    return {
        "trainer": {
            "default_root_dir": str(folder),
            "accelerator": "cpu",
            "devices": 1,
            "max_steps": 2,
            "max_epochs": -1,
            "limit_val_batches": 1.0,
            "val_check_interval": 1,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            "enable_model_summary": False,
            "enable_progress_bar": False,
            "logger": {
                "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
                "init_args": {"save_dir": "${trainer.default_root_dir}", "name": "run"},
            },
            "callbacks": [
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {"every_n_train_steps": 1, "save_last": True},
                }
            ],
        },
        "model": {
            "denoiser": {
                "class_path": "lit_unmask.denoisers.LLaDA",
                "init_args": {"path": str(checkpoint)},
            },
            "policy": {
                "class_path": "lit_unmask.policies.LearnedPolicy",
                "init_args": {"network": network},
            },
            "decoding": {"gen_length": 8, "block_length": 4, "temperature": 1.0},
            "rounds": {"group_size": 4},
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
            "schedule": {
                "class_path": "lit_unmask.training.schedule.WarmupCosine",
                "init_args": {"warmup_rounds": 0},
            },
        },
        "data": {
            "class_path": "lit_unmask.tasks.datamodule.TaskDataModule",
            "init_args": {
                "train": coins("train", 10),
                "val": {"coins": coins("validation", 5)},
                "test": {"coins": coins("test", 5)},
                "tuning": {"coins": coins("tuning", 4)},
                "batch_size": 2,
                "eval_batch_size": 2,
            },
        },
    }
