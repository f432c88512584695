"""Adding to a store of demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lit_unmask.training.demonstrations.recipe import Recipe
from lit_unmask.training.demonstrations.recording import Demonstrated
from lit_unmask.training.demonstrations.shards import read_shard, read_shards, write_shard
from lit_unmask.types import Problem


class DemonstrationWriter:
    """Adds trajectories to a store, each problem once however often the recording is started.

    What was handed over is on the disk; an interrupted recording loses the batch at hand alone.

    Args:
        folder: The store; it is made if it is not there.
        recipe: What is recorded.

    Raises:
        ConfigurationError: If the folder holds demonstrations of another recipe, or is damaged.
    """

    def __init__(self, folder: str | Path, recipe: Recipe) -> None:
        self.folder, self.recipe = Path(folder), recipe
        recipe.write(self.folder)
        self.tried: dict[str, float] = {}
        self.trajectories = 0
        for shard in read_shards(self.folder):
            self.tried |= shard.tried
            self.trajectories += len(shard.uids)

    def missing(self, problems: Sequence[Problem]) -> list[Problem]:
        """Return the problems that have not been tried, each once."""
        distinct = {problem.uid: problem for problem in problems}
        return [problem for uid, problem in distinct.items() if uid not in self.tried]

    def add(self, shown: Demonstrated) -> None:
        """Add what was demonstrated."""
        recipe = self.recipe
        file = write_shard(self.folder, shown, recipe.keep_wrong, recipe.signals)
        shard = read_shard(file)
        self.tried |= shard.tried
        self.trajectories += len(shard.uids)
