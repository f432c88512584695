from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from lit_unmask.callbacks import Cell, TransferOptions, TransferTest
from matplotlib.text import Text
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import DECODING, Coins, make_data, make_module, make_trainer, small_policy

from lit_unmask.denoisers import Dream, LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.evaluation.grid import HeuristicGrid
from lit_unmask.evaluation.points import Point
from lit_unmask.evaluation.store import Store
from lit_unmask.policies import LowConfidence, Random
from lit_unmask.preflight.extends import read_config
from lit_unmask.report.heatmap import HeatRow, read_cells, transfer_figure
from lit_unmask.rollout import Decoding
from lit_unmask.tasks import ShoppingSums
from lit_unmask.types import Observation, Problem, Signals

ROOT = Path(__file__).parents[2]
GRIDS = {"low confidence": HeuristicGrid(LowConfidence, [2, 4], [4, 8])}


class Counting(LowConfidence):
    """Low confidence that counts the steps of all its instances."""

    steps = 0

    def forward(self, observation: Observation) -> Any:
        Counting.steps += 1
        return super().forward(observation)


class Poems(ShoppingSums):
    """Questions of which the tiny denoisers know no word."""

    def draw(self, rng: Any) -> Problem:
        problem = super().draw(rng)
        return replace(problem, messages=({"role": "user", "content": "write a sonnet"},))


def coins(**settings: Any) -> Cell:
    return Cell(**({"test": Coins("test", 5), "tuning": Coins("tuning", 3)} | settings))


