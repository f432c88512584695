"""The benchmark of flipped rows counts rows, and says how sure it is."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from lit_unmask.rollout import Ledger, Rollout

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(FOLDER))
flips = importlib.import_module("flips")


def result(response, nfe):
    tensors = torch.tensor(response), torch.tensor(nfe)
    response, steps = tensors
    return Rollout(response, steps, {"predictor": steps}, response, steps.bool(), Ledger())


def test_a_row_has_flipped_if_its_response_or_its_forwards_differ():
    expected = result([[1, 2], [3, 4], [5, 6]], [2, 2, 1])
    assert flips.count_flips(expected, expected) == 0
    assert flips.count_flips(result([[1, 2], [3, 7], [5, 6]], [2, 1, 1]), expected) == 1
    assert flips.count_flips(result([[1, 2], [3, 7], [5, 6]], [1, 2, 1]), expected) == 2


def test_no_flip_among_few_rows_says_little():
    found = flips.Flips("threshold", 0.5, "64 rows", rows=100, flipped=0)
    # Wilson: z^2 / (n + z^2) with z = 1.96.
    assert found.record() | {"high": 0} == {
        **{"policy": "threshold", "temperature": 0.5, "batch": "64 rows", "rows": 100},
        **{"flipped": 0, "share": 0.0, "low": 0.0, "high": 0},
    }
    assert found.record()["high"] == pytest.approx(1.96**2 / (100 + 1.96**2), abs=1e-4)
    assert found.row() == "| threshold | 0.5 | 64 rows | 100 | 0 | 0.00% | 0.00% to 3.70% |"
    assert all(one != other for one, other in flips.BATCHES.values())
