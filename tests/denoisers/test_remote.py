"""Code that comes with a checkpoint: run when it was asked for and pinned, refused otherwise."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lit_unmask.denoisers import Code, LLaDA, RemoteCode
from lit_unmask.denoisers.families.remote import code_hash
from lit_unmask.denoisers.running.cache import Kept, KeyValues
from lit_unmask.evaluation.fingerprints import denoiser_name
from lit_unmask.types import Signals
from tests.denoisers.conftest import (
    EOS,
    MASK,
    PAD,
    SHAPE,
    fill_with_sines,
    make_prompt,
    make_response,
    make_tokenizer,
)

# A mixer: each token sees the mean of all real tokens.
MODEL = """
import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from .configuration_mean import MeanConfig


class MeanModel(PreTrainedModel):
    config_class = MeanConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = torch.nn.Embedding(config.vocab_size, config.width)
        self.mix = torch.nn.Linear(config.width, config.width)
        self.head = torch.nn.Linear(config.width, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, attention_mask=None):
        states = self.embed(input_ids)
        seen = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        seen = seen[..., None].to(states.dtype)
        mean = (states * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True)
        return CausalLMOutput(logits=self.head(torch.tanh(states + self.mix(mean))))
"""
CONFIG = """
from transformers import PreTrainedConfig


class MeanConfig(PreTrainedConfig):
    model_type = "mean"

    def __init__(self, vocab_size=23, width=16, **others):
        super().__init__(**others)
        self.vocab_size, self.width = vocab_size, width
"""
ENTRIES = {"AutoModel": "modeling_mean.MeanModel", "AutoConfig": "configuration_mean.MeanConfig"}


@pytest.fixture(autouse=True, scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep imported copies of the code out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        copies = str(tmp_path_factory.mktemp("modules"))
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", copies)
        patch.setattr(sys, "path", [*sys.path])
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint with code of its own."""
    return write(tmp_path / "mean", MODEL)


def write(folder: Path, model: str) -> Path:
    folder.mkdir()
    (folder / "modeling_mean.py").write_text(model)
    (folder / "configuration_mean.py").write_text(CONFIG)
    space: dict[str, object] = {}
    exec(CONFIG + MODEL.replace("from .configuration_mean import MeanConfig", ""), space)
    network = space["MeanModel"](space["MeanConfig"](SHAPE.vocab_size))
    fill_with_sines(network)
    network.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": ENTRIES, "max_position_embeddings": 40}
    config |= {"mask_token_id": MASK, "eos_token_id": [EOS], "pad_token_id": PAD}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def load(folder: Path, shift: bool = False, auto_class: str = "AutoModel") -> RemoteCode:
    code = Code(trust_remote_code=True, sha256=code_hash(folder), auto_class=auto_class)
    return RemoteCode(str(folder), shift, code)


@pytest.mark.parametrize("shift", [False, True])
def test_the_network_is_used_through_the_same_face(folder: Path, shift: bool) -> None:
    denoiser = load(folder, shift)
    prompt, response = make_prompt(3, 5), make_response(3, 6)
    with torch.no_grad():
        logits = denoiser.network(torch.cat([prompt.tokens, response], 1)).logits
    logits = logits[:, 5 - shift : 11 - shift, MASK + 1 :]
    output = denoiser(prompt, response, Signals(top_k=3, names={"entropy", "hidden"}))
    assert torch.equal(output.proposal, logits.argmax(-1) + MASK + 1)
    torch.testing.assert_close(output.confidence, logits.softmax(-1).topk(3).values)
    torch.testing.assert_close(
        denoiser.network.head(output.signals["hidden"])[..., MASK + 1 :], logits
    )
    assert output.signals["hidden"].shape[-1] == denoiser.width
    padded = torch.cat([make_prompt(3, 2).tokens, prompt.tokens], 1)
    attention = torch.arange(7).expand(3, 7) >= 2
    wider = type(prompt)(padded, attention)
    torch.testing.assert_close(denoiser.logits(wider, response), denoiser.logits(prompt, response))
    assert denoiser.identity["code_hash"] == code_hash(folder)
    assert denoiser.end_ids[:2] == (EOS, PAD) and denoiser.max_length == 40


