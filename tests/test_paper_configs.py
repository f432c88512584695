"""Every run of the paper parses, and runs with tiny denoisers and a few rows of data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lit_unmask.cli import main
from lit_unmask.denoisers import DenoiserShape, Dream, LLaDA, StockDenoiser
from lit_unmask.preflight.extends import read_config

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
ROWS = ROOT / "tests" / "fixtures" / "tasks"
TRAINING = sorted([*CONFIGS.glob("*_gsm8k_math_*.yaml"), *CONFIGS.glob("*_kodcode_*.yaml")])
PUBLISHED = [config for config in TRAINING if "finished_answers" not in config.stem]
EVALUATION = sorted(CONFIGS.glob("*_eval_*.yaml"))
OVERLAYS = sorted((CONFIGS / "hardware").glob("*.yaml"))
GRIDS = "--trainer.callbacks.init_args.grids=" + json.dumps(
    {"threshold": {"policy": "lit_unmask.policies.ConfidenceThreshold", "values": [0.9],
                   "block_lengths": [8]}}
)  # fmt: skip
# Section 5 and appendix of arXiv 2512.09106.
STATED = {
    "lr": 3e-5,
    "betas": [0.9, 0.99],
    "gradient_norm": 0.2,
    "rollouts": 8 * 16,  # 16 on each of 8 GPUs
    "prompt_tokens": 200,
}


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes, which knows every text."""
    special = ["<|mask|>", "<|endoftext|>"]
    words = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, mask_token=special[0], eos_token=special[1], pad_token=special[1]
    )
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    return tokenizer


def tiny(family: type[StockDenoiser], folder: Path) -> Path:
    """Write a random checkpoint with room for a long prompt and 256 tokens."""
    tokenizer = byte_tokenizer()
    ids = tokenizer.mask_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    shape = DenoiserShape(16, 1, 2, 16, len(tokenizer), 4096, *ids)
    torch.manual_seed(0)
    family.save(family.initialise(shape), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def denoisers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny denoisers by the first part of a configuration's name."""
    return {
        "llada": tiny(LLaDA, tmp_path_factory.mktemp("llada")),
        "dream": tiny(Dream, tmp_path_factory.mktemp("dream")),
    }


def task(name: str, split: str | None, file: str) -> dict[str, Any]:
    """Return a task that reads a fixture."""
    arguments: dict[str, Any] = {"path": str(ROWS / f"{file}.jsonl"), "size": None}
    arguments |= {"split": split} if split else {}
    return {"class_path": f"lit_unmask.tasks.{name}", "init_args": arguments}


def sets(code: bool) -> dict[str, Any]:
    """Return small problem sets under the names that the configurations use."""
    if code:
        train, mbpp = task("KodCode", "train", "kodcode"), task("MBPP", "tuning", "mbpp")
        test = {"humaneval": task("HumanEval", None, "humaneval"),
                "mbpp": task("MBPP", "test", "mbpp")}  # fmt: skip
        return {"train": train, "val": {"kodcode": train}, "test": test,
                "tuning": {"humaneval": train, "mbpp": mbpp}}  # fmt: skip
    gsm8k, math = task("GSM8K", "train", "gsm8k"), task("MATH", "train", "math")
    mixture = {"class_path": "lit_unmask.tasks.Mixture",
               "init_args": {"parts": {"gsm8k": gsm8k, "math": math}}}  # fmt: skip
    guides = {"gsm8k": gsm8k, "math500": math}
    test = {"gsm8k": task("GSM8K", "test", "gsm8k"), "math500": task("MATH500", None, "math500")}
    return {"train": mixture, "val": guides, "test": test, "tuning": guides}


def swap(config: Path, folder: Path, denoisers: dict[str, Path]) -> list[str]:
    """Return arguments that run a configuration on the CPU, with tiny things in it."""
    arguments = {"path": str(denoisers[config.stem.split("_")[0]]), "revision": None}
    overlay = {
        "trainer": {"accelerator": "cpu", "fast_dev_run": 1},
        "model": {"denoiser": {"init_args": arguments | {"dtype": "float32"}},
                  "grader": {"class_path": "lit_unmask.evaluation.grading.InProcess"}},
        "data": {"init_args": sets("code" in config.stem) | {"eval_batch_size": 1}},
    }  # fmt: skip
    overlay["data"]["init_args"] |= {"batch_size": 1, "max_prompt_tokens": None}
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(overlay))
    return [f"--config={config}", f"--config={file}"]


def short(config: Path) -> list[str]:
    """Return arguments for responses of 32 tokens, in one block where the run has one block."""
    model = read_config(config)["model"]
    stated = model["decoding"]
    block = 32 if stated["block_length"] == stated["gen_length"] else 8
    kinds = ["decoding"] + (["eval_decoding"] if "eval_decoding" in model else [])
    return [
        f"--model.{kind}.{name}={value}"
        for kind in kinds
        for name, value in (("gen_length", 32), ("block_length", block))
    ]


