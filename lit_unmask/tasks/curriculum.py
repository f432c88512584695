"""Training problems that change as training goes on."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from itertools import accumulate

from lit_unmask.tasks.base import ProblemSet
from lit_unmask.types import Problem


class Curriculum(ProblemSet):
    """One set of problems after another, for training in order (``data.shuffle: false``).

    ```yaml
    data:
      shuffle: false
      batch_size: 16
      train:
        class_path: lit_unmask.tasks.Curriculum
        init_args:
          stages:
            - class_path: lit_unmask.tasks.ShoppingSums
              init_args: {split: train, size: 1600, steps: [3, 3]}   # 100 rounds of 16
            - class_path: lit_unmask.tasks.ShoppingSums
              init_args: {split: train, size: 100000}
    ```

    Args:
        stages: The sets, in the order of training.

    Raises:
        ValueError: If there is no stage.
    """

    def __init__(self, stages: list[ProblemSet]) -> None:
        if not stages:
            raise ValueError("stages=[] must hold at least one set of problems")
        self.stages = stages

    def check(self) -> None:
        """Check every stage; see :meth:`~lit_unmask.tasks.base.ProblemSet.check`."""
        for stage in self.stages:
            stage.check()

    def __len__(self) -> int:
        """Return the number of problems of all stages."""
        return self._ends[-1]

    def __getitem__(self, index: int) -> Problem:  # type: ignore[override]
        """Return problem ``index``, counted through the stages.

        Raises:
            IndexError: If the index is outside ``[0, len(self))``.
        """
        self._check(index)
        stage = bisect_right(self._ends, index)
        return self.stages[stage][index - (self._ends[stage - 1] if stage else 0)]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(stage) for stage in self.stages))
