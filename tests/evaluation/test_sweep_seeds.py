"""What does not depend on the noise is computed with one seed, and stored with all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toys import Coins, small_policy

from lit_unmask.denoisers import LLaDA
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.evaluation.evaluation_set import EvaluationSet
from lit_unmask.evaluation.grid import Setting
from lit_unmask.evaluation.sweep import Sweep
from lit_unmask.policies import (
    ConfidenceThreshold,
    EntropyBound,
    LeftToRight,
    LowConfidence,
    Margin,
    Policy,
    Random,
)
from lit_unmask.policies.actions import Deterministic
from lit_unmask.report.reading import read
from lit_unmask.rollout import Decoding
from lit_unmask.training.experts import probe
from lit_unmask.types import Observation

# At temperature 0, so that nothing but the policy may depend on the noise.
FULL = Decoding(gen_length=8, block_length=8)


class Failing(LowConfidence):
    """Low confidence that counts its steps, and breaks when it has taken so many."""

    # Private, because public attributes are settings, which make it another policy.
    _steps = 0
    _most = 10**6

    def forward(self, observation: Observation) -> Any:
        self._steps += 1
        if self._steps > self._most:
            raise KeyboardInterrupt
        return super().forward(observation)


def coins(denoiser: LLaDA) -> EvaluationSet:
    return EvaluationSet.of("coins", "test", denoiser, Coins("test", 5))


def test_what_draws_nothing_is_computed_with_one_seed_and_stored_with_all(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    policy, problems, sweep = Failing(2), coins(tiny_llada), Sweep(tmp_path, chunk=2)
    settings = [Setting.of("low", policy, FULL)]
    settings.append(Setting.of("mine", small_policy(), FULL))
    found = [[sweep.outcomes(problems, one, seed) for seed in (3, 4)] for one in settings]
    assert policy._steps == 3 * 4 and (sweep.computed, sweep.found) == (15, 5)
    assert found[0][0] == found[0][1] and found[1][0] != found[1][1]
    [dataset] = read([tmp_path])
    by_name = {setting.run.name: setting for setting in dataset.test}
    assert [len(by_name[name].runs) for name in ("low", "mine")] == [2, 2]
    assert (by_name["low"].nfe[:, 0] == by_name["low"].nfe[:, 1]).all()
    other = evaluate(tiny_llada, policy, list(problems.problems.values()), FULL, seed=4)
    assert [row.correct for row in found[0][1].values()] == other.correct.tolist()
    assert [row.nfe for row in found[0][1].values()] == other.nfe.tolist()


def test_a_half_finished_seed_gives_another_one_what_it_has(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    policy, problems = Failing(2), coins(tiny_llada)
    setting = Setting.of("low", policy, FULL)
    policy._most = 6
    with pytest.raises(KeyboardInterrupt):
        Sweep(tmp_path, chunk=2).outcomes(problems, setting, seed=1)
    policy._most, sweep = 10**6, Sweep(tmp_path)
    sweep.outcomes(problems, setting, seed=2)
    assert (sweep.found, sweep.computed) == (2, 3)
    sweep.outcomes(problems, setting, seed=1)
    sweep.outcomes(problems, Setting.of("low", Failing(3), FULL), seed=1)
    assert (sweep.found, sweep.computed) == (7, 8)
    drawn = Setting.of("low", policy, replace(FULL, temperature=0.5))
    for seed in (1, 2):
        sweep.outcomes(problems, drawn, seed)
    assert sweep.computed == 18


@pytest.mark.parametrize(
    "policy",
    [
        *(LowConfidence(), Margin(), LeftToRight(), ConfidenceThreshold(), EntropyBound()),
        *(Random(), small_policy()),
    ],
    ids=lambda policy: type(policy).__name__,
)
def test_a_policy_says_whether_it_draws(tiny_llada: LLaDA, policy: Policy) -> None:
    assert isinstance(probe(policy, tiny_llada), Deterministic) != policy.draws
