"""A sweep computes what is missing, once, whatever the chunks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toys import DECODING, Coins, small_policy

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.evaluation.evaluation_set import EvaluationSet
from lit_unmask.evaluation.grid import Setting, best, on_fronts
from lit_unmask.evaluation.points import Point, wilson_interval
from lit_unmask.evaluation.store import Outcome, Store
from lit_unmask.evaluation.sweep import (
    FreshForwards,
    Ranks,
    Sweep,
    summarise,
)
from lit_unmask.policies import (
    ConfidenceThreshold,
    LowConfidence,
)
from lit_unmask.rollout import Decoding, Progress
from lit_unmask.types import Observation

# At temperature 0, so that nothing but the policy may depend on the noise.
FULL = replace(DECODING, block_length=8, temperature=0.0)
WAITING = replace(FULL, on_empty="wait")


class Failing(LowConfidence):
    """Low confidence that breaks when it has taken so many steps."""

    # Private, because public attributes are settings, which make it another policy.
    _steps = 0
    _most = 10**6

    def forward(self, observation: Observation) -> Any:
        self._steps += 1
        if self._steps > self._most:
            raise KeyboardInterrupt
        return super().forward(observation)


class Drawing(Failing):
    """The same, said to depend on the noise."""

    draws = True


def coins(denoiser: LLaDA, size: int = 5) -> EvaluationSet:
    return EvaluationSet.of("coins", "test", denoiser, Coins("test", size))


def without_seconds(outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    return {uid: replace(outcome, seconds=0) for uid, outcome in outcomes.items()}


@pytest.mark.parametrize("decoding", [DECODING, WAITING], ids=["force", "wait"])
@pytest.mark.parametrize("policy", [small_policy(), LowConfidence(3)], ids=["learned", "top"])
def test_outcomes_are_those_of_an_evaluation_whatever_the_chunks(
    tiny_llada: LLaDA, tmp_path: Path, policy: Any, decoding: Decoding
) -> None:
    problems, setting = coins(tiny_llada), Setting.of("mine", policy, decoding)
    expected = evaluate(tiny_llada, policy, list(problems.problems.values()), decoding, seed=3)
    found = []
    for chunk in (1, 2, 100):
        sweep = Sweep(tmp_path / str(chunk), chunk=chunk)
        outcomes = sweep.outcomes(problems, setting, seed=3)
        assert list(outcomes) == list(problems.problems)
        [run] = Store(tmp_path / str(chunk)).runs()
        assert (run.name, run.seed, run.num_problems) == ("mine", 3, 5)
        assert Store(tmp_path / str(chunk)).outcomes(run) == outcomes
        found.append(without_seconds(outcomes))
    assert found[0] == found[1] == found[2]
    rows = list(found[0].values())
    assert [row.correct for row in rows] == expected.correct.tolist()
    assert [row.nfe for row in rows] == expected.nfe.tolist()
    assert [row.tokens for row in rows] == expected.tokens.tolist()
    assert [row.still_masked for row in rows] == expected.still_masked.tolist()


@pytest.mark.parametrize("decoding", [DECODING, WAITING, replace(WAITING, block_length=2)])
def test_fresh_forwards_are_those_that_the_engine_computes(
    tiny_llada: LLaDA, decoding: Decoding
) -> None:
    heard: list[Progress] = []
    problems = list(Coins("test", 6))
    skipped = 0
    for seed in range(4):
        fresh = FreshForwards(len(problems), tiny_llada.mask_id, heard.append)
        result = evaluate(tiny_llada, small_policy(seed), problems, decoding, seed, fresh)
        assert int(fresh.count.sum()) == result.ledger.computed + result.ledger.shared
        assert (fresh.count <= result.nfe).all()
        skipped += int((result.nfe - fresh.count).sum())
    assert heard
    assert (skipped > 0) == (decoding.on_empty == "wait")


def test_what_is_in_the_store_is_not_computed_again(tiny_llada: LLaDA, tmp_path: Path) -> None:
    policy = Drawing(2)
    setting = Setting.of("low", policy, FULL)
    first = Sweep(tmp_path, chunk=2)
    some = coins(tiny_llada)
    first.outcomes(some, setting)
    assert policy._steps == 3 * 4  # chunks of 2, 2 and 1 problems, 8 positions in pairs
    again = Sweep(tmp_path, chunk=2)
    assert again.outcomes(some, setting) == first.outcomes(some, setting)
    assert policy._steps == 3 * 4
    assert (first.computed, first.found) == (5, 5)
    assert (again.computed, again.found) == (0, 5)
    again.outcomes(some, setting, seed=1)
    assert (again.computed, policy._steps) == (5, 2 * 3 * 4)


def test_an_interrupted_sweep_loses_one_chunk(tiny_llada: LLaDA, tmp_path: Path) -> None:
    policy, problems = Failing(2), coins(tiny_llada)
    setting = Setting.of("low", policy, FULL)
    policy._most = 6  # in the middle of the second chunk
    with pytest.raises(KeyboardInterrupt):
        Sweep(tmp_path, chunk=2).outcomes(problems, setting)
    policy._most = 10**6
    run = problems.run(setting, 0)
    assert len(Store(tmp_path).outcomes(run)) == 2
    sweep = Sweep(tmp_path, chunk=2)
    whole = Sweep(tmp_path / "whole").outcomes(problems, setting)
    assert without_seconds(sweep.outcomes(problems, setting)) == without_seconds(whole)
    assert (sweep.found, sweep.computed) == (2, 3)


def test_a_sweep_that_is_asked_to_stop_stores_its_chunk_first(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    class Stopping(Ranks):
        def should_stop(self) -> bool:
            return True

        def stop(self) -> None:
            raise InterruptedError

    setting, problems = Setting.of("low", LowConfidence(4), FULL), coins(tiny_llada)
    with pytest.raises(InterruptedError):
        Sweep(tmp_path, Stopping(), chunk=3).outcomes(problems, setting)
    assert len(Store(tmp_path).outcomes(problems.run(setting, 0))) == 3


def test_ranks_share_every_chunk(tiny_llada: LLaDA, tmp_path: Path) -> None:
    """Plays two ranks one after the other: the first one is told what the second computed."""
    setting, problems = Setting.of("mine", small_policy(), DECODING), coins(tiny_llada, 7)
    alone = Sweep(tmp_path / "alone", chunk=2).outcomes(problems, setting)
    sent: list[Any] = []

    class Second(Ranks):
        rank, world = 1, 2

        def broadcast(self, value: Any, source: int = 0) -> Any:
            if source == 1:
                sent.append(value)
                return value
            return missing if value == [] else ([], False) if isinstance(value, tuple) else alone

    missing = list(problems.problems)
    assert Sweep(tmp_path / "two", Second(), chunk=2).outcomes(problems, setting) == alone
    assert not (tmp_path / "two").exists()
    uids = [outcome.uid for share, _ in sent for outcome in share]
    assert uids == [missing[1], missing[3], missing[5]]

    class First(Ranks):
        rank, world = 0, 2

        def broadcast(self, value: Any, source: int = 0) -> Any:
            return sent.pop(0) if source == 1 else value

    shared = Sweep(tmp_path / "two", First(), chunk=2)
    assert without_seconds(shared.outcomes(problems, setting)) == without_seconds(alone)
    stored = [
        list(Store(tmp_path / name).outcomes(problems.run(setting, 0))) for name in ("alone", "two")
    ]
    assert stored[0] == stored[1] == missing
    assert shared.computed == 7


def test_a_new_name_reaches_runs_that_are_complete(tiny_llada: LLaDA, tmp_path: Path) -> None:
    problems, sweep = coins(tiny_llada), Sweep(tmp_path)
    for name in ("old", "new"):
        sweep.outcomes(problems, Setting.of(name, LowConfidence(4), FULL))
    assert [run.name for run in Store(tmp_path).runs()] == ["new"]
    assert sweep.computed == 5


def test_an_empty_chunk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="chunk=0 must be at least 1"):
        Sweep(tmp_path, chunk=0)


def make_outcome(uid: str, correct: float, nfe: int, tokens: int = 8) -> Outcome:
    return Outcome(uid, correct, nfe, {"fresh": nfe, "unchanged": 0}, tokens, False, 0.5)


def test_a_point_averages_problems_over_seeds() -> None:
    setting = Setting("mine", "learned", {}, small_policy(), DECODING)
    seeds = {
        4: {"a": make_outcome("a", 1.0, 2), "b": make_outcome("b", 0.0, 4)},
        5: {"a": make_outcome("a", 1.0, 3), "b": make_outcome("b", 1.0, 7)},
    }
    point = summarise(setting, seeds)
    assert (point.accuracy, point.nfe, point.tokens_per_forward) == (0.75, 4.0, 2.0)
    # As many problems as there are, and not four.
    assert (point.ci_low, point.ci_high) == wilson_interval(1.0, 2)
    assert (point.num_problems, point.seed, point.seconds) == (2, 4, 2.0)


def make_point(name: str, block_length: int, accuracy: float, nfe: float) -> Point:
    low, high = wilson_interval(accuracy, 100)
    numbers = {"tokens_per_forward": 1.0, "num_problems": 100, "seed": 0, "seconds": 0.0}
    return Point(name, "heuristic", {}, block_length, accuracy, low, high, nfe, **numbers)


def settings_of(points: list[Point]) -> list[Setting]:
    return [
        Setting.of(
            point.name,
            ConfidenceThreshold(),
            Decoding(gen_length=64, block_length=point.block_length),
            {"place": place},
        )
        for place, point in enumerate(points)
    ]


def test_settings_on_a_front_of_their_heuristic_are_tested() -> None:
    points = [
        make_point("a", 8, 0.5, 10),  # on the front
        make_point("a", 8, 0.4, 12),
        make_point("a", 64, 0.45, 11),  # beaten by the first, but best in full diffusion
        make_point("a", 64, 0.45, 13),
        make_point("a", 16, 0.9, 30),  # on the front
        make_point("b", 8, 0.1, 40),  # beaten by all of a, but its own front
        make_point("b", 8, 0.05, 41),
    ]
    settings = settings_of(points)
    chosen = on_fronts(list(zip(settings, points, strict=True)))
    assert [setting.params["place"] for setting in chosen] == [0, 2, 4, 5]


def test_a_cell_has_the_setting_of_fewest_forwards_that_reaches_the_interval() -> None:
    points = [
        make_point("a", 8, 0.68, 20),
        make_point("b", 8, 0.66, 15),
        make_point("b", 8, 0.5, 5),
        make_point("a", 8, 0.9, 60),
        make_point("c", 8, 0.9, 50),
    ]
    target = make_point("policy", 64, 0.7, 10)  # 0.604 to 0.782
    assert best(points, target) == 1
    assert best(points, make_point("policy", 64, 1.0, 10)) == 4
