"""Which tests run apart from the program follows from the tests alone."""

import pytest

from lit_unmask.verifiers.separation import foreign_imports, names_apart

APART = {
    "assert add(1, 2) == 3": ("add",),
    "def check(candidate):\n    assert candidate(1) == 2\ncheck(Strongest_Extension)": (
        "Strongest_Extension",
    ),
    "from solution import f, g\ndef test_f():\n    assert f(1) == g(2)\ntest_f()": ("f", "g"),
    "import math\nassert math.isclose(area(2), max(3, 4))": ("area",),
    "assert poly(find([1])) == 0": ("find",),
    "assert sum(10, 15) == 6": ("sum",),
    "for x in range(3):\n    assert f(lambda y: y + x)": ("f",),
    "import solution\ndef test_f():\n    assert solution.f(1) == solution.g": ("f", "g"),
    "def test_f():\n    import solution as mine\n    assert mine.f(1) == 2": ("f",),
    "import solution\nassert solution.max(1) == 2": ("max",),
    "from solution import f as tested\nassert tested(1) == 2": ("f",),
}
TOGETHER = [
    "assert Stack().size == 0",
    "from solution import *\nassert f(1)",
    "from solution import Stack",
    "import solution\nassert solution.Stack()",
    "import solution\nassert hasattr(solution, 'f') and solution.f(1)",
    "import solution\nsolution.limit = 3\nassert solution.f(1)",
    "import solution\nassert solution.max(1) == max(1, 2)",
    "import importlib\nassert importlib.import_module('solution').f(1)",
    "import sys\nassert sys.modules['solution'].f(1)",
    "import io, sys\nsys.stdout = io.StringIO()\nf()",
    "def test_f(capsys):\n    f()",
    "try:\n    f()\nexcept SystemExit:\n    pass",
    "import random\nrandom.seed(1)\nassert f() == 3",
    "this is no python!",
]


@pytest.mark.parametrize("tests", APART)
def test_functions_are_tested_from_another_process(tests):
    assert names_apart(tests, "def poly(x): return 0", "sum") == APART[tests]


@pytest.mark.parametrize("tests", TOGETHER)
def test_classes_and_output_are_tested_in_the_process_of_the_program(tests):
    assert names_apart(tests) is None


def test_the_imports_of_tests_are_known():
    tests = "import math, numpy.linalg as la\nfrom solution import f\nfrom pytest import raises"
    assert foreign_imports(tests) == {"numpy", "pytest"}
    assert foreign_imports("def (") == frozenset()
