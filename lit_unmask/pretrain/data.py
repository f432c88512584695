"""Worked solutions as token batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from lit_unmask.tasks.base import ClosedTask
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

    def to(self, device: torch.device) -> Demonstrations:
        """Return the same on another device."""
        return Demonstrations(self.prompt.to(device), self.response.to(device))


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


@dataclass(frozen=True)
class Part:
    """Demonstrations of one response length.

    Attributes:
        gen_length: Response length **L**.
        batch_size: Demonstrations a step.
        tasks: Tasks by name, mixed in the shares of their sizes.
    """

    gen_length: int
    batch_size: int
    tasks: dict[str, ClosedTask]


class DemonstrationData(LightningDataModule):
    """Demonstrations for training in a fixed mixed order and a fixed set for validation.

    A step takes one batch of each part of the training data, so that a denoiser can be trained on
    several response lengths at once.

    Args:
        train: Training parts by name. The one with the fewest batches ends an epoch.
        val: Validation parts by name; each of their tasks is validated by itself.
    """

    def __init__(self, train: dict[str, Part], val: dict[str, Part]) -> None:
        super().__init__()
        self.train, self.val = train, val
        self.tokenizer: PreTrainedTokenizerFast | None = None

    def words(self) -> list[str]:
        """Return the words of all tasks."""
        return list(dict.fromkeys(word for task in self._tasks() for word in task.words()))

    def synonyms(self) -> list[tuple[str, ...]]:
        """Return the synonyms of all tasks."""
        return list(dict.fromkeys(words for task in self._tasks() for words in task.synonyms()))

    def _tasks(self) -> list[ClosedTask]:
        return [task for part in self.train.values() for task in part.tasks.values()]

    def validated(self) -> list[str]:
        """Return the names of the validation sets: task and part, ``math/long``."""
        return [f"{task}/{name}" for name, part in self.val.items() for task in part.tasks]

    def train_dataloader(self) -> CombinedLoader:
        """Return the training batches by the name of their part, in the order of the mixtures."""
        loaders = {
            name: self._loader(part, Mixture({**part.tasks}), drop_last=True)
            for name, part in self.train.items()
        }
        return CombinedLoader(loaders, "min_size")

    def val_dataloader(self) -> list[DataLoader]:
        """Return one loader for each validation set."""
        return [
            self._loader(part, task) for part in self.val.values() for task in part.tasks.values()
        ]

    def _loader(
        self, part: Part, problems: Sequence[Problem], drop_last: bool = False
    ) -> DataLoader:
        assert self.tokenizer is not None, "the module sets the tokenizer before the loaders"
        encoder: Any = DemonstrationEncoder(self.tokenizer, part.gen_length)
        data: Any = problems
        return DataLoader(data, part.batch_size, collate_fn=encoder, drop_last=drop_last)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move the tokens."""
        if isinstance(batch, dict):
            return {name: part.to(device) for name, part in batch.items()}
        return batch.to(device)
