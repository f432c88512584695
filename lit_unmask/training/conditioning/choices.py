"""Speeds from a list."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor


def ascending(name: str, values: Sequence[float]) -> list[float]:
    """Return values as floats.

    Raises:
        ValueError: If there are none, or they do not rise.
    """
    if not values or any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError(f"{name}={list(values)} must be at least one number, in rising order")
    return [float(value) for value in values]


def pick(values: Sequence[float], uniforms: Tensor) -> Tensor:
    """Return one of the values for each uniform number, all with the same probability."""
    table = torch.tensor(values, device=uniforms.device)
    return table[(uniforms * len(values)).long().clamp(max=len(values) - 1)]


def nearest(values: Sequence[float], speed: Tensor) -> Tensor:
    """Return the place of the value that is nearest to each speed."""
    return (speed[:, None] - torch.tensor(values, device=speed.device)).abs().argmin(1)
