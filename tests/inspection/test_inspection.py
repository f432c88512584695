from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from toys import DECODING, Coins, small_policy

from lit_unmask.denoisers import LLaDA
from lit_unmask.inspection.inspection import (
    CONFIDENCE_EDGES,
    PERIODS,
    Band,
    Findings,
    confidence_response,
    pace,
    probability_map,
    share_done,
    summary,
)
from lit_unmask.inspection.trace import Trace, record
from lit_unmask.policies import ConfidenceThreshold, LeftToRight, Policy

NAN = math.nan


def make_trace(
    commits: list[list[list[int]]],
    length: int,
    confidence: dict[int, list[float]] | None = None,
    ends: list[list[int]] | None = None,
    forced: set[tuple[int, int]] = frozenset(),  # type: ignore[assignment]
) -> Trace:
    """Return a trace of full diffusion, by hand.

    Args:
        commits: Positions by rollout and step.
        length: Generation length.
        confidence: Confidences by rollout, the same in all of its steps; 0.5 elsewhere.
        ends: Positions of end tokens by rollout.
        forced: Which (rollout, step) were forced.
    """
    rows = [(b, i) for b, steps in enumerate(commits) for i in range(len(steps))]
    committed = np.zeros((len(rows), length), bool)
    eligible = np.ones((len(rows), length), bool)
    at = np.full((len(commits), length), -1)
    for n, (b, i) in enumerate(rows):
        committed[n, commits[b][i]] = True
        at[b, commits[b][i]] = i
    for n, (b, i) in enumerate(rows):
        eligible[n] = (at[b] >= i) | (at[b] < 0)
    sure = np.full((len(rows), length), 0.5)
    for n, (b, _) in enumerate(rows):
        sure[n] = (confidence or {}).get(b, [0.5] * length)
    end = np.zeros((len(commits), length), bool)
    for b, places in enumerate(ends or []):
        end[b, places] = True
    is_forced = np.array([row in forced for row in rows])
    return Trace(
        rollout=np.array([b for b, _ in rows]),
        index=np.array([i for _, i in rows]),
        masked=eligible,
        eligible=eligible,
        confidence=sure,
        probability=np.where(eligible, sure, 0.0),
        committed=committed,
        forced=committed & is_forced[:, None],
        committed_at=at,
        decisions=np.array([len(steps) for steps in commits]),
        nfe=np.array([len(steps) for steps in commits]),
        end=end,
    )


def real_trace(denoiser: LLaDA, policy: Policy | None = None) -> Trace:
    return record(denoiser, policy or small_policy(), list(Coins("validation", 8)), DECODING)


# Rollout 0 waits in its second step; rollout 1 leaves position 3 masked.
TWO = make_trace([[[2, 3], [], [0], [1]], [[0, 1], [2]]], 4, ends=[[2, 3], []])


def test_findings_of_two_rollouts_by_hand() -> None:
    findings = Findings.of(TWO)
    assert findings.order.tolist()[0] == [0.75, 1.0, 0.25, 0.25]
    assert findings.order[1] == pytest.approx([0.5, 0.5, 1.0, NAN], nan_ok=True)
    assert findings.nfe.tolist() == [4, 2] and findings.content.tolist() == [2, 4]
    assert findings.tokens_by_step.mean.tolist() == [2, 0.5, 1, 1]
    assert findings.tokens_by_step.count.tolist() == [2, 2, 1, 1]
    assert findings.tokens_by_step.low.tolist() == pytest.approx([2, 0.1, 1, 1])
    assert findings.running.tolist() == [1, 1, 0.5, 0.5]
    assert findings.end_share.tolist() == [0.5, 0, 0, 0]
    assert findings.tail_share.tolist() == [0.25, 0, 0, 0]
    # The steps of rollout 0 take quarters of its time, those of rollout 1 halves.
    assert findings.tokens_by_time.mean == pytest.approx([2] * 5 + [1] * 15)


def test_a_share_of_nothing_is_unknown() -> None:
    findings = Findings.of(make_trace([[[0], []]], 2))
    assert findings.end_share == pytest.approx([0, NAN], nan_ok=True)
    assert np.isnan(findings.tail_done.mean).all() and not findings.tail_done.count.any()


def test_the_pace_adds_up_to_the_tokens_committed(tiny_llada: LLaDA) -> None:
    trace = real_trace(tiny_llada)
    for row in range(len(trace.nfe)):
        mine = trace.rollout == row
        alone = make_trace(
            [[np.flatnonzero(trace.committed[n]).tolist() for n in np.flatnonzero(mine)]], 8
        )
        tokens = pace(alone).mean.mean() * trace.nfe[row]
        assert tokens == pytest.approx((trace.committed_at[row] >= 0).sum())


def test_the_response_of_a_threshold_is_a_step() -> None:
    generator = np.random.default_rng(0)
    confidence = {0: generator.random(2000).tolist()}
    trace = make_trace([[list(range(2000))]], 2000, confidence)
    step = (trace.confidence > 0.6) & trace.eligible
    band = confidence_response(Trace(**(vars(trace) | {"probability": step.astype(float)})))["all"]
    below, above = band.at < 0.6, band.at > 0.6
    assert not band.high[below].any() and (band.low[above & (band.count >= 10)] == 1).all()
    for index, (low, high) in enumerate(pairwise(CONFIDENCE_EDGES)):
        inside = (trace.confidence >= low) & (trace.confidence < high)
        assert band.count[index] == inside.sum()


