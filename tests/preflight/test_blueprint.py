from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lit_unmask.denoisers import Dream, LLaDA, Placement, Qwen3Diffusion, RemoteCode
from lit_unmask.errors import ConfigurationError
from lit_unmask.preflight.blueprint import Blueprint, find

PUBLISHED = {LLaDA: 8_015_581_184, Dream: 7_615_616_512, Qwen3Diffusion: 596_049_920}
NOWHERE = "nobody/has-this"


@pytest.mark.parametrize("kind", PUBLISHED, ids=lambda kind: kind.__name__)
def test_published_sizes_have_the_published_number_of_parameters(kind: type) -> None:
    blueprint = Blueprint(kind, {"path": NOWHERE, "dtype": "bfloat16"})
    assert blueprint.assumed
    assert blueprint.sizes.parameters == PUBLISHED[kind]
    assert blueprint.weight_bytes == 2 * PUBLISHED[kind]


def test_sizes_of_a_local_checkpoint_are_its_own(tiny_llada: LLaDA) -> None:
    blueprint = Blueprint(LLaDA, {"path": tiny_llada.identity["path"]})
    weights = {id(weight): weight.numel() for weight in tiny_llada.network.parameters()}
    assert not blueprint.assumed and not blueprint.missing
    assert blueprint.sizes.parameters == sum(weights.values())
    assert blueprint.sizes.vocab_size == tiny_llada.vocab_size


def test_prompts_are_the_denoisers(tiny_llada: LLaDA, tmp_path: Path) -> None:
    from toys import Coins

    problems = list(Coins("train", size=3))
    blueprint = Blueprint(LLaDA, {"path": tiny_llada.identity["path"]})
    assert blueprint.readable
    assert blueprint.encode(problems).tokens.equal(tiny_llada.encode(problems).tokens)


def test_weights_that_are_not_here_come_with_a_command() -> None:
    missing = Blueprint(LLaDA, {"path": NOWHERE, "revision": "abc"}).missing[0]
    assert NOWHERE in missing.what
    assert missing.remedy == f"hf download {NOWHERE} --revision abc"


def test_a_config_alone_gives_sizes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_checkpoint / "config.json", tmp_path)
    blueprint = Blueprint(LLaDA, {"path": str(tmp_path)})
    assert not blueprint.assumed
    assert blueprint.sizes == Blueprint(LLaDA, {"path": str(tiny_checkpoint)}).sizes
    assert "safetensors" in blueprint.missing[0].what


def test_a_truncated_file_is_missing(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "truncated" in Blueprint(LLaDA, {"path": str(tmp_path)}).missing[0].what


def test_another_family_is_refused(tiny_dream_checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="model_type='Dream'"):
        Blueprint(LLaDA, {"path": str(tiny_dream_checkpoint)})


def test_a_path_that_is_nothing_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match="/nowhere/llada"):
        find("/nowhere/llada", None)


def test_code_is_not_run_to_learn_sizes() -> None:
    with pytest.raises(ConfigurationError, match="RemoteCode"):
        Blueprint(RemoteCode, {"path": NOWHERE})


def test_quantisation_shrinks_the_blocks_alone() -> None:
    from transformers import BitsAndBytesConfig

    placement = Placement(quantization=BitsAndBytesConfig(load_in_4bit=True))
    arguments = {"path": NOWHERE, "dtype": "bfloat16", "placement": placement}
    sizes = (blueprint := Blueprint(LLaDA, arguments)).sizes
    outer = sizes.parameters - sizes.in_layers
    assert outer == pytest.approx(2 * 126_464 * 4096, abs=4096)
    assert blueprint.weight_bytes == 2 * outer + sizes.in_layers * 4.5 / 8


def test_the_published_config_survives_a_round_trip() -> None:
    for kind in PUBLISHED:
        config = kind.stock_config(kind.published)
        again = kind.stock_config(json.loads(json.dumps(kind.original_config(config))))
        assert again.to_dict() == config.to_dict()
