"""A verdict says what the tests say, whatever the program does to get another one."""

import pytest

from lit_unmask.verifiers.sandbox import (
    Bubblewrap,
    Limits,
    NoSandbox,
    Sandbox,
    SandboxError,
    Trial,
    Unsafe,
    detection,
    strongest,
)

RIGHT = "def f(x):\n    return x + 1"
TESTS = "assert f(1) == 2\nassert f(5) == 6, 'five'"
# Each of these would pass a grader that looks at exit codes, output, or runs all in one process.
CHEATS = {
    "exits in the function": "import os\ndef f(x):\n    os._exit(0)",
    "exits when loaded": "import os\nos._exit(0)\ndef f(x): return 0",
    "sys.exit in the function": "import sys\ndef f(x):\n    sys.exit(0)",
    "sys.exit when loaded": "import sys\nsys.exit(0)",
    "equals everything": """
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
    __hash__ = None
def f(x): return Yes()""",
    "a number that equals everything": """
class Yes(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def f(x): return Yes(7)""",
    "patches builtins": """
import builtins, sys, unittest
builtins.AssertionError = Warning
builtins.__build_class__ = builtins.exec = builtins.compile = print
sys.excepthook = lambda *a: None
unittest.TestCase.assertEqual = lambda *a: None
def f(x): return 0""",
    "kills the tester": "import os, signal\ndef f(x):\n    os.kill(os.getppid(), signal.SIGKILL)",
    "kills everyone": "import os, signal\ndef f(x):\n    os.kill(-1, signal.SIGKILL)",
    "closes all descriptors": "import os\ndef f(x):\n    os.closerange(0, 64)",
    "talks nonsense": """
import os
def f(x):
    for number in range(3, 64):
        try: os.write(number, b'{"value": 2, "passed": true}\\n[[[[[[[\\n')
        except OSError: pass
    return 0""",
    "writes a report": """
import json, os
for number in range(64):
    try: os.write(number, json.dumps({"token": "", "passed": True, "detail": ""}).encode() + b"\\n")
    except OSError: pass
os._exit(0)""",
    "answers before it is asked": """
import os
for number in range(3, 64):
    try: os.write(number, b'{"value": null, "args": null}\\n' * 5)
    except OSError: pass
def f(x): return 0""",
    "leaves a thread and exits": """
import os, threading
threading.Thread(target=lambda: os._exit(0)).start()
def f(x): return x + 1 if x < 5 else 0""",
    "does not parse": "def f(x) return",
    "defines nothing": "",
    "recurses": "def f(x): return f(x)",
    "returns itself for ever": "def f(x):\n    l = []\n    l.append(l)\n    return l",
}  # fmt: skip
# Tests that use a class run in the program's process, where less can be promised.
TOGETHER = {"exits in the function", "exits when loaded", "sys.exit in the function"}
TOGETHER |= {"sys.exit when loaded", "patches builtins", "does not parse", "writes a report"}
TOGETHER |= {"closes all descriptors", "kills the tester", "defines nothing"}
TOGETHER |= {"answers before it is asked"}


@pytest.mark.parametrize("names", [("f",), None], ids=["apart", "together"])
def test_a_right_program_passes_and_a_wrong_one_says_why(any_sandbox, names):
    assert any_sandbox.run(Trial(RIGHT, TESTS, names=names)).passed
    outcome = any_sandbox.run(Trial("def f(x): return 2", TESTS, names=names))
    assert not outcome.passed and outcome.finished and "five" in outcome.detail


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_fails(any_sandbox, cheat):
    if cheat == "kills everyone" and not isinstance(any_sandbox, Bubblewrap):
        pytest.skip("where processes are not apart this is tried on one victim only")
    outcome = any_sandbox.run(Trial(CHEATS[cheat], TESTS, names=("f",)))
    assert not outcome.passed, outcome
    if cheat in TOGETHER:
        assert not any_sandbox.run(Trial(CHEATS[cheat], TESTS)).passed


