"""DataModule of tasks: named evaluation sets, a resumable training order, exact sharding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, DistributedSampler

from lit_unmask.errors import ConfigurationError, check_name
from lit_unmask.randomness import check_seed
from lit_unmask.tasks.base import ProblemSet
from lit_unmask.tasks.limits import PromptEncoder, ShortPrompts

ProblemSets = dict[str, ProblemSet]


@dataclass(frozen=True)
class Sets:
    """Problem sets of a DataModule that are used unless others are given.

    Attributes:
        train: Training problems.
        val: Validation sets by name.
        test: Test sets by name.
        tuning: Sets by name on which baselines are tuned.
    """

    train: ProblemSet | None = None
    val: ProblemSets = field(default_factory=dict)
    test: ProblemSets = field(default_factory=dict)
    tuning: ProblemSets = field(default_factory=dict)


class ExactShards(DistributedSampler):
    """Deals items to ranks without repeating or dropping any.

    Lightning keeps a ``DistributedSampler`` as it is, and would otherwise pad the ranks to equal
    length, which counts some problems twice.
    """

    def __init__(self, items: ProblemSet, rank: int, world: int) -> None:
        super().__init__(items, num_replicas=world, rank=rank, shuffle=False)
        self._indices = range(rank, len(items), world)

    def __iter__(self) -> Iterator[int]:
        """Iterate over this rank's indices in order."""
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


class TrainingShards(DistributedSampler):
    """Deals training items in an order common to all ranks, and drops the uneven rest.

    Rank ``r`` takes places ``r, r + world, ...`` of the common order, so that a round of all ranks
    together holds the same problems whatever the number of ranks.
    """


class ResumableLoader(DataLoader):
    """A DataLoader that continues where it was: epoch and batches served are its state.

    Lightning stores and restores the state of loaders that have ``state_dict``.
    """

    epoch = 0
    served = 0
    _restored = False
    _before = (0, 0)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Iterate over the batches that this epoch has left."""
        assert isinstance(self.sampler, DistributedSampler)
        if self.served and not self._restored:
            # The last epoch was cut short, as by limit_train_batches; do not repeat its order.
            self.epoch, self.served = self.epoch + 1, 0
        self._restored, skip, total = False, self.served, len(self)
        self.sampler.set_epoch(self.epoch)
        for number, batch in enumerate(super().__iter__(), start=1):
            if number <= skip:
                continue
            # Lightning stops asking after the last batch, so the epoch has to end before it.
            ends, self._before = number == total, (self.epoch, number - 1)
            self.epoch, self.served = (self.epoch + 1, 0) if ends else (self.epoch, number)
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return epoch and batches served."""
        return {"epoch": self.epoch, "served": self.served}

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Count the last batch as not served, in a checkpoint from which it is to come again."""
        now, (self.epoch, self.served) = (self.epoch, self.served), self._before
        yield
        self.epoch, self.served = now

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a stored state with the next iteration."""
        self.epoch, self.served, self._restored = state["epoch"], state["served"], True


