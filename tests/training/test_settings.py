"""The settings of training rounds."""

from __future__ import annotations

from typing import Any

import pytest

from lit_unmask.training.settings import Rounds


@pytest.mark.parametrize(
    "setting",
    [
        *({"group_size": 1}, {"num_iterations": 0}, {"replay_chunk": 0}),
        *({"adaptive_lr_kl": 0.0}, {"adaptive_lr_kl": 0.1, "num_iterations": 1}),
        *(
            {"target_kl": 0.0},
            {"kl_weight": -1.0},
            {"dynamic_sampling": -1},
        ),
    ],
    ids=str,
)
def test_rounds_refuse_values_that_cannot_work(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        Rounds(**setting)


def test_the_learning_rate_follows_how_far_a_round_moved_the_policy_within_bounds() -> None:
    rounds = Rounds(adaptive_lr_kl=0.1)
    assert rounds.adapted_rate(0.5, 1.0, 0.1) == pytest.approx(0.5)
    assert rounds.adapted_rate(0.5, 1.0, 0.1 / 0.81) == pytest.approx(0.45)
    assert rounds.adapted_rate(0.5, 1.0, 9.0) == pytest.approx(0.4)
    assert rounds.adapted_rate(0.5, 1.0, 0.0) == pytest.approx(0.55)
    assert rounds.adapted_rate(0.99, 1.0, 0.0) == 1.0
    assert rounds.adapted_rate(0.07, 1.0, 9.0) == pytest.approx(1 / 15)
    assert Rounds().adapted_rate(0.5, 1.0, 9.0) == 0.5
