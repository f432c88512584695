"""Runs stand in one comparison only where nothing but the policy differs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from toy_sweeps import make_run

from lit_unmask.errors import ConfigurationError
from lit_unmask.report.reading import check_comparable


def test_runs_of_one_comparison_may_differ_in_policy_block_length_and_dataset() -> None:
    check_comparable([])
    check_comparable(
        [
            make_run(block_length=block_length, params={"threshold": threshold}, seed=seed)
            for block_length in (8, 64)
            for threshold in (0.5, 0.9)
            for seed in (0, 1)
        ]
        + [
            make_run(dataset="code", problems="q", seed=3, gen_length=32),
            make_run(dataset="code", problems="q", seed=3, gen_length=32, policy="Margin"),
        ]
    )


@pytest.mark.parametrize(
    "other",
    [
        {"problems": "p1"},
        {"denoiser": "large"},
        {"stage": "tuning"},
        {"gen_length": 128},
        {"temperature": 1.0},
        {"limits": [{"seconds": 5.0}]},
    ],
)
def test_runs_that_do_not_fit_together_are_refused(other: dict[str, Any]) -> None:
    [(name, value)] = other.items()
    mine = make_run(name="mine", policy="LearnedPolicy", params={}, **other)
    has = re.escape(str(value))
    said = f"math: threshold .*, BL 64 has {name}=.* and mine, BL 64 has {name}={has}, .*; "
    with pytest.raises(ConfigurationError, match=said):
        check_comparable([make_run(), make_run(dataset="code"), mine])


def test_approximate_runs_are_not_compared_with_exact_ones() -> None:
    cached = make_run(block_length=8, approximate={"cache": "dual", "early_stop": False})
    assert cached.approximations == {"cache": "dual"} and cached.label.endswith("BL 8, cache=dual")
    check_comparable([cached, replace(cached, policy="Margin")])
    exact = make_run(approximate={})
    assert exact.approximations == {} and "cache" not in exact.label
    check_comparable([exact, make_run(block_length=8)])
    with pytest.raises(
        ConfigurationError, match=r"approximations=\{\}.*same decoding\.approximate"
    ):
        check_comparable([exact, cached])


def test_policies_must_have_been_run_with_the_same_seeds() -> None:
    runs = [make_run(seed=0), make_run(seed=1), make_run(policy="Margin", name="margin", seed=0)]
    with pytest.raises(
        ConfigurationError, match=r"seeds \[0, 1\] and margin .* has the seeds \[0\]"
    ):
        check_comparable(runs)
    check_comparable([*runs, replace(runs[2], seed=1, name="margin again")])
