"""Programs are found in what models write around them, and no text breaks the search."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_unmask.verifiers.code import find_program, parses, preamble_of

PROMPT = "import math\nfrom typing import List\n\n\ndef helper(x):\n    return x * 2\n\n\n"
PROMPT += 'def add(a: int, b: int) -> int:\n    """Add two numbers."""\n'
WHOLE = "def add(a, b):\n    return a + b\n"
LOOP = "    total = a\n    for _ in range(b):\n        total += 1\n    return total\n"
FLAT = "total = a\nfor _ in range(b):\n    total += 1\nreturn total\n"
COMPLETIONS = {
    "a whole program": WHOLE,
    "a fence": f"Sure!\n```python\n{WHOLE}```\nThis adds.",
    "a fence without a language": f"```\n{WHOLE}```",
    "an unclosed fence": f"Here:\n```py\n{WHOLE}",
    "tildes": f"~~~python\n{WHOLE}~~~",
    "an indented fence": "1. Do:\n   ```python\n   def add(a, b):\n       return a + b\n   ```",
    "a usage example behind it": f"```python\n{WHOLE}```\nUse it:\n```python\nadd(input(), 2)\n```",
    "a shell before it": f"```bash\npip install x\n```\n```python\n{WHOLE}```",
    "a correction": f"```python\ndef add(a, b): return a - b\n```\nNo:\n```python\n{WHOLE}```",
    "a helper in its own block": (
        "```python\ndef plus(a, b):\n    return a + b\nplus(1, input())\n```\nand\n"
        "```python\ndef add(a, b):\n    return plus(a, b)\n```"
    ),
    "prose around it": f"Here is the function:\n\n{WHOLE}\nIt adds two numbers.",
    "one word behind it": f"{WHOLE}\nDone",
    "a class behind a sentence": f"I think so.\nimport math\n\n{WHOLE}",
    "begin and done": f"[BEGIN]\n{WHOLE}[DONE]\nmore text that isn't",
    "end tokens": f"{WHOLE}<|eot_id|><|endoftext|>",
    "a continuation": LOOP,
    "a continuation behind a newline": "\n" + LOOP,
    "a continuation that lost its first indentation": LOOP.lstrip(),
    "a continuation without indentation": FLAT,
    "a continuation in a fence": f"```python\n{LOOP}```",
    "a flat continuation in a fence": f"```python\n{FLAT}```",
    "a continuation with prose": f"{LOOP}\nThis function isn't hard.",
    "a continuation with the next function": f"{LOOP}\ndef other(:\n",
    "a continuation that uses the prompt": "    return helper(a) // 2 + int(math.fabs(b))\n",
    "tabs": "\tif a:\n\t\treturn a + b\n\treturn b\n",
    "windows line ends": WHOLE.replace("\n", "\r\n"),
}  # fmt: skip


def value_of(program: str, call: str):
    names: dict = {}
    exec(compile(program, "<program>", "exec"), names)
    return eval(call, names)


@pytest.mark.parametrize("form", COMPLETIONS)
def test_a_program_is_found_in(form):
    program = find_program(COMPLETIONS[form], PROMPT, "add")
    assert value_of(program, "add(2, 3)") == 5
    assert value_of(program, "helper(2)") == 4


@pytest.mark.parametrize("entry_point", ["add", None])
@pytest.mark.parametrize("form", [form for form in COMPLETIONS if "continuation" not in form])
def test_without_a_prompt_a_program_is_found_too(form, entry_point):
    if form in ("tabs", "a correction", "a helper in its own block") and (
        entry_point is None or form == "tabs"
    ):
        pytest.skip("only a prompt or a name tells what is meant")
    assert value_of(find_program(COMPLETIONS[form], "", entry_point), "add(2, 3)") == 5


def test_the_preamble_is_what_comes_before_the_function_to_finish():
    preamble = preamble_of(PROMPT, "add")
    assert value_of(preamble, "helper(1)") == 2 and "def add" not in preamble
    assert preamble_of("", None) == ""
    unfinished = "import math\ndef f(x):\n    if x:\n"  # does not parse as it is
    assert "import math" in preamble_of(unfinished, "f")
    assert preamble_of("@cache\ndef f(x):\n    pass\n", "f").strip() == ""


def test_calls_at_the_top_stay_and_prose_at_the_end_goes():
    program = find_program(f"import sys\nsys.setrecursionlimit(10**5)\n{WHOLE}\nGreat", "", "add")
    assert "setrecursionlimit" in program and "Great" not in program


PIECES = [*COMPLETIONS.values(), "```", "```python\n", "\n", "    ", "def ", "(", ")", '"""', "\t"]
PIECES += ["lambda: ", "\0", "\\", "é\ud800", "if x:\n", "@", "[BEGIN]", "class A:", "'''", "f'{"]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=6).map("".join))
def test_no_text_breaks_the_search(text):
    for prompt, entry_point in ((PROMPT, "add"), ("", None), ("def f(", "f")):
        program = find_program(text, prompt, entry_point)
        assert isinstance(program, str)
        assert parses(program) in (True, False)


@given(st.sampled_from(sorted(COMPLETIONS)), st.integers(0, 200), st.integers(0, 5))
def test_a_completion_that_is_cut_or_has_lost_letters_is_still_read(form, cut, gap):
    text = COMPLETIONS[form]
    for mangled in (text[:cut], text[:cut] + text[cut + gap :]):
        assert "add" in find_program(mangled, PROMPT, "add")


@pytest.mark.parametrize(
    "piece", ["(", "[" * 3, "-", "lambda: ", "not ", "if x:\n ", "```\n", "a."]
)
def test_deep_and_long_texts_end_quickly(piece):
    assert isinstance(find_program(piece * 2000, PROMPT, "add"), str)


def test_what_was_found_is_not_run_to_find_it():
    program = find_program("raise SystemExit\n" + WHOLE, "", "add")
    assert isinstance(ast.parse(program), ast.Module)
