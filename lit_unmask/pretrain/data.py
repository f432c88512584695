"""Worked solutions as token batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from lit_unmask.tasks.base import ClosedTask, Task
from lit_unmask.tasks.mixture import Mixture
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
        chats: Any = [list(problem.messages) for problem in problems]
        read: Any = self.tokenizer.apply_chat_template(
            chats,
            add_generation_prompt=True,
            padding=True,
            return_dict=True,
            return_tensors="pt",
            tokenizer_kwargs={"padding_side": "left"},
        )
        response = torch.tensor([self._response(problem) for problem in problems])
        return Demonstrations(Prompt(read["input_ids"], read["attention_mask"].bool()), response)

    def _response(self, problem: Problem) -> list[int]:
        if problem.solution is None:
            raise ValueError(f"problem {problem.uid!r} has no solution to learn from")
        tokens = self.tokenizer.encode(problem.solution, add_special_tokens=False)
        if len(tokens) >= self.gen_length:
            raise ValueError(
                f"the solution of {problem.uid!r} has {len(tokens)} tokens, which leaves no room "
                f"for an end token in gen_length={self.gen_length}"
            )
        return tokens + [self.tokenizer.pad_token_id] * (self.gen_length - len(tokens))


class DemonstrationData(LightningDataModule):
    """Demonstrations for training in a fixed mixed order and a fixed set for validation.

    Args:
        train: Training tasks by name, mixed in the shares of their sizes.
        val: Validation tasks by name.
        batch_size: Demonstrations a step.
    """

    def __init__(
        self, train: dict[str, ClosedTask], val: dict[str, Task], batch_size: int = 32
    ) -> None:
        super().__init__()
        self.train, self.val = Mixture({**train}), val
        self._closed = list(train.values())
        self.batch_size = batch_size
        self.encoder: DemonstrationEncoder | None = None

    def words(self) -> list[str]:
        """Return the words of all tasks."""
        return list(dict.fromkeys(word for task in self._closed for word in task.words()))

    def train_dataloader(self) -> DataLoader:
        """Return the training batches, in the order of the mixture."""
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
