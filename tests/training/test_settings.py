"""The settings of training rounds."""

from __future__ import annotations

from typing import Any

import pytest

from lit_unmask.training.settings import Rounds


@pytest.mark.parametrize(
    "setting",
    [
        *({"group_size": 1}, {"num_iterations": 0}, {"replay_chunk": 0}),
        *({"target_kl": 0.0}, {"skip_broken": -1}),
    ],
    ids=str,
)
def test_rounds_refuse_values_that_cannot_work(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        Rounds(**setting)
