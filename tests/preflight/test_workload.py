from __future__ import annotations

from typing import Any

import pytest
from lit_unmask.callbacks import AccuracyNFE, Baseline
from toys import Coins, make_data, make_module

from lit_unmask.denoisers import LLaDA
from lit_unmask.policies import ConfidenceThreshold
from lit_unmask.preflight.assumptions import Assumptions, Range
from lit_unmask.preflight.dry_run import Request
from lit_unmask.preflight.evaluation import callback_works
from lit_unmask.preflight.plan import balance_of
from lit_unmask.preflight.workload import SIGNAL, plan_run, rounds_of, validations_of
from lit_unmask.rollout import Decoding, Scheduling

# Lightning's own defaults.
TRAINER: dict[str, Any] = {
    "max_epochs": None,
    "max_steps": -1,
    "limit_train_batches": None,
    "limit_val_batches": None,
    "val_check_interval": None,
    "check_val_every_n_epoch": 1,
    "callbacks": None,
}
ROUNDS = {
    "one epoch": ({"max_epochs": 1}, 100, (6, 6)),
    "steps stop first": ({"max_epochs": 3, "max_steps": 10}, 100, (10, 6)),
    "epochs stop first": ({"max_epochs": 1, "max_steps": 10}, 100, (6, 6)),
    "steps alone": ({"max_steps": 20}, 100, (20, 6)),
    "epochs without end": ({"max_epochs": -1, "max_steps": 20}, 100, (20, 6)),
    "what Lightning does unless told": ({}, 100, (6000, 6)),
    "a number of batches": ({"max_epochs": 2, "limit_train_batches": 4}, 100, (8, 4)),
    "a share of the batches": ({"max_epochs": 2, "limit_train_batches": 0.5}, 100, (6, 3)),
    "fewer problems than a round": ({"max_epochs": 1}, 15, (0, 0)),
}
VALIDATIONS = {
    "after each epoch": ({}, 12, 2),
    "every second epoch": ({"check_val_every_n_epoch": 2}, 24, 2),
    "twice an epoch": ({"val_check_interval": 0.5}, 12, 4),
    "every so many rounds": ({"val_check_interval": 5, "check_val_every_n_epoch": None}, 12, 2),
    "never": ({"limit_val_batches": 0}, 12, 0),
}


@pytest.mark.parametrize("case", ROUNDS)
def test_rounds_are_those_that_lightning_runs(case: str) -> None:
    settings, problems, expected = ROUNDS[case]
    assert rounds_of(TRAINER | settings, problems, 16, 1) == expected


def test_ranks_share_a_round() -> None:
    assert rounds_of(TRAINER | {"max_epochs": 1}, 100, 16, 8) == (6, 6)


@pytest.mark.parametrize("case", VALIDATIONS)
def test_validations_are_those_that_lightning_runs(case: str) -> None:
    settings, rounds, expected = VALIDATIONS[case]
    assert validations_of(TRAINER | settings, rounds, epoch=6) == expected


def request_of(denoiser: LLaDA, trainer: dict[str, Any], decoding: Decoding) -> Request:
    model = make_module(denoiser, decoding=decoding)
    data = make_data(train=Coins("train", size=10))
    nfe = Assumptions(nfe=(2.0, 6.0))
    settings = TRAINER | {"max_epochs": 1} | trainer
    return Request("fit", settings, model, data, assumptions=nfe)


def test_row_forwards_are_counted_by_hand(tiny_llada: LLaDA) -> None:
    run = plan_run(request_of(tiny_llada, {}, Decoding(8, 4, on_empty="wait")), 1, 1.0)
    training, validation = run.works
    assert (run.rounds, training.rollouts, validation.rollouts) == (5, 5 * 2 * 4, 5)
    assert training.charged == Range(80.0, 160.0, 240.0)
    # 55 % of the steps commit; three of four rows take their first forward from the fourth.
    assert training.computed.usual == pytest.approx(160 * 0.55 - 30)
    assert training.skip == pytest.approx(160 * 0.45)
    assert training.share == 30
    assert training.replayed.usual == pytest.approx(2 * SIGNAL * 160)
    assert validation.computed.usual == pytest.approx(5 * 4 * 0.55)


@pytest.mark.parametrize(
    ("decoding", "computed"),
    [
        (Decoding(8, 4, on_empty="force"), 160 - 30),
        (Decoding(8, 4, temperature=1.0), 160),
        (Decoding(8, 4, scheduling=Scheduling(skip=False, share=False)), 160),
    ],
    ids=["forced steps commit", "draws are not shared", "nothing is saved"],
)
def test_what_does_not_save_is_not_counted(
    tiny_llada: LLaDA, decoding: Decoding, computed: float
) -> None:
    assert (
        plan_run(request_of(tiny_llada, {}, decoding), 1, 1.0).works[0].computed.usual == computed
    )


def test_forced_rollouts_run_what_waiting_ones_run() -> None:
    wait, force = (Decoding(256, 256, on_empty=kind) for kind in ("wait", "force"))
    assumptions = Assumptions()
    waiting, forced = assumptions.learned_nfe(wait), assumptions.learned_nfe(force)
    assert waiting.times(0.55).usual == pytest.approx(forced.usual)
    assert forced.low < waiting.low and forced.high < waiting.high


def test_baselines_run_once(tiny_llada: LLaDA) -> None:
    baselines = {
        "surest": Baseline(ConfidenceThreshold(0.9)),
        "all": Baseline(ConfidenceThreshold(0)),
    }
    trainer = {"callbacks": [AccuracyNFE(baselines)], "val_check_interval": 1}
    works = callback_works(request_of(tiny_llada, trainer, Decoding(8, 4)), 20)
    assert [(work.name, work.rollouts) for work in works] == [
        ("baseline surest", 5),
        ("baseline all", 5),
    ]


def test_left_out_prompts_make_fewer_rounds(tiny_llada: LLaDA) -> None:
    run = plan_run(request_of(tiny_llada, {}, Decoding(8, 4)), 1, kept=0.6)
    assert (run.problems, run.rounds) == (6, 3)


def test_ranks_wait_for_the_slowest() -> None:
    assert [balance_of(ranks) for ranks in (1, 8, 64, 512)] == [1.0, 0.90, 0.84, 0.84]
    assert 0.90 < balance_of(4) < 1.0
