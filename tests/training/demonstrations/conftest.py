"""Recorded trajectories of a heuristic on a random denoiser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from toys import DECODING, Coins

from lit_unmask.denoisers import LLaDA
from lit_unmask.evaluation.grading import InProcess
from lit_unmask.policies import LowConfidence
from lit_unmask.training.demonstrations import (
    DemonstrationWriter,
    Demonstrator,
    Recipe,
    demonstrate,
)
from lit_unmask.types import Problem, Signals

SIGNALS = Signals(top_k=2, names={"entropy"})


@pytest.fixture(scope="session")
def expert(tiny_llada: LLaDA) -> Demonstrator:
    """Opens one position a step, in blocks of four of eight."""
    return Demonstrator(
        tiny_llada, LowConfidence(1), replace(DECODING, block_length=4), 5, InProcess(), SIGNALS
    )


@pytest.fixture(scope="session")
def problems() -> list[Problem]:
    return list(Coins("train", size=12))


@pytest.fixture(scope="session")
def store(
    expert: Demonstrator, problems: list[Problem], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Three files of correct trajectories."""
    folder = tmp_path_factory.mktemp("store")
    writer = DemonstrationWriter(folder, Recipe.of(expert))
    for start in (0, 4, 8):
        writer.add(demonstrate(expert, problems[start : start + 4]))
    return folder
