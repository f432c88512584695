"""Two runs have one key exactly if they are the same thing on the same problems."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import DECODING, Coins, small_policy

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.evaluation_set import EvaluationSet
from lit_unmask.evaluation.fingerprints import (
    denoiser_name,
    plain_settings,
    policy_hash,
    verifier_limits,
)
from lit_unmask.evaluation.grid import Setting
from lit_unmask.policies import (
    ConfidenceThreshold,
    ConfidenceTransformer,
    Dilated,
    EntropyBound,
    LearnedPolicy,
    LowConfidence,
    Policy,
)
from lit_unmask.rollout import Approximate, Decoding
from lit_unmask.tasks import ShortFunctions
from lit_unmask.tasks.gym import grade_exact
from lit_unmask.types import Problem
from lit_unmask.verifiers import ProgramVerifier
from lit_unmask.verifiers.mathematics import MathVerifier, grade_math
from lit_unmask.verifiers.prover import Effort
from lit_unmask.verifiers.sandbox import Limits, Strongest, Unsafe


def question(uid: str, text: str, answer: str = "1") -> Problem:
    messages = ({"role": "user", "content": text},)
    return Problem(uid, messages, answer, lambda completion, answer: 0.0)


def fingerprint(denoiser: Any, *problems: Problem) -> str:
    return EvaluationSet.of("x", "test", denoiser, problems).fingerprint


def test_the_fingerprint_is_of_uids_prompts_and_answers_in_order(
    tiny_llada: LLaDA, tiny_dream: Any
) -> None:
    a, b = question("a", "cart 1 : fig"), question("b", "cart 2 : fig ; total ?")
    prints = [
        fingerprint(tiny_llada, a, b),
        fingerprint(tiny_llada, b, a),
        fingerprint(tiny_llada, a),
        fingerprint(tiny_llada, a, replace(b, uid="c")),
        fingerprint(tiny_llada, a, question("b", "cart 2 : egg ; total ?")),
        fingerprint(tiny_llada, a, replace(b, answer="2")),
        fingerprint(tiny_dream, a, b),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint(tiny_llada, a, b) == prints[0]


def test_a_run_says_what_grading_may_use_where_verdicts_depend_on_it(tiny_llada: LLaDA) -> None:
    a, b = question("a", "cart 1 : fig"), question("b", "cart 2 : fig")
    low = Setting.of("low", LowConfidence(), DECODING)

    def key(*verifiers: Any) -> str:
        asked = [replace(p, verifier=v) for p, v in zip((a, b), verifiers, strict=True)]
        return EvaluationSet.of("x", "test", tiny_llada, asked).run(low, 0).key

    def programs(packages: tuple[str, ...] = (), **limits: float) -> ProgramVerifier:
        return ProgramVerifier(Strongest(Limits(**limits), packages))  # type: ignore[arg-type]

    plain = key(a.verifier, b.verifier)
    assert plain == key(grade_math, MathVerifier()) == key(a.verifier, grade_exact)
    five, ten = programs(seconds=5), programs(seconds=10)
    others = [
        key(five, five),
        key(ten, ten),
        key(five, ten),
        key(ten, five),
        key(programs(memory=64), programs(memory=64)),
        key(programs(("numpy",)), programs(("numpy",))),
        key(MathVerifier(Effort(1.0)), a.verifier),
    ]
    assert len({plain, *others}) == 1 + len(others)
    # The same in other words: numbers, order of packages, sandbox, and one problem without limits.
    assert key(five, five) == key(programs(seconds=5.0), grade_math)
    assert key(five, five) == key(*[ProgramVerifier(Unsafe())] * 2)
    both = [programs(("numpy", "sympy")), programs(("sympy", "numpy"))]
    assert key(*both) == key(both[0], both[0])
    [limits] = verifier_limits([replace(a, verifier=ten)])
    assert json.loads(json.dumps(limits)) == limits and limits["seconds"] == 10.0


def test_rules_around_different_policies_are_different_runs(tiny_llada: LLaDA) -> None:
    problems = EvaluationSet.of("coins", "test", tiny_llada, Coins("test", 2))

    def key(policy: Policy) -> str:
        return problems.run(Setting.of("rounds", policy, DECODING), 0).key

    keys = [key(Dilated(inner, 4)) for inner in (None, EntropyBound(0.1), EntropyBound(1.0))]
    assert len(set(keys)) == 3 and key(Dilated(EntropyBound(1.0), 4)) == keys[2]


def test_a_problem_that_was_drawn_twice_counts_once(tiny_llada: LLaDA) -> None:
    a, b = question("a", "cart 1 : fig"), question("b", "cart 2 : fig")
    problems = EvaluationSet.of("x", "test", tiny_llada, [a, b, a])
    assert list(problems.problems) == ["a", "b"]
    run = problems.run(Setting.of("low", LowConfidence(), DECODING), 0)
    assert run.num_problems == 2
    with pytest.raises(ConfigurationError, match="two different problems have the uid 'a'"):
        EvaluationSet.of("x", "test", tiny_llada, [a, b, question("a", "cart 2 : fig")])


def test_the_name_of_a_denoiser_follows_from_its_weights(tiny_checkpoint: Path) -> None:
    one, two = LLaDA(str(tiny_checkpoint)), LLaDA(str(tiny_checkpoint))
    assert denoiser_name(one) == denoiser_name(two)
    assert denoiser_name(one).startswith(f"{tiny_checkpoint} #")
    with torch.no_grad():
        two.network.model.layers[1].mlp.up_proj.weight += 1e-3
    assert denoiser_name(one) != denoiser_name(two)
    assert denoiser_name(one) != denoiser_name(LLaDA(str(tiny_checkpoint), dtype="bfloat16"))


def test_the_hash_of_a_policy_is_of_weights_and_settings() -> None:
    policies = [
        small_policy(0),
        small_policy(1),
        LearnedPolicy(small_policy(0).network, temperature=0.5),
        *(
            make_network(**changes)
            for changes in ({}, {"heads": 4}, {"confidence_gain": 1.0}, {"max_period": 9.0})
        ),
    ]
    hashes = [policy_hash(policy) for policy in policies]
    assert len(set(hashes)) == len(hashes) - 1  # the first is the one without changes
    assert hashes[3] == hashes[0] == policy_hash(copy.deepcopy(small_policy(0)).train())


def make_network(**changes: Any) -> LearnedPolicy:
    torch.manual_seed(0)
    sizes = {"width": 16, "heads": 2, "feed_forward": 16}
    return LearnedPolicy(ConfidenceTransformer(**(sizes | changes)))


def test_every_setting_of_policy_and_decoding_makes_another_run(tiny_llada: LLaDA) -> None:
    problems = EvaluationSet.of("coins", "test", tiny_llada, Coins("test", 2))
    tuning = EvaluationSet.of("coins", "tuning", tiny_llada, Coins("test", 2))
    base = Decoding(gen_length=8, block_length=4)
    decodings = [
        base,
        replace(base, block_length=2),
        replace(base, gen_length=16),
        replace(base, temperature=0.5),
        replace(base, on_empty="wait"),
        replace(base, approximate=Approximate(early_stop=True)),
    ]
    runs = [problems.run(Setting.of("p", LowConfidence(), way), 0) for way in decodings]
    runs += [
        problems.run(Setting.of("p", policy, base), 0)
        for policy in (LowConfidence(2), ConfidenceThreshold(0.9), EntropyBound(0.9))
    ]
    runs += [problems.run(Setting.of("p", small_policy(s), base), 0) for s in range(2)]
    runs.append(problems.run(Setting.of("p", LowConfidence(), base), 1))
    runs.append(tuning.run(Setting.of("p", LowConfidence(), base), 0))
    assert len({run.key for run in runs}) == len(runs)
    quick = replace(base, scheduling=replace(base.scheduling, max_rows=1, skip=False))
    assert problems.run(Setting.of("q", LowConfidence(), quick), 0).key == runs[0].key
    assert runs[0].params == {"k": 1} == plain_settings(LowConfidence())
    assert [(run.kind, bool(run.weights)) for run in runs[8:10]] == [
        ("heuristic", False),
        ("learned", True),
    ]


def test_prompts_that_the_denoiser_cannot_read_are_refused(tiny_llada: LLaDA) -> None:
    known = EvaluationSet.of("code", "test", tiny_llada, ShortFunctions("test", 3))
    known.check(gen_length=64)
    with pytest.raises(ConfigurationError, match=r"code, test: prompt length \d+ \+ gen_length=12"):
        known.check(gen_length=125)
    strange = EvaluationSet.of(
        "poems", "tuning", tiny_llada, [question("a", "cart 1"), question("b", "write a sonnet")]
    )
    with pytest.raises(ConfigurationError, match=r"poems, tuning: 'b' has words that the denoiser"):
        strange.check(gen_length=8)
