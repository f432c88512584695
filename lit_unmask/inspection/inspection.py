"""What a policy did: order of unmasking, response to confidence, pace, and what the tail costs.

Quantities over time exist by *step number*, from 0, and by *relative time*: the share of a
rollout's forwards that are over, in ``[0, 1]``, which makes rollouts of different NFE comparable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr

from lit_unmask.inspection.trace import Bools, Floats, Ints, Trace

# Finer towards 1, where most confidences are.
CONFIDENCE_EDGES = np.append(np.linspace(0, 0.95, 20), [0.99, 1.0])
PERIODS = ("early", "middle", "late")
_TIME_BINS = 20
_SMALLEST_BIN = 10  # observations; quantiles of fewer say nothing
_DIGITS = 4


@dataclass(frozen=True)
class Band:
    """How one quantity is distributed at each of **X** places of an axis; NaN where unknown.

    Attributes:
        at: ``[X]`` places.
        mean: ``[X]``.
        low: ``[X]`` 10 % quantile.
        median: ``[X]``.
        high: ``[X]`` 90 % quantile.
        count: ``[X]`` observations.
    """

    at: Floats
    mean: Floats
    low: Floats
    median: Floats
    high: Floats
    count: Floats

    @classmethod
    def of(cls, at: Floats, samples: Sequence[Floats], smallest: int = 1) -> Band:
        """Summarise one sample a place.

        Args:
            at: ``[X]`` places.
            samples: **X** arrays; NaN is left out.
            smallest: Observations below which a sample says nothing.
        """
        rows = []
        for sample in samples:
            known = sample[~np.isnan(sample)]
            values = [math.nan] * 4
            if len(known) >= smallest:
                values = [known.mean(), *np.quantile(known, (0.1, 0.5, 0.9))]
            rows.append([*values, len(known)])
        mean, low, median, high, count = np.array(rows, dtype=float).T
        return cls(at, mean, low, median, high, count)

    @property
    def known(self) -> Band:
        """The band at the places where there is something to say."""
        return self._pick(~np.isnan(self.mean))

    def first(self, count: int) -> Band:
        """Return the band at the first places."""
        return self._pick(slice(count))

    def _pick(self, places: Bools | slice) -> Band:
        return Band(**{name: value[places] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Findings:
    """What was found out about one policy on one set of **B** problems.

    Attributes:
        order: ``[B, L]`` relative time at which each position was committed; NaN if it never was.
        nfe: ``[B]`` forwards of each problem.
        content: ``[B]`` tokens before the first end token.
        response: Probability of opening an eligible position against its confidence, by period
            (``early``, ``middle``, ``late`` third of a rollout's forwards) and over ``all``.
        tokens_by_step: Tokens committed in a step, by step number, over problems still running.
        tokens_by_time: Tokens committed a step, by relative time.
        running: ``[T]`` share of problems that take a step of this number.
        probability: ``[T, L]`` mean probability of opening an eligible position, by step number;
            NaN where nothing was eligible.
        end_share: ``[T]`` share of a step's committed tokens that are end tokens.
        tail_share: ``[T]`` share of a step's committed tokens that lie behind the first end token.
        content_done: Share of a response's content that is committed, by relative time.
        tail_done: The same of its tail, over problems that have one.
        scalars: Numbers in short; see :func:`summary`.
    """

    order: Floats
    nfe: Ints
    content: Ints
    response: dict[str, Band]
    tokens_by_step: Band
    tokens_by_time: Band
    running: Floats
    probability: Floats
    end_share: Floats
    tail_share: Floats
    content_done: Band
    tail_done: Band
    scalars: dict[str, float]

    @classmethod
    def of(cls, trace: Trace) -> Findings:
        """Compute everything."""
        tokens = trace.by_step(trace.committed)
        return cls(
            order=trace.order,
            nfe=trace.nfe,
            content=trace.content.sum(1),
            response=confidence_response(trace),
            tokens_by_step=Band.of(np.arange(tokens.shape[1], dtype=float), list(tokens.T)),
            tokens_by_time=pace(trace),
            running=np.isfinite(tokens).mean(0),
            probability=probability_map(trace),
            end_share=_committed_share(trace, trace.end),
            tail_share=_committed_share(trace, trace.tail),
            content_done=share_done(trace, trace.content),
            tail_done=share_done(trace, trace.tail),
            scalars=summary(trace),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the fields, arrays as lists; NaN becomes None, numbers have four decimals."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def confidence_response(trace: Trace) -> dict[str, Band]:
    """Return the probability of opening an eligible position against its confidence."""
    edges = CONFIDENCE_EDGES
    third = np.minimum((trace.time * len(PERIODS)).astype(int), len(PERIODS) - 1)
    steps = {name: third == place for place, name in enumerate(PERIODS)}
    bands = {}
    for name, chosen in {"all": third >= 0, **steps}.items():
        seen = trace.eligible & chosen[:, None]
        bins = np.digitize(trace.confidence[seen], edges[1:-1])
        samples = [trace.probability[seen][bins == place] for place in range(len(edges) - 1)]
        bands[name] = Band.of((edges[1:] + edges[:-1]) / 2, samples, _SMALLEST_BIN)
    return bands


def pace(trace: Trace) -> Band:
    """Return tokens committed a step by relative time, one sample a problem.

    A step counts for each bin of time by how much of it lies there.
    """
    grid = np.linspace(0, 1, _TIME_BINS + 1)
    committed = _cumulative(trace.by_step(trace.committed), trace.decisions, grid)
    steps = trace.decisions[:, None] / _TIME_BINS
    return Band.of((grid[1:] + grid[:-1]) / 2, list((np.diff(committed, axis=1) / steps).T))


def share_done(trace: Trace, positions: Bools) -> Band:
    """Return which share of the positions ``[B, L]`` is committed, by relative time.

    Rows without such a position are left out.
    """
    grid = np.linspace(0, 1, _TIME_BINS + 1)
    counts = trace.by_step(trace.committed & positions[trace.rollout])
    total = positions.sum(1, keepdims=True)
    share = np.full((len(total), len(grid)), np.nan)
    np.divide(_cumulative(counts, trace.decisions, grid), total, out=share, where=total > 0)
    return Band.of(grid, list(share.T))


def _cumulative(counts: Floats, decisions: Ints, grid: Floats) -> Floats:
    """Return sums ``[B, X]`` of counts ``[B, T]`` up to relative times, linear within a step."""
    sums = [
        np.interp(grid * n, np.arange(n + 1), [0.0, *row[:n].cumsum()])
        for row, n in zip(counts, decisions, strict=True)
    ]
    return np.array(sums)


def probability_map(trace: Trace) -> Floats:
    """Return the mean probability of opening an eligible position, ``[T, L]`` by step number."""
    shape = trace.decisions.max(), trace.eligible.shape[1]
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, trace.index, np.where(trace.eligible, trace.probability, 0.0))
    np.add.at(count, trace.index, trace.eligible)
    return np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)


def _committed_share(trace: Trace, positions: Bools) -> Floats:
    """Return which share of each step's committed tokens is at the positions ``[B, L]``."""
    part = np.nansum(trace.by_step(trace.committed & positions[trace.rollout]), 0)
    total = np.nansum(trace.by_step(trace.committed), 0)
    return np.divide(part, total, out=np.full(total.shape, np.nan), where=total > 0)


def summary(trace: Trace) -> dict[str, float]:
    """Return the findings in short, by name; NaN where there is nothing to measure.

    - ``empty_forwards``: share of forwards that committed nothing;
    - ``forced_forwards``: share of forwards at which the environment had to choose;
    - ``forced_commits``: share of committed tokens that the environment chose;
    - ``committed_confidence``: mean confidence of tokens when they were committed;
    - ``confident_first``: chance that a token committed in a step is more confident than one that
      the step left eligible (ties count half): 1 for a confidence threshold, 0.5 for chance;
    - ``order_position``: Spearman correlation of the order of commits with position, mean over
      problems: 1 is left to right, -1 right to left; ``order_position_content`` before the first
      end token only;
    - ``order_confidence``: the same with confidence at the first step: -1 is most confident first;
    - ``tail_share``: share of all positions that lie behind the first end token;
    - ``tail_delay``: relative time of the tail's commits minus the content's, mean over problems:
      negative if the tail is first.
    """
    order, tail, content = trace.order, trace.tail, trace.content
    first = trace.index == 0
    confidence = np.empty_like(order)
    confidence[trace.rollout[first]] = trace.confidence[first]
    position = np.broadcast_to(np.arange(order.shape[1], dtype=float), order.shape)
    delays = [
        _mean(row[behind]) - _mean(row[before])
        for row, behind, before in zip(order, tail, content, strict=True)
    ]
    return {
        "empty_forwards": float((~trace.committed.any(1)).mean()),
        "forced_forwards": float(trace.forced.any(1).mean()),
        "forced_commits": float(trace.forced.sum() / max(trace.committed.sum(), 1)),
        "committed_confidence": _mean(trace.confidence[trace.committed]),
        "confident_first": _mean(_confident_first(trace)),
        "order_position": _correlation(order, position),
        "order_position_content": _correlation(np.where(content, order, np.nan), position),
        "order_confidence": _correlation(order, confidence),
        "tail_share": float(tail.mean()),
        "tail_delay": _mean(np.array(delays)),
    }


def _mean(values: Floats) -> float:
    """Return the mean of the known values, NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _correlation(order: Floats, other: Floats) -> float:
    """Return the mean Spearman correlation of rows ``[B, L]``; rows of one value say nothing."""
    values = []
    for a, b in zip(order, other, strict=True):
        a, b = a[~np.isnan(a)], b[~np.isnan(a)]
        if len(a) > 1 and np.ptp(a) > 0 and np.ptp(b) > 0:
            values.append(spearmanr(a, b).statistic)
    return _mean(np.array(values))


def _confident_first(trace: Trace) -> Floats:
    """Return for each step that commits some and leaves some the chance described above.

    It is the statistic of Mann and Whitney over the number of pairs.
    """
    chances = []
    for confidence, committed, eligible in zip(
        trace.confidence, trace.committed, trace.eligible, strict=True
    ):
        chosen = committed[eligible]
        taken, left = int(chosen.sum()), int((~chosen).sum())
        if taken and left:
            ranks = rankdata(confidence[eligible])[chosen].sum()
            chances.append((ranks - taken * (taken + 1) / 2) / (taken * left))
    return np.array(chances)


def _plain(value: Any) -> Any:
    """Return arrays and numbers as JSON has them."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, _DIGITS)
    return value
