"""Tiny random checkpoints in all original layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from lit_unmask.denoisers import (
    Denoiser,
    DenoiserShape,
    Dream,
    LLaDA,
    Qwen3Diffusion,
    StockDenoiser,
)
from lit_unmask.types import Problem, Prompt, Reading

SPECIAL = ["<|mdm_mask|>", "<|endoftext|>", "<|eot_id|>", "<|im_end|>", "<pad>", "<unk>"]
WORDS = [*SPECIAL, "user", "assistant", *"abcdefghijkl"]
MASK, EOS, EOT, IM_END, PAD, UNKNOWN = range(len(SPECIAL))
SHAPE = DenoiserShape(
    width=16,
    layers=2,
    heads=2,
    feed_forward=24,
    vocab_size=len(WORDS) + 3,
    max_length=40,
    mask_id=MASK,
    eos_id=EOS,
    pad_id=PAD,
)
TEMPLATE = (
    "{% for message in messages %}{{ message.role }} {{ message.content }} <|eot_id|> {% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)
Writer = Callable[..., Path]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of one token a word."""
    words = {word: index for index, word in enumerate(WORDS)}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|endoftext|>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<|mdm_mask|>", "<|eot_id|>", "<|im_end|>"],
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def fill_with_sines(network: PreTrainedModel) -> None:
    """Give every weight a value that depends on its place alone, not on a random generator."""
    with torch.no_grad():
        for offset, (_, weight) in enumerate(sorted(network.named_parameters())):
            index = torch.arange(weight.numel(), dtype=torch.float64)
            values = torch.sin(0.37 * index**2 + offset)
            scale, centre = (0.5, 0.0) if weight.ndim == 2 else (0.1, 1.0)
            weight.copy_((centre + scale * values).view_as(weight))


def make_problem(content: str, uid: str = "toy-0") -> Problem:
    """Return a problem that asks ``content``."""
    return Problem(uid, ({"role": "user", "content": content},), "", lambda text, answer: 0.0)


def make_prompt(rows: int, length: int, seed: int = 0) -> Prompt:
    """Return random prompts without padding."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(EOS, SHAPE.vocab_size, (rows, length), generator=generator)
    return Prompt(tokens, torch.ones(rows, length, dtype=torch.bool))


def make_response(rows: int, length: int, seed: int = 1) -> Tensor:
    """Return random responses, about half of them masked."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(EOS, SHAPE.vocab_size, (rows, length), generator=generator)
    return tokens.where(torch.rand(rows, length, generator=generator) < 0.5, MASK)


def edit_config(folder: Path, changes: dict[str, Any]) -> None:
    """Change fields of a checkpoint's ``config.json``."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_weights(folder: Path, changes: dict[str, Tensor | None]) -> None:
    """Change weights of a checkpoint; None removes one."""
    file = folder / "model.safetensors"
    kept = {k: value for k, value in (load_file(file) | changes).items() if value is not None}
    save_file(kept, file, metadata={"format": "pt"})
    (folder / "SHA256SUMS").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def write_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Writer:
    """Return a function that writes a checkpoint with sine weights and returns its folder."""

    def write(family: type[StockDenoiser], shape: DenoiserShape = SHAPE) -> Path:
        folder = tmp_path_factory.mktemp(family.__name__)
        network = family.initialise(shape)
        fill_with_sines(network)
        family.save(network, make_tokenizer(), folder)
        return folder

    return write


@pytest.fixture(scope="session")
def llada(write_checkpoint: Writer) -> LLaDA:
    """A tiny LLaDA."""
    return LLaDA(str(write_checkpoint(LLaDA)))


@pytest.fixture(scope="session")
def dream(write_checkpoint: Writer) -> Dream:
    """A tiny Dream."""
    return Dream(str(write_checkpoint(Dream)))


@pytest.fixture(scope="session")
def qwen3(write_checkpoint: Writer) -> Qwen3Diffusion:
    """A tiny Qwen3."""
    return Qwen3Diffusion(str(write_checkpoint(Qwen3Diffusion)))


@pytest.fixture(scope="session", params=["llada", "dream", "qwen3"])
def denoiser(request: pytest.FixtureRequest) -> Denoiser:
    """Each family in turn."""
    return request.getfixturevalue(request.param)


def values(reading: Reading) -> dict[str, Tensor]:
    """Return all that a reading says, by name."""
    said = {"proposal": reading.proposal, "confidence": reading.confidence}
    return said | dict(reading.signals)
