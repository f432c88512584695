"""The bundled denoisers are what the README says they are."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from lit_unmask.denoisers import Denoiser, Dream, LLaDA
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.policies import LowConfidence, Random
from lit_unmask.rollout import Decoding
from lit_unmask.tasks import ShoppingSums

BUNDLED = [("tiny-llada", LLaDA, "llada"), ("tiny-dream", Dream, "Dream")]


@pytest.mark.parametrize(("name", "kind", "model_type"), BUNDLED)
def test_a_bundled_checkpoint_is_small_and_in_the_original_layout(name, kind, model_type) -> None:
    folder = files("lit_unmask.bundled") / name
    assert json.loads((folder / "config.json").read_text())["model_type"] == model_type
    assert len((folder / "model.safetensors").read_bytes()) < 12 * 2**20


# One token a step in blocks of two; in full diffusion there must be something left to learn.
LEAST = {"math/short": 0.95, "math/long": 0.95, "code/short": 0.85, "code/long": 0.85}


@pytest.mark.parametrize("task", LEAST)
@pytest.mark.parametrize(("name", "kind", "model_type"), BUNDLED)
def test_a_bundled_denoiser_was_good_in_short_blocks_alone(name, kind, model_type, task) -> None:
    folder = files("lit_unmask.bundled") / name
    measured = json.loads((folder / "metrics.json").read_text())[task]
    blocks = measured["block_length=2"]["accuracy"]
    whole = measured[f"block_length={measured['gen_length']}"]["accuracy"]
    assert measured["problems"] == 500 and whole <= blocks - 0.15
    assert blocks >= LEAST[task]


@pytest.mark.parametrize(("name", "kind", "model_type"), BUNDLED)
def test_a_bundled_denoiser_knows_every_word_of_the_tasks(name, kind, model_type) -> None:
    known = kind(name).tokenizer.get_vocab()
    assert not [word for word in ShoppingSums.words() if word not in known]


@pytest.mark.parametrize(("name", "kind", "model_type"), BUNDLED)
def test_the_order_of_unmasking_matters(name, kind: type[Denoiser], model_type) -> None:
    denoiser = kind(name)
    problems = list(ShoppingSums("validation", 24, steps=(3, 4)))
    careful = evaluate(denoiser, LowConfidence(1), problems, Decoding(64, 2))
    fast = evaluate(denoiser, LowConfidence(8), problems, Decoding(64, 64))
    random = evaluate(denoiser, Random(4), problems, Decoding(64, 64))
    assert careful.accuracy > 0.7
    assert careful.accuracy - 0.15 > max(fast.accuracy, random.accuracy)
