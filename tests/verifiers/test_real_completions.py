"""Accuracy on what a model really wrote, where that data is there (``LIT_UNMASK_DATA``)."""

import json
import os
from pathlib import Path

import pytest

from lit_unmask.verifiers.answers import find_answer
from lit_unmask.verifiers.comparison import compare

FOLDER = Path(os.environ.get("LIT_UNMASK_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.parametrize(
    ("name", "right", "open_cases"),
    [("gsm8k_llada_completions", 443, 1), ("math500_llada_completions", 74, 49)],
)
def test_the_fast_path_decides_most_of(name, right, open_cases):
    path = FOLDER / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"{path.name} is not here")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = [(row["answer"], find_answer(row["completion"])) for row in rows]
    verdicts = [answer and compare(gold, answer) for gold, answer in found]
    assert verdicts.count(True) == right
    assert verdicts.count(None) <= open_cases
