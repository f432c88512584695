from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from lit_unmask.callbacks import RolloutProgressBar
from toys import make_data, make_module, make_trainer

from lit_unmask.denoisers import LLaDA
from lit_unmask.rollout import Progress


def rollout_lines(bar: RolloutProgressBar) -> list[Any]:
    assert bar.progress is not None
    return [task for task in bar.progress.tasks if task.description.startswith("rollout")]


def test_rollouts_are_shown_while_they_run(
    tiny_llada: LLaDA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("FORCE_COLOR", "1")  # Rich then takes the output for a terminal
    monkeypatch.setenv("COLUMNS", "160")
    bar = RolloutProgressBar(refresh_rate=50)
    shown: list[tuple[str, bool, float, str]] = []

    def look(state: Progress) -> None:
        (line,) = rollout_lines(bar)
        stage = str(module.trainer.state.stage.value)
        shown.append((line.description, line.visible, line.completed, stage))
        assert line.total == state.rows
        assert line.visible == (state.rows_left > 0)
        assert line.completed == state.rows - state.rows_left
        if line.visible:
            start = f"rollout: {state.rows_left} rows left, {state.nfe} NFE, "
            assert line.description.startswith(start)
            saved = 100 * (1 - state.computed / state.nfe)
            assert line.description == f"{start}{saved:.0f}% of forwards saved"
            assert bar.progress is not None
            bar.progress.refresh()

    module = make_module(tiny_llada)
    trainer = make_trainer(
        tmp_path, bar, enable_progress_bar=True, limit_val_batches=1.0, val_check_interval=2,
        num_sanity_val_steps=1,
    )  # fmt: skip
    module.listeners.append(bar.show)
    module.listeners.append(look)
    trainer.fit(module, datamodule=make_data())
    assert {stage for *_, stage in shown} == {"sanity_check", "train", "validate"}
    assert all(not line.visible for line in rollout_lines(bar))
    assert bar.train_progress_bar.completed == 3  # Lightning still finds its own lines
    output = capsys.readouterr().out
    assert re.search(r"rollout: \d+ rows left, \d+ NFE, \d+% of forwards saved", output)
    assert "/-2" not in output
    assert module.listeners == [look]


def test_output_to_a_file_stays_readable(
    tiny_llada: LLaDA, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = RolloutProgressBar()
    trainer = make_trainer(tmp_path, bar, enable_progress_bar=True)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    trainer.test(make_module(tiny_llada), datamodule=make_data(), verbose=False)
    output = capsys.readouterr().out
    assert "3/3" in output
    assert "rollout" not in output  # what was going on is of no interest once it has ended
    assert len(output.splitlines()) < 12


def test_rounds_are_told_where_no_bar_is_seen(
    tiny_llada: LLaDA, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = RolloutProgressBar(every=2)
    trainer = make_trainer(tmp_path, bar, enable_progress_bar=True, max_steps=4)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    lines = re.findall(r"^round .*", capsys.readouterr().out, re.MULTILINE)
    number = r"-?[\d.e+-]+"
    told = rf"reward {number}, accuracy {number}, nfe {number}, \d+ s left"
    assert [bool(re.fullmatch(f"round {n} of 4, {told}", line)) for n, line in
            zip((2, 4), lines, strict=True)] == [True, True]  # fmt: skip
    assert lines[-1].endswith(", 0 s left")


def test_it_can_be_switched_off(
    tiny_llada: LLaDA, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer(tmp_path, RolloutProgressBar(0), enable_progress_bar=True)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    assert capsys.readouterr().out == ""
