from __future__ import annotations

from typing import Any

import pytest
import torch

from lit_unmask.errors import ConfigurationError
from lit_unmask.preflight.devices import Devices, find_devices

LARGE, SMALL = 8_000_000_000, 500_000
RANKS = {
    "auto on a CPU": ({"accelerator": "cpu", "devices": "auto"}, 1),
    "a number": ({"accelerator": "cpu", "devices": 2}, 2),
    "a number as text": ({"accelerator": "cpu", "devices": "3"}, 3),
    "a list": ({"accelerator": "gpu", "devices": [0, 3]}, 2),
    "a list as text": ({"accelerator": "gpu", "devices": "0,1,2"}, 3),
    "several nodes": ({"accelerator": "gpu", "devices": 8, "num_nodes": 4}, 32),
}
MISTAKES = {
    "no such accelerator": ({"accelerator": "abacus"}, "abacus"),
    "no number": ({"devices": "few"}, "few"),
    "no device": ({"devices": 0}, "at least 1"),
}
TRAINER: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "num_nodes": 1}


@pytest.mark.parametrize("case", RANKS)
def test_ranks_are_devices_times_nodes(case: str) -> None:
    settings, ranks = RANKS[case]
    assert find_devices(TRAINER | settings).ranks == ranks


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named(case: str) -> None:
    settings, word = MISTAKES[case]
    with pytest.raises(ConfigurationError, match=word):
        find_devices(TRAINER | settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_here_is_missing() -> None:
    devices = find_devices(TRAINER | {"accelerator": "gpu", "devices": 8})
    (missing,) = devices.missing(SMALL)
    assert missing.what == "8 cuda devices are asked for and 0 are here"
    assert devices.device.type == "cpu"


def test_fewer_devices_than_asked_come_with_a_flag() -> None:
    devices = Devices("cuda", True, 8, 1, 2, "some GPU", 24e9)
    (missing,) = devices.missing(LARGE)
    assert "--trainer.devices=2" in missing.remedy
    assert Devices("cuda", True, 8, 1, 8, "some GPU", 24e9).missing(LARGE) == []


def test_a_large_denoiser_is_not_meant_for_a_cpu_unless_it_is_said_so() -> None:
    found = Devices("cpu", False, 1, 1, 2, "CPU", None)
    said = Devices("cpu", True, 1, 1, 2, "CPU", None)
    assert found.missing(LARGE) and not found.missing(SMALL) and not said.missing(LARGE)
