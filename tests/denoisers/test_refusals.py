"""A wrong checkpoint is refused with the names, before any weight is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from lit_unmask.denoisers import Dream, LLaDA, Qwen3Diffusion, StockDenoiser
from tests.denoisers import oracle
from tests.denoisers.conftest import (
    EOS,
    SHAPE,
    Writer,
    edit_config,
    make_tokenizer,
)
from tests.denoisers.test_parity import DREAM, IDS

FAMILIES = [LLaDA, Dream, Qwen3Diffusion]
SECOND = "model-00002-of-00003.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A Dream in three shards that a test may damage."""
    oracle.write(tmp_path, oracle.qwen_config(DREAM, IDS, "Dream"), DREAM.weights(3), shards=3)
    make_tokenizer().save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where transformers would load weights."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("weights were loaded before the checkpoint was refused")

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", refuse)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("other", FAMILIES)
def test_a_checkpoint_of_another_family_is_refused(
    family: type[StockDenoiser], other: type[StockDenoiser], write_checkpoint: Writer
) -> None:
    if family is other:
        return
    with pytest.raises(ValueError) as error:
        family(str(write_checkpoint(other)))
    kind = other.model_types[0]
    assert f"model_type={kind!r} is not supported by {family.__name__}" in str(error.value)


@pytest.mark.parametrize("kind", ["llama", None])
def test_an_unknown_family_is_refused(kind: str | None, write_checkpoint: Writer) -> None:
    folder = write_checkpoint(LLaDA)
    edit_config(folder, {"model_type": kind})
    with pytest.raises(ValueError, match=f"model_type={kind!r} .* which runs 'llada'; choose"):
        LLaDA(str(folder))


def truncate(folder: Path) -> None:
    file = folder / SECOND
    file.write_bytes(file.read_bytes()[:-100])


def replace_by_text(folder: Path) -> None:
    (folder / SECOND).write_text("version https://git-lfs.github.com/spec/v1\n")


def remove_shard(folder: Path) -> None:
    (folder / SECOND).unlink()


def remove_index(folder: Path) -> None:
    (folder / INDEX).unlink()


def break_index(folder: Path) -> None:
    (folder / INDEX).write_text('{"metadata": {}}')


def name_absent_key(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["model.layers.9.mlp.up_proj.weight"] = SECOND
    (folder / INDEX).write_text(json.dumps(index))


def hide_key(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    del index["weight_map"]["lm_head.weight"]
    (folder / INDEX).write_text(json.dumps(index))


def rename_weights(folder: Path) -> None:
    for file in folder.glob("model*"):
        file.rename(folder / f"pytorch_{file.name}.bin")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncate, rf"{SECOND} is truncated or damaged .* bytes\); download it again"),
        (replace_by_text, rf"{SECOND} is truncated or damaged"),
        (remove_shard, rf"names shards that are not there: {SECOND}; download them too"),
        (remove_index, r"holds model-00001-of-00003\.safetensors, .* download the index"),
        (break_index, r"index\.json must be JSON with weight_map"),
        (name_absent_key, rf"disagree: {SECOND} lacks model\.layers\.9\.mlp\.up_proj\.weight"),
        (hide_key, r"disagree: .* has, unnamed, lm_head\.weight"),
        (rename_weights, r"holds no \*\.safetensors; convert other weight files"),
    ],
)
def test_damaged_shards_are_refused_by_name(
    shards: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(shards)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        Dream(str(shards))


def test_all_faults_of_all_shards_are_told_at_once(shards: Path) -> None:
    """In the original names, a dozen of many."""
    file = shards / SECOND
    weights = load_file(file)
    gone = sorted(weights)[0]
    misshapen = next(name for name in sorted(weights) if name.endswith("gate_proj.weight"))
    kept = {name: weight for name, weight in weights.items() if name != gone}
    kept |= {misshapen: torch.ones(3, 5)}
    kept |= {f"extra.{number}": torch.ones(1) for number in range(15)}
    save_file(kept, file, metadata={"format": "pt"})
    index = json.loads((shards / INDEX).read_text())
    del index["weight_map"][gone]
    index["weight_map"] |= {name: SECOND for name in kept}
    (shards / INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match="do not fit Dream") as error:
        Dream(str(shards))
    assert f"missing: {gone}" in str(error.value)
    assert f"mismatched: {misshapen} is [3, 5], must be [40, 32]" in str(error.value)
    assert "unexpected: extra.0, extra.1, extra.10," in str(error.value)
    assert "and 3 more" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocab_size": 30}, r"mismatched: lm_head\.weight is \[23, 16\], must be \[30, 16\]"),
        ({"num_hidden_layers": 3}, r"missing: model\.layers\.2\.input_layernorm\.weight"),
        ({"num_hidden_layers": 1}, r"unexpected: model\.layers\.1\.input_layernorm\.weight"),
        ({"quantization_config": {"bits": 4}}, "quantization_config=.* is not supported"),
    ],
)
def test_a_config_that_is_not_the_weights_is_refused(
    changes: dict[str, object], said: str, write_checkpoint: Writer
) -> None:
    folder = write_checkpoint(Dream)
    edit_config(folder, changes)
    with pytest.raises(ValueError, match=said):
        Dream(str(folder))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mask_token_id": SHAPE.vocab_size}, r"mask_token_id=23 must lie in \[0, 23\)"),
        ({"eos_token_id": -1}, r"eos_token_id=-1 must lie in"),
        ({"eos_token_id": [EOS, 99]}, r"eos_2_token_id=99 must lie in"),
        ({"eos_token_id": []}, r"eos_token_id=\[\] names no token"),
        ({"mask_token_id": SHAPE.vocab_size - 1}, "mask_token_id=22 is none of the tokenizer's 20"),
    ],
)
def test_special_tokens_that_are_not_there_are_refused(
    changes: dict[str, object], said: str, write_checkpoint: Writer
) -> None:
    folder = write_checkpoint(LLaDA)
    edit_config(folder, changes)
    with pytest.raises(ValueError, match=said):
        LLaDA(str(folder))


def test_a_tokenizer_with_more_tokens_than_the_embedding_is_refused(
    write_checkpoint: Writer,
) -> None:
    folder = write_checkpoint(LLaDA)
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([f"w{number}" for number in range(4)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match="token 'w3' has the id 23, but the embedding has 23"):
        LLaDA(str(folder))
