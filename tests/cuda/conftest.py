"""The device that these tests are about; LIT_UNMASK_TEST_DEVICE=cpu rehearses them."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable

import pytest
import torch

from lit_unmask.denoisers import Denoiser, Dream, LLaDA
from lit_unmask.evaluation.decode import encode_groups, rollout_numbers
from lit_unmask.policies import Policy
from lit_unmask.rollout import Decoding, Noise, Rollout, rollout
from lit_unmask.tasks import ShoppingSums

LENGTH = 32
Decode = Callable[..., Rollout]


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where things run that are compared with the CPU's."""
    return torch.device(os.environ.get("LIT_UNMASK_TEST_DEVICE", "cuda"))


@pytest.fixture(scope="session", params=["tiny-llada", "tiny-dream"])
def bundled(request: pytest.FixtureRequest) -> Denoiser:
    """Each bundled denoiser, float32 on the CPU."""
    return {"tiny-llada": LLaDA, "tiny-dream": Dream}[request.param](request.param)


@pytest.fixture(scope="session")
def problems() -> list:
    """Problems of several prompt lengths."""
    return list(ShoppingSums("test", 4, seed=3))


def placed(denoiser: Denoiser, device: torch.device, dtype: torch.dtype) -> Denoiser:
    """Return a copy elsewhere."""
    return copy.deepcopy(denoiser).to(device=device, dtype=dtype)


def decode(
    denoiser: Denoiser, policy: Policy, problems: list, decoding: Decoding, group: int = 2
) -> Rollout:
    """Decode groups of rollouts, recorded, and return them on the CPU."""
    home = denoiser.device
    noise = Noise(7, rollout_numbers(problems, group).to(home))
    prompt = encode_groups(denoiser, problems, group)
    chosen = copy.deepcopy(policy).to(home).eval()
    return rollout(denoiser, chosen, prompt, decoding, noise, record=True)


def assert_same(found: Rollout, expected: Rollout) -> None:
    """Check that two rollouts took the same trajectories."""
    for name in ("response", "nfe", "committed_at"):
        one, two = getattr(found, name).cpu(), getattr(expected, name).cpu()
        assert torch.equal(one, two), name
