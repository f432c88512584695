"""Metrics over uneven batches equal those of the whole set."""

import pytest
import torch

from lit_unmask.evaluation.decode import Evaluation
from lit_unmask.evaluation.metrics import RolloutMetrics
from lit_unmask.rollout import Ledger

GENERATOR = torch.Generator().manual_seed(0)
CORRECT = (torch.rand(20, generator=GENERATOR) < 0.4).float()
NFE = torch.randint(1, 40, (20,), generator=GENERATOR)
TOKENS = torch.randint(0, 60, (20,), generator=GENERATOR)
STUCK = torch.rand(20, generator=GENERATOR) < 0.3
UNFINISHED = torch.arange(20) < 3
REWARDS = torch.rand(20, generator=GENERATOR)


def evaluation(rows):
    return Evaluation(
        CORRECT[rows], NFE[rows], TOKENS[rows], STUCK[rows], [""], Ledger(), seconds=1.0,
        unfinished=int(UNFINISHED[rows].sum()),
    )  # fmt: skip


def computed(parts):
    metrics = RolloutMetrics()
    for rows in parts:
        metrics.update(evaluation(rows), REWARDS[rows])
    return {name: float(metric.compute()) for name, metric in metrics.means.items()}


def test_the_whole_set_by_hand():
    assert computed([slice(0, 20)]) == pytest.approx(
        {
            "accuracy": float(CORRECT.sum()) / 20,
            "nfe": float(NFE.sum()) / 20,
            "tokens_per_forward": float(TOKENS.sum()) / float(NFE.sum()),
            "still_masked": int(STUCK.sum()) / 20,
            "reward": float(REWARDS.sum()) / 20,
            "unfinished_share": 3 / 20,
        }
    )


def test_forwards_by_kind_are_means_of_their_own():
    metrics, spent = RolloutMetrics(), torch.arange(20)
    for rows in (slice(0, 1), slice(1, 20)):
        metrics.update(evaluation(rows), REWARDS[rows], {"corrector": spent[rows]})
    assert float(metrics.means["forwards/corrector"].compute()) == pytest.approx(9.5)
    assert set(metrics.means) - set(RolloutMetrics().means) == {"forwards/corrector"}


def test_uneven_batches_change_nothing():
    parts = [slice(0, 1), slice(1, 8), slice(8, 20)]
    assert computed(parts) == pytest.approx(computed([slice(0, 20)]))


def test_the_ratio_is_that_of_an_evaluation():
    whole = evaluation(slice(0, 20))
    assert computed([slice(0, 20)])["tokens_per_forward"] == pytest.approx(whole.tokens_per_forward)
