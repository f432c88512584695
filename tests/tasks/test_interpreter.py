"""The interpreter runs its tiny language and nothing else, whatever the text is."""

import pytest

from lit_unmask.tasks.functions import grade_function
from lit_unmask.tasks.interpreter import NotInLanguage, run_function

REFERENCE = "def f ( x ) : x = x + 1 ; return x"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return x", 7),
        ("return 3", 3),
        ("return x + 2 * 5 - 1", 16),
        ("return ( x + 2 ) * ( 5 - 1 )", 36),
        ("'words' ; a = x - 9 ; b = a * a ; return b", 4),
        ("x = x * x ; x = x - 1 ; return x", 48),
        ("return 2 - 10", -8),
        ("return x * 0", 0),
    ],
)
def test_programs_of_the_language_run(body, expected):
    assert run_function(f"def f ( x ) : {body}", 7) == expected


def test_a_program_may_have_lines():
    assert run_function("def f(x):\n    '''doc'''\n    a = x\n    return a + 1\n", 1) == 2


REFUSED = {
    "import": "import os ; return x",
    "from import": "from os import path ; return x",
    "call": "return print ( x )",
    "dunder call": "return __import__ ( 'os' )",
    "attribute": "return x . real",
    "subscript": "return x [ 0 ]",
    "assigned attribute": "x . y = 1 ; return x",
    "assigned item": "x [ 0 ] = 1 ; return x",
    "lambda": "return lambda : x",
    "comprehension": "return [ i for i in x ]",
    "condition": "return x if x else 1",
    "comparison": "return x < 1",
    "boolean operation": "return x and 1",
    "walrus": "return ( y := x )",
    "augmented": "x += 1 ; return x",
    "annotated": "y : int = x ; return y",
    "two targets": "a = b = x ; return a",
    "tuple": "a , b = x , x ; return a",
    "power": "return x ** 2",
    "division": "return x / 2",
    "floor division": "return x // 2",
    "shift": "return x << 9",
    "negation": "return - x",
    "true": "return True",
    "false in a sum": "return x + False",
    "float": "return 1.5",
    "complex": "return 1j",
    "string": "return 'x'",
    "none": "return None",
    "bare return": "return",
    "no return": "y = x",
    "unknown name": "return z",
    "pass": "pass",
    "raise": "raise x",
    "global": "global x ; return x",
    "delete": "del x ; return x",
    "yield": "yield x",
    "expression statement": "x + 1 ; return x",
    "f-string": "f'{x}' ; return x",
    "large literal": "return 1000000000001",
    "huge literal": "return " + "9" * 3000,
    "huge hexadecimal literal": "return 0x" + "f" * 3900,
    "large product": "return " + " * ".join(["9"] * 14),
    "long product": "return " + " * ".join(["9"] * 900),
    "squares of squares": "x = x * x ; " * 60 + "return x",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_everything_else_is_refused(body):
    with pytest.raises(NotInLanguage):
        run_function(f"def f ( x ) : {body}", 7)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "x",
        "return x",
        "def f ( x ) :",
        "def f ( x ) : return (",
        "def f ( ) : return 1",
        "def f ( x , y ) : return x",
        "def f ( x , / ) : return x",
        "def f ( * , x ) : return x",
        "def f ( * x ) : return 1",
        "def f ( ** x ) : return 1",
        "def f ( x , * y ) : return x",
        "def f ( x , ** y ) : return x",
        "def f ( y , / , x ) : return x",
        "def f ( x , * , y ) : return x",
        "def f ( x = 1 ) : return x",
        "def f ( x : int ) : return x",
        "@ f\ndef f ( x ) : return x",
        "async def f ( x ) : return x",
        "class f : x = 1",
        "def f(x): return x\ndef g(x): return x",
        "import os\ndef f(x): return x",
        "def f(x):\n  for i in x: return i",
        "def f(x):\n  while x: x = x - 1\n  return x",
        "def f(x):\n  if x: return x\n  return x",
        "def f(x):\n  with x: return x",
        "def f(x):\n  try: return x\n  finally: return x",
        "def f(x):\n  def g(x): return x\n  return x",
        "def f(x): return \x00",
        "def f(x): return '\ud800'",
    ],
)
def test_anything_but_one_plain_function_is_refused(source):
    with pytest.raises(NotInLanguage):
        run_function(source, 1)


DEEP = {
    "parentheses": "(" * 10_000 + "x" + ")" * 10_000,
    "a few hundred parentheses": "(" * 300 + "x" + ")" * 300,
    "sum": "x" + " + x" * 10_000,
    "sum that still parses": "x" + " + x" * 900,
    "sum of signs": "+" * 3000 + "x",
    "subscripts": "x" + "[0]" * 900,
    "negations": "not " * 900 + "x",
    "lists": "[" * 190 + "]" * 190,
}


@pytest.mark.parametrize("expression", DEEP.values(), ids=DEEP)
def test_deep_nesting_is_refused_and_does_not_crash(expression):
    source = f"def f(x): return {expression}"
    with pytest.raises(NotInLanguage):
        run_function(source, 1)
    assert grade_function(source, f"2 {REFERENCE}") == 0.0


def test_the_depth_of_the_caller_does_not_matter():
    def deeper(levels):
        return deeper(levels - 1) if levels else run_function(f"def f(x): return {sum_of_30}", 1)

    sum_of_30 = " + ".join(["x"] * 30)
    assert deeper(0) == deeper(400) == 30


def test_a_function_is_graded_by_what_it_computes():
    # One assignment, tried on 2, and its value behind it.
    answer = f"2 {REFERENCE}"
    assert grade_function("def g ( y ) : z = 1 + y ; 3 ; return z", answer) == 1.0
    assert grade_function("def f ( x ) : y = x + 1 + 0 * x ; 3 ; return y", answer) == 1.0
    assert grade_function("def f ( x ) : y = x + 2 ; 4 ; return y", answer) == 0.0
    assert grade_function("def f ( x ) : y = 3 ; 3 ; return y", answer) == 0.0
    assert grade_function("no program at all", answer) == 0.0


@pytest.mark.parametrize(
    "body",
    [
        "y = x + 1 ; return y",
        "y = x + 1 ; 4 ; return y",
        "y = x + 1 ; 13 ; return y",
        "y = x + 1 ; 3 ; 3 ; return y",
        "3 ; y = x + 1 ; return y",
        "return x + 1",
        "y = x + 1 ; 3 ; z = y + 0 ; 3 ; return z",
        "y = x ; 2 ; z = y + 1 ; 3 ; return z",
    ],
)
def test_a_missing_wrong_or_foreign_value_or_assignment_is_wrong(body):
    assert grade_function(f"def f ( x ) : {body}", f"2 {REFERENCE}") == 0.0
