"""Folders of denoisers"""

import json
from pathlib import Path
from typing import Any

import torch
from mistakes.workshop import Change, Mistake, cut, entry, gone, mistake, text
from safetensors.torch import load_file, save_file

CONFIG, WEIGHTS = "denoiser/config.json", "denoiser/model.safetensors"
TOKENIZER, TEMPLATE = "denoiser/tokenizer.json", "denoiser/chat_template.jinja"
INDEX = "denoiser/model.safetensors.index.json"


def config(what: str, **values: Any) -> Mistake:
    return mistake(what, "validate +", entry(CONFIG, **values))


def weights(change: Any) -> Change:
    """Return the change of the tensors."""

    def act(folder: Path) -> None:
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)

    return act


def template(what: str, content: str | bytes) -> Mistake:
    return mistake(what, "validate +", text(TEMPLATE, content))


def first_nan(found):
    name = sorted(found)[0]
    found[name] = torch.full_like(found[name], float("nan"))
    return found


def outside(folder: Path) -> None:
    """Index that names a file beside the folder."""
    (folder / WEIGHTS).rename(folder / "model.safetensors")
    names = load_file(folder / "model.safetensors")
    (folder / INDEX).write_text(
        json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, "../model.safetensors")})
    )


# fmt: off
MISTAKES = [
    mistake("a denoiser that is missing", "validate + --model.denoiser.path=/nowhere/llada"),
    mistake("a denoiser that is a file", "validate + --model.denoiser.path=base.yaml"),
    mistake("a revision of a folder", "validate + --model.denoiser.revision=main"),
    mistake("an unknown type of weights", "validate + --model.denoiser.dtype=float8"),
    mistake("no room for logits", "validate + --model.denoiser.max_logits=0"),
    mistake("a denoiser of another family", "validate + --model.denoiser=lit_unmask.denoisers.Dream --model.denoiser.path=denoiser"),
    mistake("an adapter that is missing", "validate + --model.denoiser.adapter='{path: nowhere}'"),
    mistake("a device map of nothing", "validate + --model.denoiser.placement='{device_map: nowhere}'" ),
    mistake("no config.json", "validate +", gone(CONFIG)),
    mistake("a config.json cut off", "validate +", cut(CONFIG, 20)),
    mistake("a config.json that is not UTF-8", "validate +", text(CONFIG, b'{"model_type": "ll\xe4da"}') ),
    mistake("a config.json that is a list", "validate +", text(CONFIG, "[1]")),
    mistake("a config.json nested too deeply", "validate +", text(CONFIG, "[" * 100000)),
    config("a width that is a word", d_model="wide"),
    config("a width beyond memory", d_model=10**12),
    config("a fraction of a width", d_model=16.5),
    config("no heads", n_heads=0),
    config("heads that do not divide the width", n_heads=3),
    config("keys for another number of heads", n_kv_heads=3),
    config("layers without end", n_layers=10**9),
    config("a rotary base that is no number", rope_theta=float("nan")),
    config("an epsilon that is no number", rms_norm_eps=float("nan")),
    config("a length of 0", max_sequence_length=0),
    config("a mask that is a word", mask_token_id="mask"),
    config("a mask outside the vocabulary", mask_token_id=10**6),
    config("a mask that is a yes", mask_token_id=True),
    config("a mask that is the end", mask_token_id=0, eos_token_id=0),
    config("ends that are words", eos_token_id=["end"]),
    config("no end", eos_token_id=[]),
    config("padding that is a list", pad_token_id=[1]),
    config("a missing field", n_layers=None),
    config("an unsupported field", block_type="sequential"),
    config("a vocabulary of another size", embedding_size=40, vocab_size=40),
    mistake("no weights", "validate +", gone(WEIGHTS)),
    mistake("weights cut off", "validate +", cut(WEIGHTS, 1000)),
    mistake("weights that are a text", "validate +", text(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n")),
    mistake("a tensor missing", "validate +", weights(lambda found: dict(list(found.items())[1:]))),
    mistake("a tensor too many", "validate +", weights(lambda found: found | {"x": torch.ones(1)})),
    mistake("a tensor of another shape", "validate +", weights(lambda found: {n: v[:1].clone() if i == 0 else v for i, (n, v) in enumerate(found.items()) } )),
    mistake("weights that are no numbers", "validate +", gone("denoiser/SHA256SUMS"), weights(first_nan)),
    mistake("an index that is no JSON", "validate +", gone(WEIGHTS), text(INDEX, "{")),
    mistake("an index without a map", "validate +", gone(WEIGHTS), text(INDEX, "{}")),
    mistake("an index whose map is a list", "validate +", gone(WEIGHTS), text(INDEX, '{"metadata": {}, "weight_map": []}')),
    mistake("an index that names numbers", "validate +", gone(WEIGHTS), text(INDEX, '{"metadata": {}, "weight_map": {"a": 1}}')),
    mistake("an index that names missing files", "validate +", gone(WEIGHTS), text(INDEX, '{"metadata": {}, "weight_map": {"a": "b.safetensors"}}')),
    mistake("an index that names files outside", "validate +", outside),
    mistake("an index that names an absolute path", "validate +", gone(WEIGHTS), text(INDEX, '{"metadata": {}, "weight_map": {"a": "/etc/passwd"}}')),
    mistake("an empty index", "validate +", gone(WEIGHTS), text(INDEX, '{"metadata": {}, "weight_map": {}}')),
    mistake("no tokenizer", "validate +", gone(TOKENIZER)),
    mistake("a tokenizer cut off", "validate +", cut(TOKENIZER, 100)),
    mistake("a tokenizer that is a list", "validate +", text(TOKENIZER, "[]")),
    mistake("a tokenizer of an unknown model", "validate +", entry(TOKENIZER, model={"type": "Magic"}) ),
    mistake("a tokenizer's config cut off", "validate +", cut("denoiser/tokenizer_config.json", 10) ),
    mistake("a tokenizer's config that is a list", "validate +", text("denoiser/tokenizer_config.json", "[]")),
    mistake("no chat template", "validate +", gone(TEMPLATE)),
    template("a chat template that does not parse", "{% for message in messages %}"),
    template("a chat template with an unknown filter", "{{messages | magic }}"),
    template("a chat template that refuses", "{{raise_exception('no system turn') }}"),
    template("a chat template with an unknown name", "{{nothing.at.all }}"),
    template("a chat template that reaches for Python", "{{''.__class__.__mro__[1].__subclasses__() }}" ),
    template("a chat template that is not UTF-8", b"\xff{{messages }}"),
    template("a chat template without end", "{% for i in range(10**12) %}a{% endfor %}"),
    template("a chat template of nothing", ""),
    template("a chat template that includes a file", "{% include '/etc/passwd' %}"),
    template("a chat template that calls itself", "{% macro f() %}{{f() }}{% endmacro %}{{f() }}" ),
    mistake("weights of no bytes", "validate +", text(WEIGHTS, "")),
    mistake("weights that are a folder", "validate +", gone(WEIGHTS), text(f"{WEIGHTS}/a", "x")),
    mistake("weights that are a link to themselves", "validate +", gone(WEIGHTS), lambda f: (f / WEIGHTS).symlink_to(f / WEIGHTS)),
    mistake("a tokenizer that is a folder", "validate +", gone(TOKENIZER), text(f"{TOKENIZER}/a", "x")),
    mistake("a config.json of no bytes", "validate +", text(CONFIG, "")),
    mistake("digests that are a folder", "validate +", gone("denoiser/SHA256SUMS"), text("denoiser/SHA256SUMS/a", "x")),
    mistake("digests of no text", "validate +", text("denoiser/SHA256SUMS", b"\xff\xfe\0")),
    mistake("a digest of a file outside", "validate +", text("denoiser/SHA256SUMS", "0" * 64 + "  ../base.yaml\n")),
    mistake("a device as a denoiser", "validate + --model.denoiser.path=/dev/zero"),
]