@pytest.mark.parametrize("config", TRAINING, ids=lambda path: path.stem)
def test_a_training_run_goes_through_a_fast_dev_run(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, denoisers: dict[str, Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [*swap(config, tmp_path, denoisers), *short(config)]
    main(["fit", *arguments, "--model.rounds.group_size=2"])


@pytest.mark.parametrize("config", EVALUATION, ids=lambda path: path.stem)
def test_an_evaluation_goes_through_a_fast_dev_run(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, denoisers: dict[str, Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = "--trainer.callbacks.init_args.options.block_lengths=[8,32]"
    main(["test", *swap(config, tmp_path, denoisers), *short(config), blocks, GRIDS])


def test_the_transfer_goes_through_a_fast_dev_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, denoisers: dict[str, Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = CONFIGS / "llada_transfer.yaml"
    math, code = sets(False), sets(True)
    cells: dict[str, Any] = {
        name: {"tuning": math["tuning"]["gsm8k"], "test": math["test"]["gsm8k"]}
        for name in ("home", "Dream", "512 tokens")
    }
    dream = {"class_path": "lit_unmask.denoisers.Dream",
             "init_args": {"path": str(denoisers["dream"]), "revision": None,
                           "dtype": "float32"}}  # fmt: skip
    cells["Dream"]["denoiser"] = dream
    cells["512 tokens"]["gen_length"] = 64
    cells["512 tokens"]["grids"] = json.loads(GRIDS.split("=", 1)[1])
    cells["programs"] = {"tuning": code["tuning"]["mbpp"], "test": code["test"]["humaneval"]}
    stated = next(
        callback["init_args"]["cells"]
        for callback in read_config(config)["trainer"]["callbacks"]
        if "cells" in callback.get("init_args", {})
    )
    assert stated.keys() == cells.keys()
    swapped = f"--trainer.callbacks.init_args.cells={json.dumps(cells)}"
    main(["test", *swap(config, tmp_path, denoisers), *short(config), GRIDS, swapped])


@pytest.mark.parametrize("config", PUBLISHED, ids=lambda path: path.stem)
def test_a_training_run_says_what_the_paper_does(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["plan", f"--config={config}", "--print_config"])
    run = yaml.safe_load(capsys.readouterr().out)
    block = 32 if "bl32" in config.stem else 256
    model, trainer, data = run["model"], run["trainer"], run["data"]["init_args"]
    assert model["decoding"]["gen_length"] == 256
    assert model["decoding"]["block_length"] == model["eval_decoding"]["block_length"] == block
    assert model["policy"]["init_args"]["temperature"] == {32: 0.5, 256: 1.0}[block]
    assert model["optimizer"]["init_args"]["lr"] == STATED["lr"]
    assert model["optimizer"]["init_args"]["betas"] == STATED["betas"]
    assert trainer["gradient_clip_val"] == STATED["gradient_norm"]
    assert model["rounds"]["group_size"] * data["batch_size"] == STATED["rollouts"]
    assert model["denoiser"]["init_args"]["dtype"] == "bfloat16"
    assert data["max_prompt_tokens"] == STATED["prompt_tokens"]
    assert bool(model["experts"]) == ("expert" in config.stem)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_an_overlay_of_hardware_fits_a_run(
    overlay: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], denoisers: dict[str, Path]
) -> None:
    config = CONFIGS / "llada_gsm8k_math_bl32.yaml"
    tiny_run = swap(config, tmp_path, denoisers)
    with pytest.raises(SystemExit) as end:
        main([
            "plan", *tiny_run, "--data.init_args.batch_size=32", f"--config={overlay}",
            "--plan.rate=1", "--json",
        ])  # fmt: skip
    plan = json.loads(capsys.readouterr().out)
    assert end.value.code == 1, "there are no GPUs here, or the wrong number of them"
    assert plan["devices"]["accelerator"] == "cuda"


@pytest.mark.parametrize(
    ("overlay", "run", "files"),
    [
        ("math", "llada_gsm8k_math_bl32", {"gsm8k_train", "gsm8k_test", "math_train", "math500"}),
        ("code", "llada_kodcode_bl32", {"kodcode", "mbpp_train", "mbpp_test"}),
    ],
)
def test_a_run_without_a_network_asks_for_its_files(
    overlay: str, run: str, files: set[str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    configs = [CONFIGS / f"{run}.yaml", CONFIGS / "offline" / f"{overlay}.yaml"]
    with pytest.raises(SystemExit):
        main(["plan", *(f"--config={file}" for file in configs), "--plan.rate=1", "--json"])
    missing = json.loads(capsys.readouterr().out)["missing"]
    asked = {lack["what"]: lack["remedy"] for lack in missing if "data/" in lack["what"]}
    assert all("lit-unmask-data export" in remedy for remedy in asked.values())
    said = (CONFIGS / "offline" / f"{overlay}.yaml").read_text()
    for file in files:
        assert any(f"data/{file}.jsonl" in what for what in asked), file
        assert f"--output data/{file}.jsonl" in said


@pytest.mark.parametrize(
    "config",
    [*TRAINING, *EVALUATION, CONFIGS / "llada_transfer.yaml", *OVERLAYS],
    ids=lambda path: path.stem,
)
def test_a_file_says_how_to_use_it(config: Path) -> None:
    assert f"--config configs/{config.relative_to(CONFIGS)}" in config.read_text()
