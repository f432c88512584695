"""Tiny random denoisers that know the words of the bundled tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch
import yaml
from toys import config

from lit_unmask.denoisers import Denoiser, DenoiserShape, Dream, LLaDA
from lit_unmask.pretrain import DreamVocabulary, LLaDAVocabulary
from lit_unmask.pretrain.vocabulary import Vocabulary
from lit_unmask.tasks import ShoppingSums, ShortFunctions

# Files with few tests that take long: a process that met one last would keep the others waiting.
FIRST = ("test_results", "test_ddp", "test_ranks", "test_notebooks", "test_strategy", "test_study")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    rank = {stem: place for place, stem in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(FIRST)))


def write_tiny(family: type[Denoiser], vocabulary: Vocabulary, folder: Path, seed: int) -> Path:
    """Write a random checkpoint with the vocabulary of the bundled tasks; returns its folder."""
    tokenizer = vocabulary.build([*ShoppingSums.words(), *ShortFunctions.words()])
    shape = DenoiserShape(
        width=16,
        layers=2,
        heads=2,
        feed_forward=24,
        vocab_size=len(tokenizer),
        max_length=128,
        mask_id=tokenizer.mask_token_id,
        eos_id=tokenizer.eos_token_id,
        pad_id=tokenizer.pad_token_id,
    )
    network = family.initialise(shape)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 2:  # large weights, so that proposals depend on what is unmasked
                weight.normal_(std=0.5, generator=generator)
    family.save(network, tokenizer, folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def unchanged_environment() -> Iterator[None]:
    """Whatever a run leaves in the environment ends with its file.

    Lightning's launchers write LOCAL_RANK there, and a process that starts with it waits for
    other ranks instead of starting them.
    """
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random LLaDA."""
    return write_tiny(LLaDA, LLaDAVocabulary(), tmp_path_factory.mktemp("tiny-llada"), seed=0)


@pytest.fixture(scope="session")
def tiny_dream_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Dream."""
    return write_tiny(Dream, DreamVocabulary(), tmp_path_factory.mktemp("tiny-dream"), seed=1)


@pytest.fixture(scope="session")
def tiny_llada(tiny_checkpoint: Path) -> LLaDA:
    """A random LLaDA."""
    return LLaDA(str(tiny_checkpoint))


@pytest.fixture(scope="session")
def tiny_dream(tiny_dream_checkpoint: Path) -> Dream:
    """A random Dream."""
    return Dream(str(tiny_dream_checkpoint))


@pytest.fixture
def base(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A configuration whose run writes into ``tmp_path / "out"``."""
    file = tmp_path / "base.yaml"
    file.write_text(yaml.safe_dump(config(tiny_checkpoint, tmp_path / "out")))
    return file
