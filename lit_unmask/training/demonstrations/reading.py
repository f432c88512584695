"""Reading a store of demonstrations, a batch of steps at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lit_unmask.errors import ConfigurationError
from lit_unmask.training.demonstrations.recipe import Recipe
from lit_unmask.training.demonstrations.shards import read_shards
from lit_unmask.types import Steps


class DemonstrationStore(Dataset[Steps]):
    """The steps of the trajectories in a store, in an order that follows from its files.

    Args:
        folder: The store.
        only_correct: Whether to leave out trajectories to wrong answers, if the store has any.

    Attributes:
        recipe: What was recorded.
        uids: Problem of each trajectory.

    Raises:
        ConfigurationError: If there is no store, it is damaged, or has no trajectory to read.
    """

    def __init__(self, folder: str | Path, only_correct: bool = True) -> None:
        self.folder, self.only_correct = Path(folder), only_correct
        self.recipe = Recipe.read(self.folder)
        self._shards = read_shards(self.folder)
        self.uids: list[str] = []
        seen: set[str] = set()
        found = []
        for number, shard in enumerate(self._shards):
            decisions, correct = shard.tensors["decisions"].long(), shard.tensors["correct"]
            first = decisions.cumsum(0) - decisions
            for place, uid in enumerate(shard.uids):
                # Recordings that ran at the same time may both have a problem.
                if uid in seen or (only_correct and correct[place] != 1):
                    continue
                seen.add(uid)
                self.uids.append(uid)
                found.append((number, place, int(first[place]), int(decisions[place])))
        if not found:
            tried = sum(len(shard.tried) for shard in self._shards)
            raise ConfigurationError(
                f"{self.folder} has no trajectory to imitate; {tried} problems were tried, and "
                "none was solved: record more of them, or with a better expert"
            )
        table = torch.tensor(found, dtype=torch.int64)
        self._shard, self._place, self._first, self._decisions = table.unbind(1)
        self._ends = self._decisions.cumsum(0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Steps:
        """Return one step."""
        return self.__getitems__([index])

    def __getitems__(self, rows: Sequence[int]) -> Steps:
        """Return some steps as one batch, in the order asked for; data loaders call this.

        ``rollout`` numbers the trajectories of the store. Every masked position is eligible, and
        the log-probabilities are 0: what was demonstrated is taken to be certain.
        """
        row = torch.as_tensor(rows, dtype=torch.int64)
        trajectory = torch.searchsorted(self._ends, row, right=True)
        index = row - (self._ends - self._decisions)[trajectory]
        parts, places = [], []
        for number in self._shard[trajectory].unique().tolist():
            mine = (self._shard[trajectory] == number).nonzero().squeeze(1)
            parts.append(self._read(number, trajectory[mine], index[mine]))
            places.append(mine)
        return Steps.cat(parts).select(torch.cat(places).argsort())

    def _read(self, number: int, trajectory: Tensor, index: Tensor) -> Steps:
        """Return steps of one shard."""
        place = self._first[trajectory] + index
        steps = self._shards[number].steps(self._place[trajectory], index, place)
        return replace(steps, rollout=trajectory)
