from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from command_line import exit_code
from lightning.pytorch.loggers import TensorBoardLogger
from lit_unmask.callbacks import Baseline, Trajectories, TrajectoryText
from lit_unmask.callbacks.trajectories import usual_baselines
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import DECODING, Coins, make_data, make_module, make_trainer

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.inspection.text import as_text
from lit_unmask.inspection.trajectories import NamedPolicy, load, record_trajectories
from lit_unmask.policies import ConfidenceThreshold, LowConfidence
from lit_unmask.rollout import Decoding


def test_the_page_holds_the_policy_and_the_baselines(tiny_llada: LLaDA, tmp_path: Path) -> None:
    file = tmp_path / "new" / "page.html"
    pairs = LowConfidence(2)
    callback = Trajectories(str(file), 3, {"pairs": Baseline(pairs, 8)}, policy_name="mine")
    data = make_data(test={"a": Coins("test", 5), "b": Coins("validation", 2)})
    module = make_module(tiny_llada)
    make_trainer(tmp_path, callback).predict(module, datamodule=data)
    runs = load(file.with_suffix(".json"))
    assert [(run.dataset, run.label) for run in runs] == [
        *[("a", "mine")] * 3, *[("a", "pairs")] * 3, *[("b", "mine")] * 2, *[("b", "pairs")] * 2
    ]  # fmt: skip
    problems = list(data.test["a"])[:3]
    for policy, decoding, found in [
        (module.policy, DECODING, runs[:3]),
        (pairs, Decoding(8, 8, temperature=1.0), runs[3:6]),
    ]:
        expected = evaluate(tiny_llada, policy, problems, decoding, module.rounds.seed)
        assert [run.uid for run in found] == [problem.uid for problem in problems]
        assert [run.nfe for run in found] == expected.nfe.tolist()
        assert [run.verdict for run in found] == expected.correct.tolist()
        assert {run.block_length for run in found} == {decoding.block_length}
    page = file.read_text()
    assert page.startswith("<!doctype html>") and '"label":"mine"' in page


