"""Real questions, where they are at hand: every one becomes a problem that can be graded."""

import json
from pathlib import Path

import pytest

from lit_unmask.tasks import GSM8K, MATH, MATH500

TEXTS = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def questions():
    """A function that returns the rows of a file, or skips."""

    def rows(name):
        path = TEXTS / name
        if not path.exists():
            pytest.skip(f"{name} is not here")
        return [json.loads(line) for line in path.read_text().splitlines()]

    return rows


def written(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_every_question_of_gsm8k_becomes_a_problem(questions, tmp_path):
    # Two negative answers were lost on the way here.
    real = [row for row in questions("gsm8k_questions.jsonl") if row["answer"] != "None"]
    rows = [
        {"question": row["question"], "answer": f"steps\n#### {row['answer'].removesuffix('.0')}"}
        for row in real
    ]
    problems = list(GSM8K("test", path=written(tmp_path, rows)))
    assert len(problems) == len(real) == len({problem.uid for problem in problems})
    for problem, row in zip(problems, real, strict=True):
        assert problem.messages[0]["content"].startswith(row["question"].strip())
        assert float(problem.answer) == float(row["answer"])
        assert problem.grade(problem.solution) == 1.0


def test_every_question_of_math_500_becomes_a_problem(questions, tmp_path):
    real = questions("math500_questions.jsonl")
    rows = [
        {
            "problem": row["question"],
            "answer": row["answer"],
            "solution": f"so \\boxed{{{row['answer']}}}.",
            "unique_id": f"test/{number}.json",
        }
        for number, row in enumerate(real)
    ]
    path = written(tmp_path, rows)
    problems, boxed = list(MATH500(path=path)), list(MATH("test", path=path))
    assert [p.answer for p in problems] == [p.answer for p in boxed]
    assert len(problems) == len({problem.uid for problem in boxed}) == len(real)
    assert [p.answer for p in problems] == [row["answer"].strip() for row in real]
