"""Training problems that change as training goes on."""

from __future__ import annotations

import random
from bisect import bisect_right
from functools import cached_property
from itertools import accumulate, count

from lit_unmask.errors import ConfigurationError
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

    A sudden change of problems is a sudden change of rewards. With ``blend`` the stages pass into
    each other: among that many problems around each border the share of the next stage rises
    linearly from none to all. Every problem still comes once and each stage keeps its order, and
    which problem comes at an index follows from the index alone, so that training resumes exactly.

    Args:
        stages: The sets, in the order of training.
        blend: Number of problems around each border that are mixed; even, 0 for none.

    Raises:
        ValueError: If there is no stage, or ``blend`` is negative or odd.
        ConfigurationError: When the problems are first asked for, if a stage is too short for
            ``blend``.
    """

    def __init__(self, stages: list[ProblemSet], blend: int = 0) -> None:
        if not stages:
            raise ValueError("stages=[] must hold at least one set of problems")
        if blend < 0 or blend % 2:
            raise ValueError(f"blend={blend} must be an even number, or 0 for none")
        self.stages, self.blend = stages, blend

    def check(self) -> None:
        """Check every stage; see :meth:`~lit_unmask.tasks.base.ProblemSet.check`."""
        for stage in self.stages:
            stage.check()
        _ = self._blended

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
        straight = stage, index - (self._ends[stage - 1] if stage else 0)
        stage, place = self._blended.get(index, straight)
        return self.stages[stage][place]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(stage) for stage in self.stages))

    @cached_property
    def _blended(self) -> dict[int, tuple[int, int]]:
        """Stage and place within it, for the indices around borders."""
        half, last = self.blend // 2, len(self.stages) - 1
        for number, stage in enumerate(self.stages):
            needed = half * ((number > 0) + (number < last))
            if len(stage) < needed:
                raise ConfigurationError(
                    f"blend={self.blend} needs {needed} problems of stage {number}, which has "
                    f"{len(stage)}; lower blend"
                )
        found: dict[int, tuple[int, int]] = {}
        for number in range(last):
            found |= self._around(number)
        return found

    def _around(self, number: int) -> dict[int, tuple[int, int]]:
        """Return stage and place for the indices around the end of a stage."""
        end, half = self._ends[number], self.blend // 2
        rng = random.Random(f"{type(self).__name__}/{number}")
        # An index is of the next stage if its share exceeds a random number; half of them are.
        lead = {
            index: (index - end + half + 0.5) / self.blend - rng.random()
            for index in range(end - half, end + half)
        }
        later = set(sorted(lead, key=lambda index: lead[index])[half:])
        places = {False: count(len(self.stages[number]) - half), True: count(0)}
        return {index: (number + (index in later), next(places[index in later])) for index in lead}
