from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lit_unmask.cli
from lit_unmask.cli import main
from lit_unmask.denoisers import Denoiser

Plan = Callable[..., tuple[int, dict[str, Any]]]
MISTAKES = {
    "unknown key": (["--model.nope", "1"], "model.nope"),
    "block length": (["--model.decoding.block_length", "3"], "=3 must divide gen_length=8"),
    "no such denoiser": (["--model.denoiser.path", "/nowhere/llada"], "/nowhere/llada"),
    "prompt too long": (["--model.decoding.gen_length", "124"], "max_length=128"),
    "no training task": (["--data.train", "null"], "data.train is not set"),
    "batch for the ranks": (["--trainer.devices=2", "--data.batch_size=3"], "2 ranks"),
    "half precision": (["--trainer.precision", "bf16-true"], "32-true"),
    "endless training": (["--trainer.max_steps=-1"], "trainer.max_steps"),
    "accumulation": (["--trainer.accumulate_grad_batches", "2"], "accumulate_grad_batches=2"),
    "no such accelerator": (["--trainer.accelerator", "abacus"], "abacus"),
    "no such checkpoint": (["--ckpt_path", "missing.ckpt"], "ckpt_path=missing.ckpt"),
    "no such rate": (["--plan.rate", "0"], "plan.rate=0"),
}


@pytest.fixture
def plan(base: Path, capsys: pytest.CaptureFixture[str]) -> Plan:
    """A function that plans the configuration; returns exit code and JSON."""

    def call(*arguments: Any) -> tuple[int, dict[str, Any]]:
        with pytest.raises(SystemExit) as end:
            main(["plan", f"--config={base}", "--json", *map(str, arguments)])
        return int(end.value.code or 0), json.loads(capsys.readouterr().out)

    return call


def test_a_run_that_can_start_ends_with_0(plan: Plan, tmp_path: Path) -> None:
    code, said = plan()
    assert code == 0 and said["missing"] == []
    assert (said["problems"], said["rounds"], said["epoch_rounds"]) == (10, 2, 5)
    assert said["call"]["rows"] == 8 and said["policy"]["parameters"] > 0
    assert 0 < said["seconds"]["low"] < said["seconds"]["high"]
    assert not (tmp_path / "out").exists()


def test_a_run_that_cannot_start_ends_with_1(plan: Plan, tmp_path: Path) -> None:
    empty, file = tmp_path / "empty", tmp_path / "file"
    empty.mkdir()
    file.touch()
    code, said = plan(
        f"--model.denoiser.path={empty}", "--plan.rate=1", f"--trainer.default_root_dir={file}/out"
    )  # fmt: skip
    assert code == 1
    whats = " ".join(lack["what"] for lack in said["missing"])
    assert str(empty) in whats and "cannot be written" in whats
    assert all(lack["remedy"] for lack in said["missing"])
    assert said["denoiser"]["assumed"]


def test_no_denoiser_is_made(
    plan: Plan, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    weights = tmp_path / "copy" / "model.safetensors"
    monkeypatch.setattr(Denoiser, "__init__", lambda *_: pytest.fail("a denoiser was made"))
    assert plan(f"--model.denoiser.path={tmp_path / 'copy'}")[0] == 0
    weights.unlink()
    assert plan(f"--model.denoiser.path={tmp_path / 'copy'}")[0] == 1


def test_assumptions_are_arguments(plan: Plan) -> None:
    _, said = plan("--plan.rate=5", "--plan.nfe=[2,4]", "--plan.prompt_tokens=20")
    (training, *_) = said["work"]
    assert said["rate"]["row"] == 0.005
    assert training["charged"] == {"low": 32.0, "usual": 48.0, "high": 64.0}
    assert said["call"]["prompt"] == 20


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_the_sentence_that_fit_says(
    base: Path, capsys: pytest.CaptureFixture[str], mistake: str
) -> None:
    added, word = MISTAKES[mistake]
    with pytest.raises(SystemExit) as end:
        main(["plan", f"--config={base}", *added])
    captured = capsys.readouterr()
    assert end.value.code in (1, 2) and captured.out == ""
    last = captured.err.strip().splitlines()[-1]
    assert last.startswith("error: ") and word in last


def test_a_package_that_is_not_installed_is_missing(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_unmask.denoisers.loading.adapter.find_spec", lambda name: None)
    code, said = plan("--model.denoiser.adapter.path=some/lora")
    assert code == 1
    assert said["missing"] == [
        {"what": "adapter 'some/lora' needs peft", "remedy": "pip install 'lit-unmask[lora]'"}
    ]


def test_a_gpu_that_is_too_small_is_missing(plan: Plan) -> None:
    code, said = plan("--plan.gpu_memory=0.00001")
    assert code == 1
    assert "max_rows" in said["missing"][0]["remedy"]


@pytest.mark.parametrize(
    ("stage", "names"),
    [("validate", ["coins: policy"]), ("test", ["coins: policy"]), ("predict", ["coins: policy"])],
)
def test_evaluations_are_planned_too(plan: Plan, stage: str, names: list[str]) -> None:
    code, said = plan("--stage", stage, "--plan.rate=1000", "--plan.nfe=[2,4]")
    assert code == 0 and said["stage"] == stage and said["rounds"] is None
    assert [work["name"] for work in said["work"]] == names
    assert said["row_forwards"] == {"low": 10.0, "usual": 15.0, "high": 20.0}
    assert said["seconds"]["usual"] == pytest.approx(15, rel=0.1)
    assert said["memory"]["steps"] == 0 and said["disk"]["checkpoints"] == 0


def test_an_evaluation_needs_its_sets(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["plan", f"--config={base}", "--stage=test", "--data.test=null"])
    assert end.value.code == 2
    assert "data.test is not set; test needs" in capsys.readouterr().err


def test_a_plan_reads_well(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", f"--config={base}"])
    said = capsys.readouterr().out
    for words in ("what will run", "LearnedPolicy", "memory", "row-forward", "disk", "nothing is"):
        assert words in said


def test_other_commands_do_not_load_plans() -> None:
    tree = ast.parse(Path(lit_unmask.cli.__file__).read_text())
    loaded = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    ours = {name for name in loaded if name and name.startswith("lit_unmask.preflight")}
    names = ("checks", "dry_run", "extends", "parsing", "resuming")
    assert ours == {f"lit_unmask.preflight.{name}" for name in names}


def test_a_policy_that_learns_from_experts_is_planned(plan: Plan) -> None:
    threshold = {"class_path": "lit_unmask.policies.ConfidenceThreshold",
                 "init_args": {"threshold": 0.9}}  # fmt: skip
    expert = {"policy": threshold, "block_length": 8, "count": 1}
    steered = f"--model.experts={json.dumps({'one': expert})}"
    code, said = plan(steered, "--model.decoding.block_length=8")
    assert code == 0 and "expert one" in [work["name"] for work in said["work"]]


def test_a_wrapped_denoiser_is_planned_as_the_one_in_it(plan: Plan, tiny_checkpoint: Path) -> None:
    inner = {
        "class_path": "lit_unmask.denoisers.LLaDA",
        "init_args": {"path": str(tiny_checkpoint)},
    }
    arguments = {"inner": inner, "reward": "builtins.len"}
    kind = {"class_path": "lit_unmask.denoisers.RewardWeighted", "init_args": arguments}
    code, said = plan("--model.denoiser", json.dumps(kind))
    assert code == 0 and said["denoiser"] == plan()[1]["denoiser"]
