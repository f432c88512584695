"""Several sets of problems as one."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from functools import cached_property

from lit_unmask.tasks.base import ProblemSet
from lit_unmask.types import Problem


class Mixture(ProblemSet):
    """Sets of problems mixed by weight, in an order that follows from a seed.

    Item ``i`` is always the same problem, so training can be shuffled, sharded and resumed as with
    any other set. Names of parts stand before the ``uid`` of their problems. Without weights every
    problem comes once; with them, a part whose problems are used up starts again in a new order.

    ```yaml
    train:
      class_path: lit_unmask.tasks.Mixture
      init_args:
        parts:
          gsm8k:
            class_path: lit_unmask.tasks.GSM8K
            init_args: {split: train}
          math:
            class_path: lit_unmask.tasks.MATH
            init_args: {split: train}
        weights: {gsm8k: 1, math: 2}
    ```

    Args:
        parts: The sets by name.
        weights: Share of each part, up to a common factor; None weighs each by its size.
        size: Number of problems; None takes as many as there are before one would come twice.
        seed: Seed of the order.

    Raises:
        ValueError: If there is no part, a weight is missing, foreign or not positive, or the size
            is not positive.
    """

    def __init__(
        self,
        parts: dict[str, ProblemSet],
        weights: dict[str, float] | None = None,
        size: int | None = None,
        seed: int = 0,
    ) -> None:
        if not parts:
            raise ValueError("parts={} must hold at least one set of problems")
        if weights is not None and weights.keys() != parts.keys():
            raise ValueError(
                f"weights of {', '.join(weights) or 'nothing'} must name exactly the parts "
                f"{', '.join(parts)}"
            )
        if weights is not None and not all(weight > 0 for weight in weights.values()):
            raise ValueError(f"weights={weights} must be positive; leave out other parts")
        if size is not None and size < 1:
            raise ValueError(f"size={size} must be at least 1, or null")
        self.parts, self.weights, self.size, self.seed = parts, weights, size, seed

    def check(self) -> None:
        """Check every part; see :meth:`~lit_unmask.tasks.base.ProblemSet.check`."""
        for part in self.parts.values():
            part.check()

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Problem:  # type: ignore[override]
        self._check(index)
        name, place = self._order[index]
        problem = self.parts[name][place]
        return replace(problem, uid=f"{name}/{problem.uid}")

    @cached_property
    def _order(self) -> list[tuple[str, int]]:
        """Part and place within it, for every index."""
        counts = self._counts()
        turns = [name for name, count in counts.items() for _ in range(count)]
        random.Random(f"{self.seed}/turns").shuffle(turns)
        places = {name: iter(self._places(name, count)) for name, count in counts.items()}
        return [(name, next(places[name])) for name in turns]

    def _places(self, name: str, count: int) -> list[int]:
        """Return places within a part, all of them before one comes again."""
        length, places = len(self.parts[name]), list[int]()
        rng = random.Random(f"{self.seed}/{name}")
        while len(places) < count:
            places += rng.sample(range(length), length)
        return places[:count]

    def _counts(self) -> dict[str, int]:
        """Return how many problems of each part there are, by largest remainders."""
        lengths = {name: len(part) for name, part in self.parts.items()}
        weights = self.weights or lengths
        # In fractions, so that 20 problems at a share of 2/3 allow 30 and not 29.
        exact = {name: Fraction(weight) for name, weight in weights.items()}
        shares = {name: weight / sum(exact.values()) for name, weight in exact.items()}
        size = self.size or int(min(lengths[name] / share for name, share in shares.items()))
        counts = {name: int(size * share) for name, share in shares.items()}
        by_remainder = sorted(shares, key=lambda name: counts[name] - size * shares[name])
        for name in by_remainder[: size - sum(counts.values())]:
            counts[name] += 1
        return counts