class TaskDataModule(LightningDataModule):
    """Problems for training, validation, test and prediction.

    Batches are lists of :class:`~lit_unmask.types.Problem`; the model turns them into tokens.

    A batch holds prompts, each once, and never parts of a group: the rank that is dealt a prompt
    makes all rollouts of its group, so that advantages need nothing from other ranks.

    Args:
        train: Training problems.
        val: Validation sets by name; the name is the second part of their metrics' names.
        test: Test sets by name. ``predict`` uses them too.
        tuning: Sets by name on which baselines are tuned; no reported number comes from them.
        batch_size: Prompts a training round, over all ranks together.
        eval_batch_size: Prompts a validation batch, for each rank.
        seed: Seed of the training order.
        shuffle: Whether training problems come in an order that is new in each epoch, instead of
            their own.
        max_prompt_tokens: Training problems with longer prompts are left out, counted and
            reported; None keeps all. No prompt is ever cut, and sets to evaluate on keep all
            their problems, because a score on some of them is another score.

    Attributes:
        left_out: Number of training problems whose prompts are too long, once it is known.

    Raises:
        ValueError: If a batch or the limit is not positive, or the seed out of range.
    """

    left_out: int | None = None

    def __init__(
        self,
        train: ProblemSet | None = None,
        val: ProblemSets | None = None,
        test: ProblemSets | None = None,
        tuning: ProblemSets | None = None,
        batch_size: int = 16,
        eval_batch_size: int = 128,
        seed: int = 0,
        shuffle: bool = True,
        max_prompt_tokens: int | None = None,
    ) -> None:
        super().__init__()
        if max_prompt_tokens is not None and max_prompt_tokens < 1:
            raise ValueError(f"max_prompt_tokens={max_prompt_tokens} must be at least 1, or null")
        if min(batch_size, eval_batch_size) < 1:
            raise ValueError(
                f"batch_size={batch_size} and eval_batch_size={eval_batch_size} must be at least 1"
            )
        check_seed(seed)
        usual = self.standard_sets()
        self.train = usual.train if train is None else train
        self.val = usual.val if val is None else val
        self.test = usual.test if test is None else test
        self.tuning = usual.tuning if tuning is None else tuning
        for name in (*self.val, *self.test, *self.tuning):
            check_name("data: the set", name)
        self.max_prompt_tokens = max_prompt_tokens
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self.shuffle = shuffle

    def standard_sets(self) -> Sets:
        """Return the sets that are used unless others are given; none here."""
        return Sets()

    def setup(self, stage: str) -> None:
        """Leave out training problems whose prompts are too long for ``fit``."""
        denoiser = getattr(self.trainer and self.trainer.lightning_module, "denoiser", None)
        if stage == "fit" and denoiser is not None:
            self.limit_prompts(denoiser)

    def limit_prompts(self, encoder: PromptEncoder) -> None:
        """Leave out training problems with more than ``max_prompt_tokens`` tokens, and count them.

        The second call does nothing.

        Args:
            encoder: The denoiser that is to read the prompts.

        Raises:
            ConfigurationError: If none would be left.
        """
        if self.train is None or self.max_prompt_tokens is None or self.left_out is not None:
            return
        kept = ShortPrompts(self.train, encoder, self.max_prompt_tokens)
        if kept.left_out:
            rank_zero_warn(
                f"data.max_prompt_tokens={self.max_prompt_tokens} leaves out {kept.left_out} of "
                f"{len(self.train)} training problems; the longest prompt has {kept.longest} tokens"
            )
        self.train, self.left_out = kept, kept.left_out

    @property
    def _ranks(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def check_batch(self, ranks: int) -> None:
        """Check that there are training problems, and that ranks can share a round; reads none.

        Raises:
            ValueError: If there is no training set, or the batch does not divide among the ranks.
        """
        if self.train is None:
            raise ValueError("data.train is not set; fit needs a training task")
        if self.batch_size % ranks:
            raise ValueError(
                f"data.batch_size={self.batch_size} must be a multiple of the {ranks} ranks"
            )

    def train_dataloader(self) -> DataLoader:
        """Return this rank's share of the shuffled training problems."""
        rank, world = self._ranks
        self.check_batch(world)
        assert self.train is not None
        if len(self.train) < self.batch_size:
            raise ValueError(
                f"data.train has {len(self.train)} problems, fewer than one round of "
                f"data.batch_size={self.batch_size}"
            )
        sampler = TrainingShards(
            self.train, world, rank, shuffle=self.shuffle, seed=self.seed, drop_last=True
        )
        return ResumableLoader(
            self.train,
            batch_size=self.batch_size // world,
            sampler=sampler,
            collate_fn=list,
            drop_last=True,
        )

    def val_dataloader(self) -> list[DataLoader]:
        """Return one loader for each validation set."""
        return [self._eval_loader(task) for task in self.val.values()]

    def test_dataloader(self) -> list[DataLoader]:
        """Return one loader for each test set."""
        return [self._eval_loader(task) for task in self.test.values()]

    def predict_dataloader(self) -> list[DataLoader]:
        """Return one loader for each test set."""
        return self.test_dataloader()

    def _eval_loader(self, task: ProblemSet) -> DataLoader:
        rank, world = self._ranks
        shards = ExactShards(task, rank, world)
        return DataLoader(task, batch_size=self.eval_batch_size, sampler=shards, collate_fn=list)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Return the batch as it is: problems are text."""
        return batch


def attached_data(trainer: Trainer) -> TaskDataModule:
    """Return the problems that a trainer runs on.

    Raises:
        ConfigurationError: If the trainer has no DataModule, or one of another kind.
    """
    # Lightning sets the attribute without declaring it.
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, TaskDataModule):
        kind = None if data is None else type(data).__name__
        raise ConfigurationError(
            f"datamodule={kind} must be a TaskDataModule, whose sets have names; "
            "pass one to the trainer as datamodule"
        )
    return data


def is_fast_dev_run(trainer: Trainer) -> bool:
    """Return whether a trainer only tries a few batches, without writing anything."""
    # Lightning sets the attribute without declaring it.
    return bool(getattr(trainer, "fast_dev_run", False))
