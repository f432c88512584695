from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lit_unmask.denoisers import Dream, LLaDA, Placement, Qwen3Diffusion, RemoteCode
from lit_unmask.preflight.found import find
from lit_unmask.preflight.spec import NotLoaded, Spec

PUBLISHED = {LLaDA: 8_015_581_184, Dream: 7_615_616_512, Qwen3Diffusion: 596_049_920}
NOWHERE = "nobody/has-this"


@pytest.mark.parametrize("kind", PUBLISHED, ids=lambda kind: kind.__name__)
def test_published_sizes_have_the_published_number_of_parameters(kind: type) -> None:
    spec = Spec(kind, {"path": NOWHERE, "dtype": "bfloat16"})
    assert spec.assumed
    assert spec.sizes.parameters == PUBLISHED[kind]
    assert spec.weight_bytes == 2 * PUBLISHED[kind]


def test_sizes_of_a_local_checkpoint_are_its_own(tiny_llada: LLaDA) -> None:
    spec = Spec(LLaDA, {"path": tiny_llada.identity["path"]})
    weights = {id(weight): weight.numel() for weight in tiny_llada.network.parameters()}
    assert not spec.assumed and not spec.missing
    assert spec.sizes.parameters == sum(weights.values())
    assert spec.sizes.vocab_size == tiny_llada.vocab_size


def test_prompts_are_the_denoisers(tiny_llada: LLaDA, tmp_path: Path) -> None:
    from toys import Coins

    problems = list(Coins("train", size=3))
    spec = Spec(LLaDA, {"path": tiny_llada.identity["path"]})
    assert spec.readable
    assert spec.encode(problems).tokens.equal(tiny_llada.encode(problems).tokens)


def test_weights_that_are_not_here_come_with_a_command() -> None:
    missing = Spec(LLaDA, {"path": NOWHERE, "revision": "abc"}).missing[0]
    assert NOWHERE in missing.what
    assert missing.remedy == f"hf download {NOWHERE} --revision abc"


def test_a_config_alone_gives_sizes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_checkpoint / "config.json", tmp_path)
    spec = Spec(LLaDA, {"path": str(tmp_path)})
    assert not spec.assumed
    assert spec.sizes == Spec(LLaDA, {"path": str(tiny_checkpoint)}).sizes
    assert "safetensors" in spec.missing[0].what


def test_a_truncated_file_is_missing(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "truncated" in Spec(LLaDA, {"path": str(tmp_path)}).missing[0].what


def test_another_family_is_refused(tiny_dream_checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="model_type='Dream'"):
        _ = Spec(LLaDA, {"path": str(tiny_dream_checkpoint)}).config


def test_a_path_that_is_nothing_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match="/nowhere/llada"):
        find("/nowhere/llada", None)


def test_code_is_not_run_to_learn_sizes() -> None:
    spec = Spec(RemoteCode, {"path": NOWHERE})
    with pytest.raises(NotLoaded, match="RemoteCode"):
        _ = spec.sizes
    assert spec.missed == "the size of RemoteCode"


def test_what_only_a_loaded_denoiser_has_is_refused_and_noted() -> None:
    spec = Spec(LLaDA, {"path": NOWHERE})
    assert (spec.width, spec.vocab_size, spec.mask_id) == (4096, 126_464, 126_336)
    assert spec.missed is None
    for name in ("network", "tokenizer"):
        with pytest.raises(NotLoaded, match=f"{name} of LLaDA"):
            getattr(spec, name)
        assert spec.missed is not None and name in spec.missed


def test_quantisation_shrinks_the_blocks_alone() -> None:
    from transformers import BitsAndBytesConfig

    placement = Placement(quantization=BitsAndBytesConfig(load_in_4bit=True))
    arguments = {"path": NOWHERE, "dtype": "bfloat16", "placement": placement}
    sizes = (spec := Spec(LLaDA, arguments)).sizes
    outer = sizes.parameters - sizes.in_layers
    assert outer == pytest.approx(2 * 126_464 * 4096, abs=4096)
    assert spec.weight_bytes == 2 * outer + sizes.in_layers * 4.5 / 8


def test_the_published_config_survives_a_round_trip() -> None:
    for kind in PUBLISHED:
        config = kind.stock_config(kind.published)
        again = kind.stock_config(json.loads(json.dumps(kind.original_config(config))))
        assert again.to_dict() == config.to_dict()