def test_every_cell_has_the_policy_beside_its_own_heuristic(
    tiny_llada: LLaDA, tiny_dream: Dream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {"random": HeuristicGrid(Random, [1], [16])}
    cells = {
        "home": coins(),
        "dream": coins(denoiser=tiny_dream, block_length=8),
        "long": coins(gen_length=16, grids=other),
    }
    folder, logger = tmp_path / "out", TensorBoardLogger(tmp_path)
    trainer = make_trainer(tmp_path, TransferTest(cells, GRIDS, str(folder)), logger=logger)
    module = make_module(tiny_llada)
    trainer.test(module, datamodule=make_data(), verbose=False)

    rows = {row["cell"]: row for row in json.loads((folder / "transfer.json").read_text())}
    assert list(rows) == list(cells)
    used = {
        "home": (tiny_llada, DECODING),
        "dream": (tiny_dream, replace(DECODING, block_length=8)),
        "long": (tiny_llada, replace(DECODING, gen_length=16, block_length=4)),
    }
    events = EventAccumulator(logger.log_dir).Reload()
    for name, (denoiser, decoding) in used.items():
        row = rows[name]
        expected = evaluate(denoiser, module.policy, list(Coins("test", 5)), decoding)
        assert row["policy"]["accuracy"] == pytest.approx(expected.accuracy)
        assert row["policy"]["nfe"] == pytest.approx(expected.mean_nfe)
        assert row["policy"]["block_length"] == decoding.block_length
        assert row["gen_length"] == decoding.gen_length
        heuristic = row["heuristic"]
        policy = Random(1) if name == "long" else LowConfidence(heuristic["params"]["k"])
        decoding = replace(decoding, block_length=heuristic["block_length"])
        beside = evaluate(denoiser, policy, list(Coins("test", 5)), decoding)
        assert heuristic["accuracy"] == pytest.approx(beside.accuracy)
        assert heuristic["nfe"] == pytest.approx(beside.mean_nfe)
        assert row["best"]["accuracy"] >= 0 and row["best"]["num_problems"] == 5
        assert row["round"] is None
        difference = expected.accuracy - beside.accuracy
        assert row["accuracy_difference"] == pytest.approx(difference)
        for tag, value in (
            ("accuracy", expected.accuracy),
            ("nfe", expected.mean_nfe),
            ("heuristic/accuracy", beside.accuracy),
            ("heuristic/nfe", beside.mean_nfe),
            ("best/nfe", row["best"]["nfe"]),
        ):
            assert events.Scalars(f"transfer/{name}/{tag}")[0].value == pytest.approx(value)
    assert rows["dream"]["denoiser"] == Path(str(tiny_dream.identity["path"])).name
    assert len(events.Images("transfer/cells")) == 1
    assert (folder / "transfer.png").read_bytes().startswith(b"\x89PNG")
    assert {file.name for file in folder.iterdir()} == {"transfer.json", "transfer.png", "store"}
    store = Store(folder / "store")
    assert {run.dataset for run in store.runs()} == set(cells)
    assert all(len(store.outcomes(run)) == run.num_problems for run in store.runs())
    tested = {run.key: run for run in store.runs() if run.stage == "test"}
    for cell in read_cells(folder / "store"):
        sides = zip(
            (cell.policy, cell.closest, cell.best), ("policy", "heuristic", "best"), strict=True
        )
        for key, side in sides:
            run, shown = tested[key], rows[cell.cell][side]
            assert (run.dataset, run.name) == (cell.cell, shown["name"])
            assert (run.params, run.block_length) == (shown["params"], shown["block_length"])
            outcomes = store.outcomes(run).values()
            assert sum(o.nfe for o in outcomes) / 5 == pytest.approx(shown["nfe"])
    assert "transfer, dream" in capsys.readouterr().out


def test_training_tests_the_cells_at_intervals_and_heuristics_once(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    Counting.steps = 0
    grids = {"low": HeuristicGrid(Counting, [4], [8])}
    options = TransferOptions(every_n_validations=2)
    logger = TensorBoardLogger(tmp_path)
    settings = {"val_check_interval": 1, "limit_val_batches": 1.0, "num_sanity_val_steps": 1}

    def train(rounds: int, callback: TransferTest, **changes: Any) -> TransferTest:
        trainer = make_trainer(tmp_path, callback, max_steps=rounds, **(settings | changes))
        trainer.fit(
            make_module(tiny_llada), datamodule=make_data(),
            ckpt_path=tmp_path / "three.ckpt" if changes else None,
        )  # fmt: skip
        trainer.save_checkpoint(tmp_path / "three.ckpt")
        return callback

    folder = str(tmp_path / "out")
    assert train(3, TransferTest({"a": coins()}, grids, folder, options)).validations == 3
    store = Store(tmp_path / "out" / "store")
    learned = [run.name for run in store.runs() if run.kind == "learned"]
    assert learned == ["policy, round 2"] * 2
    assert Counting.steps == 2 * 2  # tuning and test, 8 positions in fours
    resumed = TransferTest({"a": coins()}, grids, folder, options)
    assert train(5, resumed, logger=logger).validations == 5
    learned = [run.name for run in store.runs() if run.kind == "learned"]
    assert learned == ["policy, round 2"] * 2 + ["policy, round 4"] * 2
    assert Counting.steps == 2 * 2
    events = EventAccumulator(logger.log_dir).Reload()
    assert [point.step for point in events.Scalars("transfer/a/accuracy")] == [4]
    [row] = json.loads((tmp_path / "out" / "transfer.json").read_text())
    assert row["round"] == 4


def test_nothing_is_tested_without_being_asked_for(tiny_llada: LLaDA, tmp_path: Path) -> None:
    callback = TransferTest({"a": coins()}, GRIDS, str(tmp_path / "out"))
    settings = {"max_steps": 1, "val_check_interval": 1, "limit_val_batches": 1.0}
    make_trainer(tmp_path, callback, **settings).fit(
        make_module(tiny_llada), datamodule=make_data()
    )
    trainer = make_trainer(tmp_path, callback, fast_dev_run=1)
    trainer.test(make_module(tiny_llada), datamodule=make_data(), verbose=False)
    assert not (tmp_path / "out").exists()


def test_full_diffusion_stays_full_diffusion_at_another_length() -> None:
    full, blocks = Decoding(64, 64), Decoding(64, 32)
    assert coins(gen_length=128).decoding(full) == Decoding(128, 128)
    assert coins(gen_length=128).decoding(blocks) == Decoding(128, 32)
    assert coins(gen_length=128, block_length=8).decoding(full) == Decoding(128, 8)
    assert coins(block_length=8).decoding(full) == Decoding(64, 8)
    assert coins().decoding(blocks) == blocks


MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "block length": ({"block_length": 3}, {}, "cell 'far' of TransferTest: block_length=3 must"),
    "length": ({"gen_length": 120}, {}, r"far.*gen_length=120 exceeds .* max_length=128"),
    "grid": ({"gen_length": 12, "block_length": 4}, {}, "block_length=8 must divide gen_length=12"),
    "task": ({"test": Poems("test", 2)}, {}, "far, test: .* has words that the denoiser"),
    "tuning task": ({"tuning": Poems("tuning", 2)}, {}, "far, tuning: .* has words"),
    "no grids": ({"grids": {}}, {}, "there is no heuristic to compare with"),
    "no cells": ({}, {"cells": {}}, "at least one cell"),
    "interval": ({}, {"options": TransferOptions(-1)}, "every_n_validations=-1 must not be"),
    "unwritable": ({}, {"folder": f"{__file__}/out"}, "cannot be written"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found_before_any_work(
    tiny_llada: LLaDA, tmp_path: Path, mistake: str
) -> None:
    cell, changes, message = MISTAKES[mistake]
    arguments: Any = {"cells": {"far": coins(**cell)}, "grids": GRIDS, "folder": str(tmp_path)}
    trainer = make_trainer(tmp_path / "logs", TransferTest(**(arguments | changes)))
    with pytest.raises(ConfigurationError, match=message):
        trainer.test(make_module(tiny_llada), datamodule=make_data(), verbose=False)
    assert not (tmp_path / "store").exists()


def test_a_policy_that_reads_hidden_states_stays_with_their_width(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    policy = small_policy()
    policy.signals = Signals(names={"hidden"})
    wide = LLaDA("tiny-llada")
    trainer = make_trainer(tmp_path, TransferTest({"far": coins(denoiser=wide)}, GRIDS))
    with pytest.raises(ConfigurationError, match=r"hidden states of width 16, .* have 128"):
        trainer.test(make_module(tiny_llada, policy), datamodule=make_data(), verbose=False)


def point(name: str, accuracy: float, nfe: float) -> Point:
    return Point(name, "heuristic", {"k": 2}, 8, accuracy, 0, 1, nfe, 1.0, 10, 0, 0.0)


def test_the_heat_map_has_every_number_in_its_cell() -> None:
    rows = [
        HeatRow(
            *("home", "a, T, L 64, BL 8", 64),
            *(point("p", 0.75, 10), point("h", 0.5, 40), point("b", 0.8, 60)),
        ),
        HeatRow(
            *("far", "b, T, L 128, BL 8", 128),
            *(point("p", 0.0, 90), point("h", 1.0, 45), point("h", 1.0, 45)),
        ),
    ]
    figure = transfer_figure(rows, "title")
    columns = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert columns == [
        ["0.750", "0.000"],
        ["10.0", "90.0"],
        ["+0.250", "-1.000"],
        ["0.25", "2.00"],
        ["-0.050", "-1.000"],
    ]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [
        "home\na, T, L 64, BL 8\nclosest: h (k=2), BL 8\nmost accurate: b (k=2), BL 8",
        "far\nb, T, L 128, BL 8\nclosest: h (k=2), BL 8\nmost accurate: h (k=2), BL 8",
    ]
    assert "title" in [text.get_text() for text in figure.findobj(Text)]
    # Better than the heuristic and worse lie on both sides of the middle, in both columns.
    for axes, signs in ((figure.axes[2], (1, -1)), (figure.axes[3], (-1, 1))):
        image = axes.images[0]
        better, worse = (float(image.norm(value)) for value in image.get_array().ravel())
        assert (better - 0.5) * signs[0] > 0 and (worse - 0.5) * signs[1] > 0


def test_the_config_takes_checkpoints_of_tiny_math() -> None:
    mine, trained = (
        read_config(ROOT / "configs" / f"{name}.yaml")["model"]
        for name in ("transfer", "tiny_math")
    )
    assert all(mine[part] == trained[part] for part in ("policy", "denoiser", "decoding"))