EVERYTHING = """
import collections, datetime, decimal, fractions, math
for value in [
    1, -(2**80), 1.5, math.inf, "é\\ud800", b"ab", True, None, 1 + 2j, range(3), [[1], [2, []]],
    {1: (2, 3), "a": {4}}, frozenset([(1,)]), collections.Counter("abc"), collections.deque([1]),
    collections.OrderedDict(a=1), decimal.Decimal("1.10"), fractions.Fraction(1, 3),
    datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1, 3), datetime.timedelta(3, 4, 5),
]:
    assert same(value) == value and type(same(value)) is type(value), value
assert math.isnan(same(math.nan))
"""
WORKS = {
    "values of all kinds": ("def same(x): return x", EVERYTHING, ("same",)),
    "arguments changed in place": (
        "def f(rows, d): rows.sort(); d['a'] = rows[0]",
        "l, d = [3, 1], {}\nf(l, d)\nassert l == [1, 3] and d == {'a': 1}",
        ("f",),
    ),
    "functions of the tests": (
        "def f(g, items): return [g(item) for item in items]",
        "assert f(lambda x: x * 2, [1, 2]) == [2, 4]\nassert f(str, [1]) == ['1']",
        ("f",),
    ),
    "generators": (
        "def f():\n    i = 0\n    while True:\n        yield i\n        i += 1",
        "import itertools\nassert list(itertools.islice(f(), 3)) == [0, 1, 2]\n"
        "assert next(f()) == 0",
        ("f",),
    ),
    "functions that return functions": (
        "def f(n): return lambda x: x + n", "assert f(3)(4) == 7", ("f",)
    ),
    "named tuples": (
        "import collections\nP = collections.namedtuple('P', 'x y')\ndef f(): return P(1, 2)",
        "assert f() == (1, 2) and f().y == 2 and (1, 2) == f()",
        ("f",),
    ),
    "exceptions": (
        "class E(KeyError): pass\ndef f(): raise E('bad')",
        "try: f()\nexcept KeyError as error: assert 'bad' in str(error)\nelse: assert False",
        ("f",),
    ),
    "imports of the program and pytest": (
        "def f(x):\n    if x < 0: raise ValueError('negative')\n    return x",
        "import pytest\nfrom solution import f\nassert f(0.1 + 0.2) == pytest.approx(0.3)\n"
        "with pytest.raises(ValueError, match='neg'): f(-1)",
        ("f",),
    ),
    "classes": (
        "class Stack:\n    def __init__(self): self.items = []",
        "from solution import Stack\nassert isinstance(Stack(), Stack) and Stack().items == []",
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WORKS)
def test_programs_and_tests_in_two_processes_agree_on(any_sandbox, case):
    outcome = any_sandbox.run(Trial(*WORKS[case][:2], names=WORKS[case][2]))
    assert outcome.passed, outcome


def test_what_cannot_be_handed_over_is_told(any_sandbox):
    tests = "class Mine: pass\nassert f(Mine()) == 1"
    outcome = any_sandbox.run(Trial("def f(x): return 1", tests, names=("f",)))
    assert outcome.unsendable and not outcome.passed


def test_a_program_that_kills_its_tester_is_unfinished(any_sandbox):
    outcome = any_sandbox.run(Trial(CHEATS["kills the tester"], TESTS, names=("f",)))
    assert not outcome.passed and not outcome.finished


class Broken(Sandbox):
    def command(self, inner, folder):
        return ["/bin/sh", "-c", "echo no room left >&2; exit 1"]


class Missing(Sandbox):
    def command(self, inner, folder):
        return ["/no/such/program"]


@pytest.mark.parametrize(("kind", "reason"), [(Broken, "no room left"), (Missing, "no/such")])
def test_a_sandbox_that_fails_raises(kind, reason):
    with pytest.raises(SandboxError, match=reason):
        kind().run(Trial(RIGHT, TESTS, names=("f",)))


def test_a_sandbox_that_does_not_contain_is_found_out():
    class Open(Sandbox):
        def command(self, inner, folder):
            return inner

    with pytest.raises(SandboxError, match="Open does not contain"):
        Open().probe()


def test_without_a_sandbox_the_remedies_are_named(monkeypatch):
    monkeypatch.setattr(detection, "KINDS", (Broken, Missing))
    strongest.cache_clear()
    with pytest.raises(NoSandbox) as raised:
        strongest()
    strongest.cache_clear()
    for word in ("no room left", "apt-get install bubblewrap", "lit-unmask[sandbox]", "Unsafe"):
        assert word in str(raised.value)


def test_the_unsafe_one_is_never_chosen_and_still_gives_verdicts():
    assert Unsafe not in detection.KINDS
    assert Unsafe().run(Trial(RIGHT, TESTS, names=("f",))).passed
    assert not Unsafe().run(Trial("def f(x): return 2", TESTS, names=("f",))).passed


@pytest.mark.parametrize("field", ["seconds", "wall_seconds", "memory", "processes", "file_size"])
def test_limits_must_be_positive(field):
    with pytest.raises(ValueError, match=f"limits.{field}=0"):
        Limits(**{field: 0})
