"""Finds the program in a completion about code.

What is understood: fenced blocks, with or without a language, closed or not; ``[BEGIN]`` and
``[DONE]``; a program among prose; a continuation of the prompt, whose first line or whole body may
have lost its indentation.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator

_END = re.compile(r"<\|(?:eot_id|endoftext|im_end|end_of_text)\|>|\[DONE\]")
_FENCE = re.compile(
    r"^[ \t]*(?:```|~~~)[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)|\Z)", re.M | re.S
)
_OTHER_LANGUAGES = {"bash", "sh", "shell", "console", "text", "output", "json", "java", "cpp", "c"}
_START = re.compile(r"^(?:def|class|import|from|async|@|[A-Za-z_]\w*\s*(?::[^=\n]+)?=)", re.M)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# Longer texts are no programs, and parsing them takes long.
_LONGEST = 40_000


def find_program(completion: str, prompt: str = "", entry_point: str | None = None) -> str:
    """Return the program that a completion means.

    A fenced block that defines the entry point wins, the last of them; without an entry point it is
    the first block. Definitions and imports of the blocks before it come along. A completion
    without a block is read as a program if it defines the entry point, else as a continuation of
    the prompt. What does not parse behind the program is cut off.

    Never raises, whatever the text; the program need not parse.

    Args:
        completion: What was written.
        prompt: Code that the completion continues; its imports and definitions belong to the
            program even if the completion repeats the signature.
        entry_point: Name that the program must define, where it is known.
    """
    text = _END.split(completion, maxsplit=1)[0][:_LONGEST].replace("\r\n", "\n")
    text = text.rpartition("[BEGIN]")[2].replace("\t", "    ").replace("\0", "")
    block = _block(text, entry_point)
    preamble = preamble_of(prompt, entry_point)
    program = _program_of(text if block is None else block)
    if _defines(program, entry_point) and (entry_point is not None or not prompt):
        return f"{preamble}\n{program}" if preamble else program
    if not prompt:
        return program
    return _continued(prompt, text if block is None else block)


def preamble_of(prompt: str, entry_point: str | None) -> str:
    """Return the complete statements of a prompt before what it leaves to be continued."""
    tree = _parse(prompt)
    if tree is None:
        return _longest_parsing(prompt)
    if not tree.body:
        return prompt
    named = [node for node in tree.body if entry_point and _name(node) == entry_point]
    last = (named or tree.body)[-1]
    if not isinstance(last, _DEFINITIONS):
        return prompt
    first = min([last.lineno, *(decorator.lineno for decorator in last.decorator_list)])
    return "\n".join(prompt.splitlines()[: first - 1])


def parses(program: str) -> bool:
    """Return whether a text is a program of at least one statement."""
    tree = _parse(program)
    return tree is not None and bool(tree.body)


def _block(text: str, entry_point: str | None) -> str | None:
    found = [(language.lower(), textwrap.dedent(body)) for language, body in _FENCE.findall(text)]
    blocks = [body for language, body in found if language not in _OTHER_LANGUAGES]
    if not blocks:
        return None
    chosen = 0
    if entry_point is not None:
        for number, body in enumerate(blocks):
            if _defines(_program_of(body), entry_point):
                chosen = number
    before = [_definitions(body) for body in blocks[:chosen]]
    return "\n".join([*before, blocks[chosen]])


def _definitions(source: str) -> str:
    tree = _parse(_program_of(source))
    kinds = (*_DEFINITIONS, ast.Import, ast.ImportFrom)
    nodes = [] if tree is None else [node for node in tree.body if isinstance(node, kinds)]
    return "\n".join(ast.unparse(node) for node in nodes) + "\n" if nodes else ""


def _program_of(text: str) -> str:
    """Return a text from its first line of code as far as it parses."""
    whole = _without_words(text)
    if parses(whole):
        return whole
    best = ""
    for start in [0, *(match.start() for match in _START.finditer(text))][:20]:
        candidate = _without_words(_longest_parsing(text[start:]))
        if len(candidate) > len(best):
            best = candidate
        if best and start:
            break
    return best or text


def _continued(prompt: str, text: str) -> str:
    """Return a prompt with the continuation that keeps the most lines of a text."""
    best, kept = prompt + text, 0
    for candidate in _indentations(text):
        lines = _longest_parsing(candidate, prompt)
        count = sum(1 for line in lines.splitlines() if line.strip())
        if count > kept:
            best, kept = prompt + lines, count
    return _without_words(best)


def _indentations(text: str) -> Iterator[str]:
    """Yield a text as it is, with its first line indented, and with all lines indented."""
    yield text
    yield "\n" + text
    first, _, rest = text.lstrip("\n").partition("\n")
    yield f"\n    {first.lstrip()}\n{rest}"
    yield "\n" + textwrap.indent(textwrap.dedent(text.strip("\n")), "    ")
    yield f"\n    {first.lstrip()}\n" + textwrap.indent(textwrap.dedent(rest), "    ")


def _longest_parsing(text: str, before: str = "") -> str:
    """Return the longest start of a text, in lines, that parses behind ``before``."""
    lines, first = text.splitlines(keepends=True), before.count("\n")
    count = len(lines)
    while count > 0:
        bad = _bad_line(before + "".join(lines[:count]))
        if bad is None:
            return "".join(lines[:count])
        # Text that is cut behind the line of an error has the same error.
        count = max(min(count - 1, bad - first - 1), 0)
    return ""


def _without_words(source: str) -> str:
    """Return a program without words of prose at its end that happen to parse."""
    tree = _parse(source)
    if tree is None:
        return source
    body = list(tree.body)
    while body and isinstance(body[-1], ast.Expr) and _is_prose(body[-1].value):
        body.pop()
    if len(body) == len(tree.body):
        return source
    return "\n".join(source.splitlines()[: body[-1].end_lineno if body else 0]) + "\n"


def _is_prose(node: ast.expr) -> bool:
    return not any(isinstance(part, ast.Call | ast.Await) for part in ast.walk(node))


def _defines(source: str, entry_point: str | None) -> bool:
    tree = _parse(source)
    if tree is None:
        return False
    if entry_point is None:
        return any(isinstance(node, _DEFINITIONS) for node in tree.body)
    return any(_name(node) == entry_point for node in tree.body)


def _name(node: ast.stmt) -> str | None:
    """Return the name that a statement binds, if it is one definition or assignment."""
    if isinstance(node, _DEFINITIONS):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def _parse(source: str) -> ast.Module | None:
    tree, _ = _read(source)
    return tree


def _bad_line(source: str) -> int | None:
    _, line = _read(source)
    return line


def _read(source: str) -> tuple[ast.Module | None, int | None]:
    """Return the tree of a source, or the line of its first error."""
    try:
        with warnings.catch_warnings():  # of escapes that are none
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError as error:
        return None, error.lineno or 1
    except (ValueError, RecursionError, MemoryError):
        return None, source.count("\n") // 2 + 1
    line = _misplaced_return(tree)
    return (tree, None) if line is None else (None, line)


def _misplaced_return(tree: ast.Module) -> int | None:
    """Return the line of a ``return`` or ``yield`` outside functions, which parses nevertheless."""
    lines = []
    nodes: list[ast.AST] = list(tree.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Return | ast.Yield | ast.YieldFrom | ast.Await):
            lines.append(node.lineno)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            nodes += ast.iter_child_nodes(node)
    return min(lines, default=None)
