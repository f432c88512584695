"""Exported files serve the tasks that they were made for, and replace nothing by accident."""

import json
import sys
from pathlib import Path

import pytest

from lit_unmask.errors import ConfigurationError
from lit_unmask.tasks import GSM8K, MBPP, ReasoningGym
from lit_unmask.tasks.export import main
from lit_unmask.tasks.gym import generated_rows, grade_by_gym, grade_exact
from lit_unmask.tasks.rows import HubDataset

FIXTURES = Path(__file__).parents[1] / "fixtures" / "tasks"
COMMIT = "b" * 40


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Datasets in a folder that stand for those of the hub."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for task, name, splits in (
        (GSM8K, "gsm8k", ("train", "test")),
        (MBPP, "mbpp", ("prompt", "test")),
    ):
        folder = tmp_path / name
        folder.mkdir()
        for split in splits:
            data = (FIXTURES / f"{name}.jsonl").read_bytes()
            (folder / f"{split}.jsonl").write_bytes(data)
        files = [f"  - {{split: {split}, path: {split}.jsonl}}\n" for split in splits]
        text = f"---\nconfigs:\n- config_name: only\n  data_files:\n{''.join(files)}---\n"
        (folder / "README.md").write_text(text)
        monkeypatch.setattr(task, "source", HubDataset(str(folder), COMMIT, ("only",)))


def run(capsys, *arguments):
    """Run the command line; returns exit status, output and errors."""
    status = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code
    said = capsys.readouterr()
    return status, said.out, said.err


def export(capsys, task, split, output, *more):
    return run(
        capsys, "export", "--task", f"lit_unmask.tasks.{task}", "--split", split,
        "--output", output, *more,
    )  # fmt: skip


def test_an_exported_file_holds_the_problems_of_the_hub(hub, tmp_path, capsys):
    output = tmp_path / "gsm8k_test.jsonl"
    status, said, _ = export(capsys, "GSM8K", "test", output)
    assert (status, len(output.read_text().splitlines())) == (0, 5)
    assert said.startswith(f"{output}: 5 rows of ") and said.endswith("test, for test\n")
    assert list(GSM8K("test", path=str(output))) == list(GSM8K("test"))
    first = json.loads(output.read_text().splitlines()[0])
    assert first["question"].startswith("A baker") and first["_revision"] == COMMIT
    status, said, _ = export(capsys, "MBPP", "test", tmp_path / "mbpp.jsonl")
    assert list(MBPP("test", path=str(tmp_path / "mbpp.jsonl"))) == list(MBPP("test"))


def test_a_file_of_another_split_is_refused(hub, tmp_path, capsys):
    output = tmp_path / "train.jsonl"
    said = export(capsys, "GSM8K", "validation", output)[1]
    assert said.endswith("train, for train, tuning, validation\n")
    GSM8K("train", path=str(output)).check()
    with pytest.raises(ConfigurationError, match=r"line 1: a row of .* train, but GSM8K with spl"):
        GSM8K("test", path=str(output)).check()


def test_a_file_that_is_there_is_kept_unless_asked(hub, tmp_path, capsys):
    output = tmp_path / "mine.jsonl"
    output.write_text("precious")
    status, _, errors = export(capsys, "GSM8K", "test", output)
    assert status == 1 and "--overwrite" in errors and output.read_text() == "precious"
    assert export(capsys, "GSM8K", "test", output, "--overwrite")[0] == 0
    assert "baker" in output.read_text()


def test_an_export_that_fails_leaves_the_file_as_it_was(hub, tmp_path, capsys, monkeypatch):
    output = tmp_path / "mine.jsonl"
    output.write_text("precious")
    monkeypatch.setattr(GSM8K, "source", HubDataset(str(tmp_path / "nowhere"), COMMIT))
    status, _, errors = export(capsys, "GSM8K", "test", output, "--overwrite")
    assert status == 1 and errors.startswith("error: ") and errors.count("\n") == 1
    assert output.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.glob("*.tmp")) == []


@pytest.mark.parametrize(
    ("task", "split", "output", "said"),
    [
        ("GSM8K", "dev", "a.jsonl", "--split dev must be one of train, tuning"),
        ("GSM8K", "test", "no/where/a.jsonl", "must be a file in a folder that is there"),
        ("Nothing", "test", "a.jsonl", "lit_unmask.tasks.Nothing"),
        ("Countdown", "test", "a.jsonl", "has no source on the hub"),
        ("none.at.all", "test", "a.jsonl", "cannot be imported"),
    ],
)
def test_a_mistake_is_said(tmp_path, capsys, task, split, output, said):
    status, _, errors = export(capsys, task, split, tmp_path / output)
    assert status in (1, 2) and said in errors and "Traceback" not in errors


def test_generated_problems_are_graded_as_their_package_grades(tmp_path, capsys):
    pytest.importorskip("reasoning_gym")
    for name, exact in (("gsm_symbolic", False), ("lcm", True), ("countdown", False)):
        output = tmp_path / f"{name}.jsonl"
        assert run(capsys, "generate", "--name", name, "--output", output, "--size", 20)[0] == 0
        problems = [p for s in ("train", "test") for p in ReasoningGym(str(output), s)]
        assert problems
        for row in map(json.loads, output.read_text().splitlines()):
            assert row["exact"] == exact
        for problem in problems:
            answer = problem.answer if exact else json.loads(problem.answer)["answer"]
            assert problem.grade(f"<answer>{answer}</answer>") == 1.0
            assert problem.grade("<answer>no</answer>") == problem.grade(answer) == 0.0
    status, _, errors = run(capsys, "generate", "--name", "nothing", "--output", tmp_path / "x")
    assert status == 1 and "'nothing'" in errors


def test_without_reasoning_gym_only_exact_answers_can_be_graded(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    status, _, errors = run(capsys, "generate", "--name", "lcm", "--output", tmp_path / "lcm.jsonl")
    assert status == 1 and "pip install 'lit-unmask[gym]'" in errors
    row = json.loads((FIXTURES / "reasoning_gym.jsonl").read_text().splitlines()[0])
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row | {"exact": False}))
    with pytest.raises(ConfigurationError, match="more than one right answer, needs"):
        ReasoningGym(str(path), "train").check()
    with pytest.raises(ConfigurationError, match="needs reasoning-gym"):
        grade_by_gym("<answer>x</answer>", json.dumps(row))
    with pytest.raises(ConfigurationError, match="generating problems needs"):
        next(generated_rows("lcm", 1, 0))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<answer>blue  green\nred</answer>", 1.0),
        ("<answer>no</answer><answer> blue green red", 1.0),
        ("blue green red", 0.0),
        ("<answer>blue green red.</answer>", 0.0),
        ("<answer></answer>", 0.0),
    ],
)
def test_an_exact_answer_may_be_spaced_freely(text, verdict):
    assert grade_exact(text, "blue green red") == verdict
