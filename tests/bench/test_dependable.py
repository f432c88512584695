"""The command that asks whether every seed learns."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import yaml
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from tests.command_line import exit_code

ROOT = Path(__file__).parents[2]
# The trials of tiny_math with one seed.
MATHS = [("tiny-llada", 64), ("tiny-dream", 64), ("tiny-llada", 16)]


@pytest.fixture
def dependable(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("dependable", ROOT / "benchmarks/dependable.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "dependable", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "dependable.json")
    return module


def write_run(folder):
    """Write what a run leaves behind: a comparison, and what its rounds have cost."""
    log = folder / "runs/demo/version_0"  # what Lightning makes of a number
    point = {"block_length": 64, "ci_low": 0.7, "ci_high": 0.9}
    rows = [("learned", 0.8, 9.0), ("learned", 0.9, 20.0), ("heuristic", 0.6, 8.0)]
    rows += [("heuristic", 0.7, 30.0), ("heuristic", 0.7, 25.0)]
    points = [point | dict(zip(("kind", "accuracy", "nfe"), row, strict=True)) for row in rows]
    writer = EventFileWriter(str(log))
    oracle = [("train/teaching/oracle_nfe", 4.0), ("train/teaching/oracle_nfe", 5.0)]
    costs = [("train/teaching/row_forwards", 100.0), ("train/row_forwards", 40.0)] * 2
    for step, (tag, value) in enumerate([*costs, *oracle]):
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.add_event(Event(step=step, summary=summary))
    writer.close()
    (log.parent / "results.json").write_text(json.dumps(points))


def test_a_row_has_the_first_policy_the_best_heuristic_and_all_rounds(dependable, tmp_path):
    write_run(tmp_path)
    trial = dependable.TRIALS[0]
    row = dependable.row_of(trial, tmp_path, "0", 12.4)
    assert (row["accuracy"], row["nfe"], row["block_length"]) == (0.8, 9.0, 64)
    assert (row["heuristic_accuracy"], row["heuristic_nfe"]) == (0.7, 25.0)
    assert (row["row_forwards"], row["seconds"], row["seed"], row["threads"]) == (280, 12, 0, 2)
    assert row["oracle_share"] == 0.5


def test_in_short_blocks_the_heuristic_is_the_best_in_such_blocks(dependable, tmp_path):
    write_run(tmp_path)
    results = tmp_path / "runs/demo/results.json"
    points = json.loads(results.read_text())
    points.append(points[2] | {"block_length": 16, "accuracy": 0.65})
    results.write_text(json.dumps(points))
    trial = next(trial for trial in dependable.TRIALS if trial.block_length == 16)
    row = dependable.row_of(trial, tmp_path, "0", 1.0)
    assert (row["heuristic_accuracy"], row["block_length"]) == (0.65, 16)


def test_what_a_trial_changes_is_understood(dependable, capsys):
    for trial in {each.key[:3]: each for each in dependable.TRIALS}.values():
        config = ["--config", str(ROOT / f"configs/{trial.what}.yaml")]
        assert exit_code("fit", *config, *trial.changes, "--print_config") == 0
        model = yaml.safe_load(capsys.readouterr().out)["model"]
        assert model["denoiser"]["init_args"]["path"] == trial.denoiser
        assert model["decoding"]["block_length"] == trial.block_length


def test_rows_that_are_there_are_not_computed_again(dependable, tmp_path, monkeypatch, capsys):
    write_run(tmp_path)
    ran = []

    def run(trial):
        ran.append(trial.key)
        return dependable.row_of(dependable.TRIALS[0], tmp_path, "0", 1.0) | vars(trial)

    monkeypatch.setattr(dependable, "run", run)
    dependable.main(["tiny_math", "--seeds", "1"])
    dependable.main(["demo"])
    maths = [(*("tiny_math", each, block), 1, 1) for each, block in MATHS]
    demos = [trial.key for trial in dependable.TRIALS if trial.what == "demo"]
    assert ran == [*maths, *demos] and len(demos) == 10
    dependable.main(["demo", "tiny_math", "--seeds", "1"])
    assert len(ran) == 13
    rows = json.loads(dependable.RESULTS.read_text())
    assert [dependable.key_of(row) for row in rows] == [*demos, *maths]
    assert (
        "| demo | tiny-llada | 64 | 0 | 2 | 0.800 (0.700 to 0.900) | 9.0 | 0.700 @ 25.0 |"
        in capsys.readouterr().out
    )


def test_every_trial_is_a_configuration_that_compares_itself(dependable):
    for what in {trial.what for trial in dependable.TRIALS}:
        text = (ROOT / "configs" / f"{what}.yaml").read_text()
        assert "lit_unmask.callbacks.Frontier" in text and f"results: runs/{what}" in text
