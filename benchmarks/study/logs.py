"""Logs of the runs of the study."""

from __future__ import annotations

import csv
from dataclasses import dataclass

from study.training import TRAINED

# Rounds that a mean is taken over, the share of the best one that counts as a collapse, and that of
# the first validation reward that counts as a rise.
WINDOW, FALLEN, RISEN = 20, 0.7, 1.1


@dataclass(frozen=True)
class Log:
    """Scalars of a run by round.

    Attributes:
        rounds: For each round that has something, the scalars by tag.
    """

    rounds: list[dict[str, float]]

    @property
    def row_forwards(self) -> float:
        """Denoiser row-forwards of the training rollouts."""
        return sum(self.column("train/row_forwards"))

    def column(self, tag: str) -> list[float]:
        """Return a scalar over the rounds that have it."""
        return [values[tag] for values in self.rounds if tag in values]

    @property
    def verdict(self) -> str:
        """Whether the reward fell and stayed low, or never rose in validation, in words."""
        rewards = self.column("train/reward")
        # After the first rise.
        late = rewards[len(rewards) // 2 :]
        if len(late) < 2 * WINDOW:
            return "no rounds of rollouts" if not rewards else "too short"
        means = [sum(late[i : i + WINDOW]) / WINDOW for i in range(len(late) - WINDOW + 1)]
        validated = self.column("val/math/reward")
        if means[-1] < FALLEN * max(means):
            outcome = "collapsed"
        elif validated and validated[-1] < RISEN * validated[0]:
            outcome = "no gain in validation"
        else:
            outcome = "no collapse"
        return f"{outcome}: {max(means):.2f}, {means[-1]:.2f}"


def read_log(name: str) -> Log:
    """Read the log of a run."""
    with (TRAINED / name / "training.csv").open(newline="") as file:
        return Log(
            [
                {tag: float(value) for tag, value in row.items() if value}
                for row in csv.DictReader(file)
            ]
        )
