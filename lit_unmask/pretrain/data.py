"""Worked solutions as token batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerFast

from lit_unmask.tasks.base import ClosedTask, Task
from lit_unmask.types import Problem, Prompt


@dataclass(frozen=True)
class Demonstrations:
    """Prompts with solutions to learn from.

    Attributes:
        prompt: **B** prompts, left padded.
        response: ``[B, L]`` int64 solutions, filled up with the end token.
    """

    prompt: Prompt
    response: Tensor


class DemonstrationEncoder:
    """Turns problems with solutions into tokens.

    Args:
        tokenizer: With a chat template; its pad token ends and fills responses.
        gen_length: Response length **L**.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, gen_length: int) -> None:
        self.tokenizer, self.gen_length = tokenizer, gen_length

    def __call__(self, problems: Sequence[Problem]) -> Demonstrations:
        """Encode a batch.

        Raises:
            ValueError: If a problem has no solution, or one that leaves no room for an end token.
        """
        prompts = [self._prompt(problem) for problem in problems]
        pad = self.tokenizer.pad_token_id
        longest = max(len(prompt) for prompt in prompts)
        tokens = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])
        attention = torch.tensor([[False] * (longest - len(p)) + [True] * len(p) for p in prompts])
        response = torch.tensor([self._response(problem, pad) for problem in problems])
        return Demonstrations(Prompt(tokens, attention), response)

    def _prompt(self, problem: Problem) -> list[int]:
        chat: Any = list(problem.messages)
        text = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _response(self, problem: Problem, pad: int) -> list[int]:
        if problem.solution is None:
            raise ValueError(f"problem {problem.uid!r} has no solution to learn from")
        tokens = self.tokenizer.encode(problem.solution, add_special_tokens=False)
        if len(tokens) >= self.gen_length:
            raise ValueError(
                f"the solution of {problem.uid!r} has {len(tokens)} tokens, which leaves no room "
                f"for an end token in gen_length={self.gen_length}"
            )
        return tokens + [pad] * (self.gen_length - len(tokens))


class Mixture(Dataset[Problem]):
    """Problems of several tasks in fixed shares, one task after the other in a fixed pattern.

    Args:
        tasks: Tasks by name.
        shares: Whole-number share of each task, in the same order; 3 and 1 give three problems of
            the first for each of the second.
    """

    def __init__(self, tasks: Mapping[str, Task], shares: Sequence[int]) -> None:
        if len(tasks) != len(shares) or min(shares) < 1:
            raise ValueError(f"shares={list(shares)} must hold one positive number for each task")
        self.tasks = list(tasks.values())
        self.pattern = [i for i, share in enumerate(shares) for _ in range(share)]

    def __len__(self) -> int:
        """Return the number of problems before some task runs out."""
        rounds = min(
            len(task) // self.pattern.count(index) for index, task in enumerate(self.tasks)
        )
        return rounds * len(self.pattern)

    def __getitem__(self, index: int) -> Problem:
        """Return problem ``index``."""
        lap, place = divmod(index, len(self.pattern))
        which = self.pattern[place]
        inside = place - self.pattern.index(which)
        return self.tasks[which][lap * self.pattern.count(which) + inside]


class DemonstrationData(LightningDataModule):
    """Endless fresh demonstrations for training and a fixed set for validation.

    Args:
        train: Training tasks by name, large enough to never repeat a problem.
        val: Validation tasks by name.
        shares: Whole-number share of each training task.
        batch_size: Demonstrations a step.
    """

    def __init__(
        self,
        train: dict[str, ClosedTask],
        val: dict[str, Task],
        shares: list[int],
        batch_size: int = 32,
    ) -> None:
        super().__init__()
        self.train, self.val = Mixture(train, shares), val
        self._closed = list(train.values())
        self.batch_size = batch_size
        self.encoder: DemonstrationEncoder | None = None

    def words(self) -> list[str]:
        """Return the words of all tasks."""
        return list(dict.fromkeys(word for task in self._closed for word in task.words()))

    def train_dataloader(self) -> DataLoader:
        """Return the training batches, in the fixed order of the tasks."""
        return DataLoader(self.train, self.batch_size, collate_fn=self.encoder, drop_last=True)

    def val_dataloader(self) -> list[DataLoader]:
        """Return one loader for each validation task."""
        return [
            DataLoader(task, self.batch_size, collate_fn=self.encoder) for task in self.val.values()
        ]

    def transfer_batch_to_device(
        self, batch: Demonstrations, device: torch.device, dataloader_idx: int
    ) -> Demonstrations:
        """Move the tokens."""
        return Demonstrations(batch.prompt.to(device), batch.response.to(device))