def test_periods_part_the_observations_and_few_say_nothing(tiny_llada: LLaDA) -> None:
    trace = real_trace(tiny_llada)
    bands = confidence_response(trace)
    counts = sum(bands[name].count for name in PERIODS)
    assert np.array_equal(counts, bands["all"].count)
    assert counts.sum() == trace.eligible.sum()
    few = bands["all"].count < 10
    assert np.isnan(bands["all"].mean[few]).all() and not np.isnan(bands["all"].mean[~few]).any()
    # One forward, whose middle is the middle of the time.
    only = confidence_response(make_trace([[[0]]], 1))
    assert [only[name].count.sum() for name in PERIODS] == [0, 1, 0]


def test_the_probability_map_is_a_mean_over_eligible_positions(tiny_llada: LLaDA) -> None:
    trace = real_trace(tiny_llada)
    seen = defaultdict(list)
    for n in range(len(trace.index)):
        for place in range(8):
            if trace.eligible[n, place]:
                seen[trace.index[n], place].append(trace.probability[n, place])
    found = probability_map(trace)
    assert found.shape == (trace.nfe.max(), 8)
    for step, place in np.ndindex(found.shape):
        expected = np.mean(seen[step, place]) if seen[step, place] else NAN
        assert found[step, place] == pytest.approx(expected, nan_ok=True)


def test_shares_done_rise_from_nothing_to_all(tiny_llada: LLaDA) -> None:
    trace = real_trace(tiny_llada)
    band = share_done(trace, np.ones_like(trace.end))
    assert band.at[0] == 0 and band.at[-1] == 1
    assert band.mean[0] == 0 and band.mean[-1] == pytest.approx(1)
    assert (np.diff(band.mean) >= 0).all()


def test_numbers_in_short_by_hand() -> None:
    confidence = {0: [0.9, 0.8, 0.7, 0.6], 1: [0.2, 0.4, 0.6, 0.8]}
    trace = make_trace(
        [[[0], [], [1, 2], [3]], [[3], [2], [1], [0]]], 4, confidence, [[2, 3], []], {(0, 3)}
    )
    found = summary(trace)
    assert found["empty_forwards"] == 1 / 8
    assert found["forced_forwards"] == 1 / 8 and found["forced_commits"] == 1 / 8
    assert found["committed_confidence"] == pytest.approx(5 / 8)
    assert found["confident_first"] == 1  # in both the surest is always next
    tied = np.corrcoef([1, 2.5, 2.5, 4], [1, 2, 3, 4])[0, 1]  # ranks of the steps 0, 2, 2, 3
    assert found["order_position"] == pytest.approx((tied - 1) / 2)
    assert found["order_position_content"] == pytest.approx((1 - 1) / 2)
    assert found["order_confidence"] == pytest.approx((-tied - 1) / 2)
    assert found["tail_share"] == 1 / 8
    # Rollout 0: the tail is position 3, at 4/4; the content is positions 0 and 1, at 1/4 and 3/4.
    assert found["tail_delay"] == pytest.approx(0.5)


def test_all_at_once_has_no_order_and_no_choice() -> None:
    found = summary(make_trace([[[0, 1, 2]]], 3, {0: [0.1, 0.2, 0.3]}))
    for name in ("order_position", "order_confidence", "confident_first", "tail_delay"):
        assert math.isnan(found[name])
    assert found["committed_confidence"] == pytest.approx(0.2)


def test_ties_of_confidence_count_half() -> None:
    trace = make_trace([[[0], [1, 2]]], 3, {0: [0.5, 0.5, 0.9]})
    assert summary(trace)["confident_first"] == pytest.approx((0.5 + 0) / 2)


def test_heuristics_are_recognised(tiny_llada: LLaDA) -> None:
    left = summary(real_trace(tiny_llada, LeftToRight(1)))
    assert left["order_position"] == pytest.approx(1)
    sure = summary(real_trace(tiny_llada, ConfidenceThreshold(0.2)))
    assert sure["confident_first"] == pytest.approx(1)
    assert sure["forced_commits"] == 0


def test_findings_are_json_without_nan() -> None:
    stored = json.loads(json.dumps(Findings.of(TWO).as_json(), allow_nan=False))
    assert stored["order"][1] == [0.5, 0.5, 1.0, None]
    assert stored["tokens_by_step"]["mean"] == [2, 0.5, 1, 1]
    assert set(stored["response"]) == {"all", *PERIODS}
    assert stored["scalars"]["empty_forwards"] == round(1 / 6, 4)
    assert stored["nfe"] == [4, 2]


def test_a_band_knows_where_it_says_something() -> None:
    band = Band.of(np.arange(3.0), [np.array([1.0, 3.0]), np.array([NAN]), np.array([5.0])])
    assert band.count.tolist() == [2, 0, 1] and band.median[0] == 2
    assert band.known.at.tolist() == [0, 2] and band.first(1).at.tolist() == [0]


def test_the_order_is_compared_with_the_confidence_of_the_first_step() -> None:
    trace = make_trace([[[0], [1], [2]]], 3, {0: [0.9, 0.6, 0.3]})
    confidence = trace.confidence.copy()
    confidence[1:] = [0.3, 0.6, 0.9]
    assert summary(replace(trace, confidence=confidence))["order_confidence"] == pytest.approx(-1)
