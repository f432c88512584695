"""The command behind the figures of the bundled denoisers."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
math/short: &test
  block_lengths: [1, 2]
  task: {class_path: lit_unmask.tasks.ShoppingSums, init_args: {split: test, size: 2, seed: 1}}
math/long:
  <<: *test
  gen_length: 72
  block_lengths: [72]
"""


@pytest.fixture
def denoisers():
    spec = importlib.util.spec_from_file_location("denoisers", ROOT / "benchmarks/denoisers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_are_of_the_tests_and_the_rest_of_the_file_stays(denoisers, tmp_path, capsys):
    tests, out = tmp_path / "tests.yaml", tmp_path / "metrics.json"
    tests.write_text(TESTS)
    out.write_text(json.dumps({"steps": 7, "math/short": {"validation_loss": 0.5, "problems": 9}}))
    denoisers.main(["tiny-llada", "--tests", str(tests), "--out", str(out)])
    metrics = json.loads(out.read_text())
    short = metrics["math/short"]
    assert (metrics["steps"], short["validation_loss"], short["problems"]) == (7, 0.5, 2)
    assert {"block_length=1", "block_length=2"} < set(short)
    assert metrics["math/long"]["gen_length"] == 72 and "block_length=72" in metrics["math/long"]


def test_all_that_a_denoiser_was_trained_for_is_asked(denoisers):
    tests = denoisers.read(denoisers.TESTS)
    lengths = {name: (test.gen_length, len(test.task)) for name, test in tests.items()}
    assert lengths == {
        f"{task}/{length}": (size, 500)
        for task in ("math", "code")
        for length, size in (("short", 64), ("long", 128))
    }
