"""Tiny random checkpoints in both original layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from lit_unmask.denoisers import Denoiser, DenoiserShape, Dream, LLaDA
from lit_unmask.types import Problem, Prompt

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


@pytest.fixture(scope="session")
def write_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Writer:
    """Return a function that writes a checkpoint with sine weights and returns its folder."""

    def write(family: type[Denoiser], shape: DenoiserShape = SHAPE) -> Path:
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


@pytest.fixture(scope="session", params=["llada", "dream"])
def denoiser(request: pytest.FixtureRequest) -> Denoiser:
    """Each family in turn."""
    return request.getfixturevalue(request.param)


def _normalise(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()


def _rotate(x: Tensor) -> Tensor:
    """Rotate channel pairs ``(c, c + d/2)`` of ``[heads, S, d]`` by position times frequency."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[1])[:, None] * 10_000.0 ** -(torch.arange(half) / half)
    left, right = x[..., :half], x[..., half:]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


def slow_logits(weights: dict[str, Tensor], names: dict[str, str], tokens: Tensor) -> Tensor:
    """Run the architecture of LLaDA and Dream in plain torch on one row without padding.

    Args:
        weights: A checkpoint's tensors under their original names.
        names: Role -> original name, with ``{}`` for the layer.
        tokens: ``[S]``.

    Returns:
        ``[S, V]`` logits, unshifted.
    """

    def linear(role: str, layer: int, x: Tensor) -> Tensor:
        name = names[role].format(layer)
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", torch.zeros(()))

    x = weights[names["embedding"] + ".weight"][tokens]
    for layer in range(SHAPE.layers):
        h = _normalise(x, weights[names["attention_norm"].format(layer) + ".weight"])
        q, k, v = (
            linear(role, layer, h).unflatten(-1, (SHAPE.heads, -1)).transpose(0, 1)
            for role in ("q", "k", "v")
        )
        scores = _rotate(q) @ _rotate(k).mT / q.shape[-1] ** 0.5
        attended = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
        x = x + linear("attention_out", layer, attended)
        h = _normalise(x, weights[names["feed_forward_norm"].format(layer) + ".weight"])
        gate = torch.nn.functional.silu(linear("gate", layer, h))
        x = x + linear("down", layer, gate * linear("up", layer, h))
    return linear("head", 0, _normalise(x, weights[names["norm"] + ".weight"]))
