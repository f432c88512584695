"""Tokenizers of the real classes, tiny: prompts are what the real templates would give.

The special tokens and settings are those of the published ``tokenizer_config.json`` files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from lit_unmask.denoisers import Dream, LLaDA, Qwen3Diffusion, StockDenoiser
from lit_unmask.types import Problem
from tests.denoisers import oracle

BYTES = {token: index for index, token in enumerate(bytes_to_unicode().values())}
MERGES = [("\u0120", "a"), ("H", "i")]
VOCABULARY = BYTES | {"".join(pair): 256 + rank for rank, pair in enumerate(MERGES)}
FIRST = len(VOCABULARY)
LLADA_TOKENS = [
    *("<|startoftext|>", "<|endoftext|>", "[CLS]", "[gMASK]", "<|mdm_mask|>"),
    *("<role>", "</role>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
]
LLADA_TEMPLATE = (
    "{%- for message in messages -%}{%- if loop.first -%}{{ bos_token }}{%- endif -%}"
    "{{ '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\\n\\n' }}"
    "{{ message.content | trim }}{{ '<|eot_id|>' }}{%- endfor -%}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
)
QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|beginoftext|>", "<|mask|>"]
CHATML = (
    "{%- if messages[0].role != 'system' -%}"
    "{{ '<|im_start|>system\\nBe of help.<|im_end|>\\n' }}{%- endif -%}"
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' }}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif -%}{%- endif -%}"
)


def added(tokens: list[str]) -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        str(FIRST + index): {"content": token, **flags, "special": True}
        for index, token in enumerate(tokens)
    }


def write_llada(folder: Path) -> None:
    """Write ``tokenizer.json`` and settings as LLaDA-8B-Instruct has them."""
    backend = Tokenizer(models.BPE(VOCABULARY, MERGES))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(LLADA_TOKENS)
    backend.save(str(folder / "tokenizer.json"))
    settings = {
        **{"add_bos_token": False, "add_eos_token": False, "clean_up_tokenization_spaces": False},
        "added_tokens_decoder": added(LLADA_TOKENS),
        "additional_special_tokens": ["<role>", "</role>"],
        **{"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "cls_token": "[CLS]"},
        **{"pad_token": "<|endoftext|>", "gmask_token": "[gMASK]", "fast_tokenizer": True},
        **{"merges_file": None, "vocab_file": None, "trust_remote_code": True},
        **{"model_max_length": 10**30, "tokenizer_class": "PreTrainedTokenizerFast"},
        "chat_template": LLADA_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_qwen(folder: Path, **changes: Any) -> None:
    """Write ``vocab.json``, ``merges.txt`` and settings as Dream-v0-Instruct-7B has them."""
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in MERGES)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    settings = {
        **{"add_bos_token": False, "add_prefix_space": False, "errors": "replace"},
        "added_tokens_decoder": added(QWEN_TOKENS),
        "additional_special_tokens": ["<|beginoftext|>", "<|mask|>"],
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
        **{"bos_token": "<|beginoftext|>", "eos_token": "<|endoftext|>"},
        **{"mask_token": "<|mask|>", "pad_token": "<|endoftext|>", "unk_token": None},
        **{"model_max_length": 131072, "tokenizer_class": "DreamTokenizer"},
        "chat_template": CHATML,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | changes))


def token_id(token: str, tokens: list[str]) -> int:
    return FIRST + tokens.index(token)


def load(family: type[StockDenoiser], folder: Path) -> StockDenoiser:
    """Load a tiny network with the tokenizer in a folder."""
    llada = family is LLaDA
    names = {LLaDA: oracle.LLADA, Dream: oracle.QWEN, Qwen3Diffusion: oracle.QWEN3}[family]
    spec = oracle.Spec(
        names, width=16, heads=2, key_heads=2, layers=1, vocab_size=FIRST + 12,
        biases=("q", "k", "v") if family is Dream else (),
    )  # fmt: skip
    tokens = LLADA_TOKENS if llada else QWEN_TOKENS
    ids = {
        "mask": token_id("<|mdm_mask|>" if llada else "<|mask|>", tokens),
        "eos": token_id("<|endoftext|>", tokens),
        "pad": token_id("<|endoftext|>", tokens),
    }
    config = (
        oracle.llada_config(spec, ids)
        if llada
        else oracle.qwen_config(spec, ids, family.model_types[0])
    )
    if family is Qwen3Diffusion:  # which leaves the mask to the tokenizer
        config |= {"mask_token_id": None, "eos_token_id": token_id("<|im_end|>", tokens)}
    oracle.write(folder, config, spec.weights(0))
    return family(str(folder))


def problem(*messages: tuple[str, str]) -> Problem:
    chat = tuple({"role": role, "content": content} for role, content in messages)
    return Problem("one", chat, "", lambda text, answer: 0.0)


def spell(text: str, tokens: list[str]) -> list[int]:
    """Encode by hand: special tokens in angle brackets whole, then merges, then bytes."""
    known = {token: FIRST + index for index, token in enumerate(tokens)}
    symbols, ids = dict(enumerate(bytes_to_unicode().items())), []
    as_symbol = {byte: symbol for byte, symbol in symbols.values()}
    while text:
        special = next((token for token in known if text.startswith(token)), None)
        if special is not None:
            ids.append(known[special])
            text = text[len(special) :]
            continue
        pair = "".join(as_symbol[byte] for byte in text[:2].encode())
        if len(text) > 1 and pair in VOCABULARY:
            ids.append(VOCABULARY[pair])
            text = text[2:]
            continue
        ids += [VOCABULARY[as_symbol[byte]] for byte in text[0].encode()]
        text = text[1:]
    return ids


def test_llada_prompts_are_those_of_its_template(tmp_path: Path) -> None:
    write_llada(tmp_path)
    denoiser = load(LLaDA, tmp_path)
    assert type(denoiser.tokenizer) is PreTrainedTokenizerFast
    prompt = denoiser.encode([problem(("user", "  Hi a \u00e9?\n"))])
    expected = (
        "<|startoftext|><|start_header_id|>user<|end_header_id|>\n\nHi a \u00e9?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert prompt.tokens[0].tolist() == spell(expected, LLADA_TOKENS)
    assert denoiser.tokenizer.decode(prompt.tokens[0]) == expected
    assert denoiser.mask_id == token_id("<|mdm_mask|>", LLADA_TOKENS)
    assert denoiser.end_ids == tuple(
        token_id(end, LLADA_TOKENS) for end in ("<|endoftext|>", "<|eot_id|>")
    )


def test_dream_prompts_are_those_of_its_template(tmp_path: Path) -> None:
    write_qwen(tmp_path)
    denoiser = load(Dream, tmp_path)
    assert isinstance(denoiser.tokenizer, Qwen2Tokenizer)
    prompt = denoiser.encode([problem(("user", "Hi a \u00e9?"))])
    expected = (
        "<|im_start|>system\nBe of help.<|im_end|>\n<|im_start|>user\nHi a \u00e9?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert prompt.tokens[0].tolist() == spell(expected, QWEN_TOKENS)
    assert denoiser.tokenizer.decode(prompt.tokens[0]) == expected
    assert denoiser.mask_id == token_id("<|mask|>", QWEN_TOKENS)
    assert denoiser.end_ids == tuple(
        token_id(end, QWEN_TOKENS) for end in ("<|endoftext|>", "<|im_end|>")
    )


def test_qwen3_prompts_leave_thinking_out_and_the_tokenizer_knows_the_mask(tmp_path: Path) -> None:
    write_qwen(tmp_path, auto_map=None, tokenizer_class="Qwen2Tokenizer")
    denoiser = load(Qwen3Diffusion, tmp_path)
    text = denoiser.tokenizer.decode(denoiser.encode([problem(("user", "Hi"))]).tokens[0])
    assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert denoiser.mask_id == token_id("<|mask|>", QWEN_TOKENS)
    assert denoiser.end_ids == tuple(
        token_id(end, QWEN_TOKENS) for end in ("<|im_end|>", "<|endoftext|>")
    )


@pytest.mark.parametrize("family", [LLaDA, Dream])
def test_responses_are_cut_at_either_end_and_lose_special_tokens(
    family: type[StockDenoiser], tmp_path: Path
) -> None:
    (write_llada if family is LLaDA else write_qwen)(tmp_path)
    denoiser, tokens = load(family, tmp_path), LLADA_TOKENS if family is LLaDA else QWEN_TOKENS
    start = "<|start_header_id|>" if family is LLaDA else "<|im_start|>"
    for end in denoiser.end_ids:
        response = [
            *spell(f"Hi{start} \u00e9 a", tokens),
            denoiser.mask_id,
            end,
            *spell("x", tokens),
        ]
        assert denoiser.decode(torch.tensor([response])) == ["Hi \u00e9 a"]


def test_special_tokens_in_a_question_are_refused(tmp_path: Path) -> None:
    """The tokenizer would read them as such: an end of the turn, or a mask."""
    write_llada(tmp_path)
    denoiser = load(LLaDA, tmp_path)
    with pytest.raises(ValueError, match=r"its chat holds '<\|eot_id\|>'.* spell it otherwise"):
        denoiser.encode([problem(("user", "a<|eot_id|>b"))])


@pytest.mark.parametrize(
    ("config", "settings", "said"),
    [
        ({}, {"mask_token": None}, "neither config.json nor the tokenizer has a mask token"),
        ({"mask_token_id": 3}, {}, r"mask_token_id=3, but the tokenizer's mask token '<\|mask\|>'"),
    ],
)
def test_a_mask_that_is_unknown_or_disputed_is_refused(
    config: dict[str, Any], settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    write_qwen(tmp_path)
    load(Qwen3Diffusion, tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    write_qwen(tmp_path, **settings)
    with pytest.raises(ValueError, match=said):
        Qwen3Diffusion(str(tmp_path))
