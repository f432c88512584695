"""Every policy under every decoding that the toy denoiser is decoded with."""

import pytest
from toy_rollouts import LENGTH, POLICIES

from lit_unmask.rollout import Decoding


@pytest.fixture(params=POLICIES)
def policy(request):
    return POLICIES[request.param]()


@pytest.fixture(params=[LENGTH, LENGTH // 4], ids=["full", "blocks"])
def block_length(request):
    return request.param


@pytest.fixture(params=["force", "wait"])
def on_empty(request):
    return request.param


@pytest.fixture(params=[0.0, 0.7], ids=["greedy", "drawn"])
def decoding(request, block_length, on_empty):
    return Decoding(LENGTH, block_length, request.param, on_empty)
