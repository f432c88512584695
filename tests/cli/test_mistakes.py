"""Mistakes: each ends with the sentence that docs/mistakes.md has of it, before any work."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import Run
from lit_unmask.callbacks.save_config import SaveConfig
from mistakes import table
from mistakes.workshop import Mistake, contents, furnish, said_of

from lit_unmask.denoisers.families import stock
from lit_unmask.errors import ConfigurationError

# What only the weights, or who reads them, can tell.
AFTER_WEIGHTS = {
    *("a device map of nothing", "weights that are no numbers", "digests that are a folder"),
    *("digests of no text", "a digest of a file outside"),
}


@pytest.fixture(scope="module")
def rows() -> dict[str, str]:
    """The sentences of the page."""
    return table.read()


@pytest.mark.parametrize("one", table.MISTAKES, ids=lambda one: one.what)
def test_a_mistake_costs_one_sentence_no_weights_and_loses_nothing(
    one: Mistake,
    rows: dict[str, str],
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if one.what not in AFTER_WEIGHTS:
        read = "weights were read"
        monkeypatch.setattr(stock, "load_network", lambda *_, **__: pytest.fail(read))
    furnish(tmp_path, tiny_checkpoint)
    for change in one.changes:
        change(tmp_path)
    before = contents(tmp_path)
    code, output, last = said_of(one, tmp_path)
    assert code in (1, 2) and output == ""
    assert last.startswith("error: ") and last.endswith("\n") and last[:-1].isprintable()
    assert table.holds(rows[one.what], last[7:-1]), last
    assert contents(tmp_path) == before


def test_the_page_lists_every_mistake_once_and_no_other(rows: dict[str, str]) -> None:
    assert len({one.what for one in table.MISTAKES}) == len(table.MISTAKES) >= 120
    assert table.PAGE.read_text(encoding="utf-8") == table.written(rows)


def test_ranks_with_different_configurations_say_where_they_differ() -> None:
    def start(own: str, first: str) -> None:
        strategy = SimpleNamespace(
            broadcast=lambda mine: first.splitlines(),
            reduce_boolean_decision=lambda same, all: same,
        )
        trainer: Any = SimpleNamespace(
            world_size=2, global_rank=1, strategy=strategy, loggers=[], fast_dev_run=False
        )
        parser: Any = SimpleNamespace(dump=lambda config: config)
        nobody: Any = None
        SaveConfig(parser, own).setup(trainer, nobody, "fit")  # type: ignore[arg-type]

    start("a: 1\nb: 2", "a: 1\nb: 2")
    with pytest.raises(ConfigurationError, match=r"\(rank 1: 'b: 2' here, 'b: 3' on rank 0\)"):
        start("a: 1\n  b: 2", "a: 1\n  b: 3")


def test_a_flag_in_front_of_a_configuration_is_warned_of(run: Run, base: Path) -> None:
    flag = "--trainer.max_steps=7"
    _, _, errors = run("fit", flag, "--config", base, "--print_config")
    assert "warning: a --config overwrites" in errors
    assert "--trainer.max_steps" in errors
    assert "warning" not in run("fit", "--config", base, flag, "--print_config")[2]


def test_nothing_is_advertised(run: Run, base: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        code, output, errors = run("validate", "--config", base)
    assert code == 0
    assert "seamless" not in output + errors + caplog.text
