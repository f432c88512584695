"""Verdicts are the same wherever verifiers run, and a broken verifier is never a verdict."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_verifiers import Dies, Noted, length_is

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.evaluation.grading import Grader, InProcess, Verdicts, WorkerPool
from lit_unmask.policies import ConfidenceThreshold, Random
from lit_unmask.rollout import Decoding, Progress, Scheduling
from lit_unmask.tasks import ShoppingSums
from lit_unmask.types import Problem
from lit_unmask.verifiers.verdicts import Unfinished


def process(completion: str, answer: str) -> float:
    return 1 / os.getpid()


def broken(completion: str, answer: str) -> float:
    raise OSError("no space left")


def slow(completion: str, answer: str) -> float:
    time.sleep(0.2)
    return 1.0


def out_of_time(completion: str, answer: str) -> float:
    return Unfinished() if completion == "xxx" else 1.0


def problem(verifier, answer="3"):
    return Problem("uid", ({"role": "user", "content": "?"},), answer, verifier)


@pytest.fixture(scope="module")  # workers import this module, and torch with it
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(2)
    yield pool
    pool.close()


@pytest.fixture(params=["here", "workers"])
def grader(request, pool) -> Grader:
    return InProcess() if request.param == "here" else pool


def test_a_verdict_is_that_of_the_verifier(grader):
    assert grader.submit(problem(length_is), "abc").result() == 1.0
    assert grader.submit(problem(length_is), "ab").result() == 0.0


def test_a_verifier_that_fails_raises(grader):
    with pytest.raises(OSError, match="no space left"):
        grader.submit(problem(broken), "abc").result()


class Quits:
    def __call__(self, completion: str, answer: str) -> float:
        raise SystemExit(0)


class Says:
    def __init__(self, value):
        self.value = value

    def __call__(self, completion: str, answer: str) -> float:
        return self.value


class Sleeps:
    def __call__(self, completion: str, answer: str) -> float:
        time.sleep(30)
        return 1.0


class Stubborn:
    def __call__(self, completion: str, answer: str) -> float:
        while True:
            with suppress(Exception):
                time.sleep(0.01)


NO_VERDICTS = [1.5, -0.1, float("nan"), float("inf"), 10**400, "1", "yes", None, [1.0], 1j]
NO_VERDICTS += [torch.ones(2), torch.tensor(2.0)]


@pytest.mark.parametrize("value", NO_VERDICTS, ids=repr)
def test_what_is_no_number_from_0_to_1_is_no_verdict(value):
    with pytest.raises(ConfigurationError, match=r"problem 'uid'.*in \[0, 1\]"):
        InProcess().submit(problem(Says(value)), "").result()


@pytest.mark.parametrize("value", [0, 1, True, 0.25, np.float32(0.5), torch.tensor(1), np.bool_(1)])
def test_numbers_of_all_kinds_are_verdicts(value):
    result = InProcess().submit(problem(Says(value)), "").result()
    assert result == float(value) and type(result) is float


def graded(grader, *verifiers) -> list[float]:
    problems = [Problem(f"p{n}", (), "", verifier) for n, verifier in enumerate(verifiers)]
    rows = torch.arange(len(problems))
    verdicts = Verdicts(grader, Texts(), problems)
    verdicts(Progress(len(problems), 0, 0, 0, rows, rows[:, None]))
    return verdicts.wait().tolist()


def test_a_verifier_that_ends_the_process_is_named(grader):
    with pytest.raises(ConfigurationError, match=r"problem 'p1' raised SystemExit"):
        graded(grader, Says(1.0), Quits())
    with pytest.raises(OSError) as raised:
        graded(grader, broken)
    assert "problem 'p0'" in raised.value.__notes__[0]


@pytest.mark.parametrize("hanging", [Sleeps, Stubborn])
def test_a_verifier_that_hangs_here_is_named(hanging):
    with pytest.raises(ConfigurationError, match=r"problem 'p1' gave no verdict within 0.2 s"):
        graded(InProcess(patience=0.2), Says(1.0), hanging())


def test_a_worker_that_hangs_or_ends_is_named_and_replaced():
    pool = WorkerPool(1)
    try:
        assert graded(pool, Says(1.0)) == [1.0]  # it has started
        pool.patience = 0.3
        with pytest.raises(ConfigurationError, match=r"problem 'p0' gave no verdict within 0.3 s"):
            graded(pool, Sleeps())
        pool.patience = 60
        with pytest.raises(ConfigurationError, match=r"worker ended each of the 4 .*'p1'"):
            graded(pool, Says(1.0), Dies(), Says(0.5))
        assert graded(pool, Says(0.5)) == [0.5]
    finally:
        pool.close()


def test_completions_whose_workers_are_killed_are_graded_again_once_each(pool, tmp_path):
    work = [problem(Noted(tmp_path), str(number % 5)) for number in range(200)]
    futures = [pool.submit(one, "x" * 3) for one in work]
    verdicts, killed = [], []
    for number, (future, one) in enumerate(zip(futures, work, strict=True)):
        verdicts.append(pool.wait(future, one))
        if number % 35 == 0 and len(killed) < 5:
            worker = next(iter(pool._pool._processes.values()))
            os.kill(worker.pid, signal.SIGKILL)
            killed.append(worker.pid)
    assert len(set(killed)) == 5
    assert verdicts == [float(one.answer == "3") for one in work]
    assert not pool._tasks  # nothing is kept of what has its verdict
    assert len((tmp_path / "noted").read_bytes()) >= 200


def test_a_worker_killed_between_rounds_hinders_neither_the_next_nor_the_end():
    pool = WorkerPool(2)
    work = [problem(length_is, str(number)) for number in range(8)]

    def verdicts():
        futures = [pool.submit(one, "xxx") for one in work]
        return [pool.wait(future, one) for future, one in zip(futures, work, strict=True)]

    before = verdicts()
    assert sum(before) == 1
    workers = list(pool._pool._processes.values())
    os.kill(workers[0].pid, signal.SIGKILL)
    workers[0].join()
    assert verdicts() == before
    workers = list(pool._pool._processes.values())
    os.kill(workers[0].pid, signal.SIGKILL)
    pool.close()
    # Asked of the system: a thread that is just reaping a worker hides its end from is_alive.
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker.pid, 0)


def test_a_worker_ends_when_its_pool_tells_it_to_though_it_heeds_no_signal():
    pool = WorkerPool(1)
    assert pool.wait(pool.submit(problem(length_is, "3"), "xxx"), problem(length_is, "3")) == 1
    (worker,) = pool._pool._processes.values()
    worker.terminate()
    worker.join(30)
    assert worker.exitcode == -signal.SIGKILL
    pool.close()


def test_workers_are_other_processes_and_can_be_started_again(pool):
    here = 1 / os.getpid()
    first = pool.submit(problem(process), "").result()
    assert first != here
    pool.close()
    assert pool.submit(problem(process), "").result() not in (first, here)


def test_submitting_does_not_wait(pool):
    pool.submit(problem(slow), "").result()
    futures = [pool.submit(problem(slow), "") for _ in range(20)]
    assert not all(future.done() for future in futures)


def test_a_pool_needs_a_worker():
    with pytest.raises(ValueError, match="processes=0"):
        WorkerPool(0)


class Texts:
    """Decodes a response of one token into that many letters."""

    def decode(self, response):
        return ["x" * int(row[0]) for row in response]


def test_rows_are_graded_once_each_when_they_finish():
    heard = []
    problems = [problem(length_is, answer) for answer in ("3", "4", "5")]
    verdicts = Verdicts(InProcess(), Texts(), problems, heard.append)
    response = torch.tensor([[3], [4], [0]])
    first = Progress(3, 1, 0, 0, torch.tensor([1, 0]), response.clone())
    verdicts(first)
    with pytest.raises(KeyError):
        verdicts.wait()
    response[2] = 6
    second = Progress(3, 0, 0, 0, torch.tensor([2]), response)
    verdicts(second)
    assert verdicts.completions == ["xxx", "xxxx", "xxxxxx"]
    assert verdicts.wait().tolist() == [1.0, 1.0, 0.0]
    assert heard == [first, second]


def test_an_evaluation_in_workers_equals_one_in_process(tiny_llada, pool):
    problems = list(ShoppingSums("validation", 7))
    decoding = Decoding(16, 8, scheduling=Scheduling(max_rows=2))
    for policy in (Random(3), ConfidenceThreshold(0.1)):
        here = evaluate(tiny_llada, policy, problems, decoding)
        there = evaluate(tiny_llada, policy, problems, decoding, grader=pool)
        assert torch.equal(here.correct, there.correct)
        assert here.completions == there.completions
        assert torch.equal(here.nfe, there.nfe)


def test_verdicts_that_ran_out_of_time_are_counted_wherever_they_were_made(grader, caplog):
    problems = [problem(out_of_time) for _ in range(3)]
    verdicts = Verdicts(grader, Texts(), problems)
    verdicts(Progress(3, 0, 0, 0, torch.arange(3), torch.tensor([[3], [4], [3]])))
    assert verdicts.wait().tolist() == [0.0, 1.0, 0.0]
    assert verdicts.unfinished == 2
    assert "2 of 3 verdicts are 0" in caplog.text


# A script, as workers import the main module of whoever starts them.
WORKERS = """
from concurrent.futures import ProcessPoolExecutor
import json, multiprocessing, os, sys
from lit_unmask.verifiers import ProgramVerifier, grade_math
from lit_unmask.verifiers.verdicts import verdict_of

def loaded(completion, answer):
    return float(any(name in sys.modules for name in ("torch", "lightning", "transformers")))

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        reference = json.dumps({"prompt": "", "tests": "assert f(1) == 2", "entry_point": "f"})
        print(pool.submit(verdict_of, grade_math, r"\\boxed{1+x}", "x+1", "a").result())
        program = "def f(x): return x + 1"
        print(pool.submit(verdict_of, ProgramVerifier(), program, reference, "b").result())
        print(pool.submit(verdict_of, loaded, "", "", "c").result())
"""


def test_real_verifiers_run_in_workers_without_torch_and_end_with_them(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(WORKERS)
    run = [sys.executable, str(script)]
    # The processes of the verifiers inherit this; nothing else has it.
    marked = os.environ | {"LIT_UNMASK_TEST": str(tmp_path)}
    done = subprocess.run(
        run, capture_output=True, text=True, timeout=100, cwd=tmp_path, env=marked
    )
    assert done.stdout.split() == ["1.0", "1.0", "0.0"], done.stderr
    deadline = time.monotonic() + 10
    while (left := processes_with(str(tmp_path))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def processes_with(mark: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"LIT_UNMASK_TEST={mark}".encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found