def test_code_is_not_run_without_being_asked_for() -> None:
    with pytest.raises(ValueError, match="read it, then set code") as error:
        Code()
    assert str(error.value).count(". ") == 0


def test_code_of_a_folder_is_pinned_by_its_content(folder: Path) -> None:
    right = code_hash(folder)
    for pinned in (None, "0" * 64):
        with pytest.raises(ValueError, match=f"have {right}; read them, then set"):
            RemoteCode(str(folder), False, Code(True, sha256=pinned))
    load(folder)
    code = Code(True, sha256=right)
    (folder / "helper.py").write_text("print('new')\n")
    with pytest.raises(ValueError, match="read them, then set"):
        RemoteCode(str(folder), False, code)
    with pytest.raises(ValueError, match="only checkpoints on the hub have revisions"):
        RemoteCode(str(folder), False, Code(True, revision="a" * 40))


def test_other_code_or_another_shift_is_another_denoiser_to_results_stores(
    folder: Path,
) -> None:
    names = [denoiser_name(load(folder)), denoiser_name(load(folder, shift=True))]
    model = folder / "modeling_mean.py"
    model.write_text(model.read_text() + "\n# the same weights, and other code\n")
    names.append(denoiser_name(load(folder)))
    assert len(set(names)) == 3


@pytest.mark.parametrize("revision", [None, "main", "abc123"])
def test_code_of_the_hub_is_pinned_by_a_full_commit(revision: str | None) -> None:
    with pytest.raises(ValueError, match=r"must be a full commit of 'someone/model' \(40 hex"):
        RemoteCode("someone/model", False, Code(True, revision=revision))


def test_a_pinned_commit_brings_its_code(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "c" * 40
    shutil.copytree(folder, tmp_path / "hub/models--someone--mean/snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    denoiser = RemoteCode("someone/mean", False, Code(True, revision=commit))
    assert denoiser.identity["revision"] == commit


@pytest.mark.parametrize(
    ("entries", "auto_class", "said"),
    [
        (ENTRIES, "AutoModelForMaskedLM", "which has AutoConfig, AutoModel"),
        ({}, "AutoModel", "which has nothing"),
        ({"AutoModel": "other/code--m.Model"}, "AutoModel", "is code of another repository"),
    ],
)
def test_classes_that_the_checkpoint_does_not_hold_are_refused(
    folder: Path, entries: dict[str, str], auto_class: str, said: str
) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"auto_map": entries}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=said):
        load(folder, auto_class=auto_class)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("self.mix(mean)", "self.mix(states)", "bidirectional probe"),
        ("is None else attention_mask", "is None or True else 0", "padding probe"),
        ("logits=self.head(", "logits=2 * self.head(", "head probe: the network's logits differ"),
        ("logits=self.head(", "logits=(lambda x: x @ self.head.weight.T)(", "embeddings 0 times"),
    ],
)
def test_a_network_that_does_something_else_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in MODEL
    with pytest.raises(RuntimeError, match=said):
        load(write(tmp_path / "other", MODEL.replace(old, new)))


def test_it_keeps_no_keys_and_values(folder: Path) -> None:
    store = KeyValues(11)
    store.slots = 1
    with pytest.raises(ValueError, match="RemoteCode keeps no keys and values"):
        load(folder)(
            make_prompt(1, 5), make_response(1, 6), Signals(), kept=Kept(store, torch.arange(1))
        )


def test_stock_classes_never_run_the_code_of_a_checkpoint(folder: Path) -> None:
    (folder / "configuration_mean.py").write_text("raise SystemExit('was run')\n")
    with pytest.raises(ValueError, match="model_type='mean' is not supported by LLaDA"):
        LLaDA(str(folder))
