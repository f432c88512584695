"""Wrong neighbours of true answers are refused, and other ways to write them are taken."""

import importlib.util
from pathlib import Path

import pytest

from lit_unmask.verifiers import grade_math

PATH = Path(__file__).parents[2] / "benchmarks" / "verdicts.py"
ANSWERS = [
    "24", r"\frac{5}{12}", r"3\sqrt{7}", r"\left( -2, \frac{\pi}{3} \right]", "1243_5", r"40^\circ",
    r"\text{(D)}", "x^2 - 5x + 1", "4, 6", r"(2, 5) \cup (7, \infty)", r"\text{odd}", r"\$12.50",
    r"\begin{pmatrix} 2 \\ -1/3 \end{pmatrix}", r"2 \pm \sqrt{5}", "y = 3x + 4", "2 - 7i",
]  # fmt: skip


@pytest.fixture(scope="module")
def verdicts():
    spec = importlib.util.spec_from_file_location("verdicts", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("answer", ANSWERS)
def test_mutations_of_a_true_answer_are_told_apart(verdicts, answer):
    wrong = {text for _, text in verdicts.neighbours(answer) if text and text != answer}
    right = {text for _, text in verdicts.rewritings(answer) if text}
    assert {text for text in wrong if grade_math(rf"\boxed{{{text}}}", answer)} == set()
    assert {text for text in right if not grade_math(rf"\boxed{{{text}}}", answer)} == set()


def test_a_grader_that_takes_all_or_nothing_is_measured_as_wrong(verdicts, monkeypatch):
    for verdict, side in ((1.0, "neighbours"), (0.0, "rewritings")):
        monkeypatch.setattr(verdicts, "grade_math", lambda text, answer, v=verdict: v)
        counts = verdicts.measure(ANSWERS)
        assert all(tried == failed > 0 for tried, failed in counts[side].values())
