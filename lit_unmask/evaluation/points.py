"""Points of accuracy against forwards, their intervals and their Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, Literal

from scipy.stats import norm


@dataclass(frozen=True)
class Point:
    """One policy or heuristic on one problem set.

    Attributes:
        name: What to call it in tables.
        kind: Whether it was trained.
        params: Its settings.
        block_length: Block length it was run with.
        accuracy: Share of problems solved.
        ci_low: Lower end of the 95 % Wilson interval of the accuracy.
        ci_high: Upper end.
        nfe: Mean denoiser forwards a problem.
        tokens_per_forward: Tokens before the end token for each forward.
        num_problems: Problems.
        seed: Seed of the noise.
        seconds: Wall time of the evaluation.
    """

    name: str
    kind: Literal["heuristic", "learned"]
    params: dict[str, Any]
    block_length: int
    accuracy: float
    ci_low: float
    ci_high: float
    nfe: float
    tokens_per_forward: float
    num_problems: int
    seed: int
    seconds: float

    @property
    def label(self) -> str:
        """Name, settings and block length, for instance ``threshold (threshold=0.9), BL 8``."""
        settings = ", ".join(f"{name}={value}" for name, value in self.params.items())
        return f"{self.name}{f' ({settings})' * bool(settings)}, BL {self.block_length}"

    def as_row(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dictionary."""
        return asdict(self)


def wilson_interval(share: float, count: float) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share among ``count`` verdicts, whole or not."""
    z = float(norm.ppf(0.975))
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * sqrt(share * (1 - share) / count + (z / count / 2) ** 2)
    # Where all verdicts are equal one end is exact, and rounding would miss it.
    return centre - half if share > 0 else 0.0, centre + half if share < 1 else 1.0


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in accuracy without more forwards, by rising NFE."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.nfe, -p.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def cheapest_within_interval(points: Sequence[Point], target: Point) -> Point | None:
    """Return the point of fewest forwards whose accuracy reaches the target's interval, if any."""
    reaching = [point for point in points if point.accuracy >= target.ci_low]
    return min(reaching, key=lambda point: point.nfe, default=None)