def test_a_problem_is_shown_once(tiny_llada: LLaDA, tmp_path: Path) -> None:
    class Twice(Coins):
        def __getitem__(self, index: int):  # type: ignore[no-untyped-def]
            return super().__getitem__(index // 2)

    file = tmp_path / "page.html"
    data = make_data(test={"twice": Twice("test", 5)})
    make_trainer(tmp_path, Trajectories(str(file), 4, {})).predict(
        make_module(tiny_llada), datamodule=data
    )
    uids = [run.uid for run in load(tmp_path / "page.json")]
    assert uids == [data.test["twice"][index].uid for index in (0, 2, 4)]


def settle(path: Path, tiny_llada: LLaDA, **settings: Any) -> None:
    """Set the callback up as ``predict`` does."""
    callback: Any = Trajectories(str(path), **settings)
    callback.setup(SimpleNamespace(), make_module(tiny_llada), "predict")


def test_mistakes_are_found_before_any_work(tiny_llada: LLaDA, tmp_path: Path) -> None:
    mistakes: list[tuple[str, dict[str, Any], str]] = [
        ("page.txt", {}, "page.txt, must end in .html"),
        ("file/page.html", {}, "cannot be written"),
        ("old.html", {}, "old.html exists"),
        ("data.html", {}, "data.json exists"),
        ("page.html", {"baselines": {"policy": Baseline(LowConfidence())}}, "called 'policy'"),
        ("page.html", {"baselines": {"a": Baseline(LowConfidence(), 3)}}, "baseline a .* divide"),
    ]
    for name in ("file", "old.html", "data.json"):
        (tmp_path / name).touch()
    for name, settings, words in mistakes:
        with pytest.raises(ConfigurationError, match=words):
            settle(tmp_path / name, tiny_llada, **settings)
    settle(tmp_path / "page.html", tiny_llada)
    assert len(list(tmp_path.iterdir())) == 3
    for kind in (Trajectories, TrajectoryText):
        with pytest.raises(ValueError, match="count=0"):
            kind(**{"path": "page.html"} if kind is Trajectories else {}, count=0)


def test_other_stages_ask_for_nothing(tiny_llada: LLaDA, tmp_path: Path) -> None:
    callback = Trajectories(str(tmp_path / "page.txt"))
    trainer = make_trainer(tmp_path, callback, max_steps=1)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    assert not list(tmp_path.glob("page*"))


@pytest.mark.parametrize(
    ("length", "block", "expected"),
    [
        (64, 64, {None, 8}),
        (256, 32, {None}),
        (12, 4, {None, 1}),
        (40, 8, {None, 5}),
        (4, 4, {None, 1}),
    ],
)
def test_the_usual_baselines_are_the_threshold_in_own_and_short_blocks(
    length: int, block: int, expected: set[int | None]
) -> None:
    found = usual_baselines(Decoding(length, block))
    assert {baseline.block_length for baseline in found.values()} == expected
    assert all(isinstance(baseline.policy, ConfidenceThreshold) for baseline in found.values())


def test_training_writes_text(tiny_llada: LLaDA, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    data = make_data(val={"coins": Coins("validation", 5), "one": Coins("test", 1)})
    trainer = make_trainer(
        tmp_path, TrajectoryText(2), logger=logger, limit_val_batches=1.0, max_steps=2,
        val_check_interval=1, num_sanity_val_steps=1,
    )  # fmt: skip
    module = make_module(tiny_llada)
    trainer.fit(module, datamodule=data)
    events = EventAccumulator(logger.log_dir).Reload()
    entries = events.Tensors("val/coins/trajectory/text_summary")
    assert [entry.step for entry in entries] == [1, 2]
    text = entries[-1].tensor_proto.string_val[0].decode()
    who = NamedPolicy("policy", module.policy, DECODING)
    runs = record_trajectories(tiny_llada, who, list(data.val["coins"])[:2], module.rounds.seed)
    lines = [line for run in runs for line in as_text(run).splitlines()]
    assert [line.removeprefix("    ") for line in text.splitlines() if line] == lines
    assert all(line.startswith("    ") for line in text.splitlines() if line)
    (entry,) = events.Tensors("val/one/trajectory/text_summary")[-1:]
    assert entry.tensor_proto.string_val[0].decode().count("block length 4") == 1


def test_the_command_line_writes_a_page_once(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "page.html"
    arguments = ("predict", "--config", base, "--trainer.logger=false", "--trajectories", file)
    assert exit_code(*arguments) == 0
    assert str(file) in capsys.readouterr().out
    runs = load(file.with_suffix(".json"))
    assert {run.label for run in runs} == {"policy", "threshold 0.9", "threshold 0.9, blocks of 1"}
    assert len(runs) == 5 * 3
    content = file.read_bytes()
    assert exit_code(*arguments) == 2
    assert f"error: {file} exists" in capsys.readouterr().err
    assert file.read_bytes() == content


def test_the_option_goes_with_a_writer_and_belongs_to_predict(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, records = tmp_path / "page.html", tmp_path / "records.jsonl"
    writer = ("--trainer.callbacks+", "lit_unmask.callbacks.PredictionWriter",
              "--trainer.callbacks.path", records)  # fmt: skip
    common = ("--config", base, "--trainer.logger=false")
    assert exit_code("predict", *common, *writer, "--trajectories", page) == 0
    assert len(records.read_text().splitlines()) == 5
    assert exit_code("fit", *common, "--trajectories", tmp_path / "other.html") == 2
    assert "--trajectories" in capsys.readouterr().err
    assert exit_code("predict", *common, "--print_config") == 0
    printed = tmp_path / "printed.yaml"
    printed.write_text(capsys.readouterr().out)
    assert yaml.safe_load(printed.read_text())["trajectories"] is None
    assert exit_code("predict", "--config", printed) == 0


def test_a_trial_run_writes_nothing(base: Path, tmp_path: Path) -> None:
    trial = ("--trainer.fast_dev_run=1", "--trajectories", tmp_path / "page.html")
    assert exit_code("predict", "--config", base, *trial) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"base.yaml"}
