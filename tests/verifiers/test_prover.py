"""Bombs end at a deadline and are counted; a process that breaks is an error, not a verdict."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from lit_unmask.verifiers import MathVerifier, Unfinished, grade_math
from lit_unmask.verifiers import prover as module
from lit_unmask.verifiers.prover import Effort, Prover, ProverError, prover

BOMB = "9^{9^{9^{9}}}"


@pytest.fixture(scope="module")
def shared():
    prover = Prover(Effort(seconds=2))
    yield prover
    prover.close()


def pid_of(prover: Prover) -> int:
    return prover._process.pid


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_expressions_are_compared(shared):
    assert shared.equal("x+1", "1+x") is True
    assert shared.equal(r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}") is True
    assert shared.equal("x+1", "x+2") is False
    assert shared.equal("3, 5, 7", "3, 7, 5") is True
    assert shared.equal(
        r"\begin{pmatrix} 1/2 \\ 1 \end{pmatrix}", r"\begin{pmatrix} 0.5 \\ 1 \end{pmatrix}"
    )


@pytest.mark.parametrize(
    "text", ["", r"\frac{", "}{" * 50, "\\" * 9, "(" * 9, "$", "\0\n\n", "é\ud800"]
)
def test_what_cannot_be_read_is_not_equal(shared, text):
    assert shared.equal("x+1", text) is False
    assert shared.equal("x+1", "1+x") is True


def test_a_bomb_ends_at_the_deadline_and_the_next_comparison_works(shared):
    shared.equal("x", "y")
    before, start = pid_of(shared), time.monotonic()
    assert shared.equal("x+1", BOMB) is None
    assert time.monotonic() - start < 60
    assert not alive(before)
    assert shared.equal("x+1", "1+x") is True
    assert pid_of(shared) != before


def test_a_verdict_that_ran_out_of_time_is_told_apart():
    verdict = MathVerifier(Effort(seconds=0.5))(rf"\boxed{{{BOMB}}}", r"\sqrt{2}")
    assert verdict == 0.0 and isinstance(verdict, Unfinished)
    prover(Effort(seconds=0.5)).close()


def test_a_process_that_is_killed_is_an_error_and_then_replaced(shared):
    shared.equal("x", "y")
    pid = pid_of(shared)
    killer = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(ProverError, match=r"died .*status -9"):
        shared.equal("x+1", BOMB)
    killer.join()
    assert shared.equal("x+1", "1+x") is True


def test_a_process_that_cannot_start_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ProverError, match="did not start"):
        Prover().equal("x+1", "1+x")


def test_threads_take_turns(shared):
    found = []
    threads = [
        threading.Thread(target=lambda n=n: found.append((n, shared.equal(f"x+{n}", f"{n}+x"))))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(n, True) for n in range(6)]


def test_a_forked_process_has_its_own(shared):
    shared.equal("x", "y")
    before = pid_of(shared)
    child = os.fork()
    if child == 0:
        try:
            right = shared.equal("x+1", "1+x") is True and pid_of(shared) != before
            shared.close()
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert shared.equal("x+1", "1+x") is True and pid_of(shared) == before


OWNER = """
from lit_unmask.verifiers.prover import Effort, prover
import sys, os, time, signal
one = prover(Effort())
assert one.equal("x+1", "1+x")
print(one._process.pid, flush=True)
{ending}
"""


@pytest.mark.parametrize("ending", ["sys.exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_the_process_ends_with_its_owner(ending):
    run = [sys.executable, "-c", OWNER.format(ending=ending)]
    pid = int(subprocess.run(run, capture_output=True, text=True, timeout=60).stdout)
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_the_process_loads_neither_torch_nor_lightning():
    code = "import sys; import lit_unmask.verifiers, lit_unmask.verifiers.prover_process as p\n"
    code += "p.compare('x+1', '1+x'); print(*sys.modules)"
    run = [sys.executable, "-c", code]
    loaded = set(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split())
    assert "sympy" in loaded and not loaded & {"torch", "lightning", "transformers", "numpy"}


def test_most_answers_need_no_process(monkeypatch):
    monkeypatch.setattr(module, "Prover", None)
    prover.cache_clear()
    assert grade_math(r"so \boxed{1{,}000}", "1000.0") == 1.0
    assert grade_math(r"so \boxed{999}", "1000.0") == 0.0
    assert grade_math("no idea", "1000.0") == 0.0


def test_an_effort_must_be_positive():
    with pytest.raises(ValueError, match="seconds=0"):
        Effort(seconds=0)
