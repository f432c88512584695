"""Reads text as Python within bounds, so that no text takes long or breaks the reader."""

from __future__ import annotations

import ast
import symtable
import warnings
from collections.abc import Iterator

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# What one attempt to parse costs beside its characters.
_ATTEMPT = 100


class Reader:
    """Parses texts, each once, until a bound of work is reached; then nothing parses any more.

    The bound counts characters and not seconds, so that what is found does not depend on how busy
    the machine is.

    Args:
        work: Characters to parse, failed attempts included; None for any number.
    """

    def __init__(self, work: int | None = None) -> None:
        self._left = work
        self._known: dict[str, tuple[ast.Module | None, int | None]] = {}

    @property
    def spent(self) -> bool:
        """Whether the bound is reached."""
        return self._left is not None and self._left <= 0

    def tree(self, source: str) -> ast.Module | None:
        """Return the tree of a source, None if it does not parse."""
        return self._read(source)[0]

    def bad_line(self, source: str) -> int | None:
        """Return the line of the first error of a source, None if it parses."""
        return self._read(source)[1]

    def parses(self, source: str) -> bool:
        """Return whether a source is a program of at least one statement."""
        tree = self.tree(source)
        return tree is not None and bool(tree.body)

    def defines(self, source: str, entry_point: str | None) -> bool:
        """Return whether a source binds a name, or without one, whether it defines anything."""
        tree = self.tree(source)
        if tree is None:
            return False
        if entry_point is None:
            return any(isinstance(node, DEFINITIONS) for node in tree.body)
        return any(name_of(node) == entry_point for node in tree.body)

    def longest(self, text: str, before: str = "") -> str:
        """Return the longest start of a text, in lines, that parses behind ``before``."""
        if self.spent:
            return ""
        lines, first = text.splitlines(keepends=True), before.count("\n")
        count = len(lines)
        while count > 0:
            bad = self.bad_line(before + "".join(lines[:count]))
            if bad is None:
                return "".join(lines[:count])
            # Text that is cut behind the line of an error has the same error.
            count = max(min(count - 1, bad - first - 1), 0)
        return ""

    def _read(self, source: str) -> tuple[ast.Module | None, int | None]:
        if source not in self._known:
            if self.spent:
                return None, 1
            self._known[source] = found = _parse(source)
            if self._left is not None:
                read = source if found[1] is None else _start(source, found[1])
                self._left -= len(read) + _ATTEMPT
        return self._known[source]


def _start(source: str, lines: int) -> str:
    position = -1
    for _ in range(lines):
        position = source.find("\n", position + 1)
        if position < 0:
            return source
    return source[:position]


def _parse(source: str) -> tuple[ast.Module | None, int | None]:
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


def name_of(node: ast.stmt) -> str | None:
    """Return the name that a statement binds, if it is one definition or assignment."""
    if isinstance(node, DEFINITIONS):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def statements(source: str, tree: ast.Module) -> Iterator[tuple[list[ast.stmt], str]]:
    """Yield the statements of a source with their text, those that share a line together."""
    lines, group, last = source.split("\n"), list[ast.stmt](), 0
    first = 0
    for node in tree.body:
        start = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        if group and start > last:
            yield group, "\n".join(lines[first - 1 : last]) + "\n"
            group = []
        first = first if group else start
        group.append(node)
        last = node.end_lineno or start
    if group:
        yield group, "\n".join(lines[first - 1 : last]) + "\n"


def names_used(source: str) -> set[str]:
    """Return the names that a program looks up as globals, wherever in it; what it binds too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tables = [symtable.symtable(source, "<program>", "exec")]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names = set()
    for table in tables:  # grows while it is read
        tables += table.get_children()
        outermost = table.get_type() == "module"
        names |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_referenced() and (outermost or symbol.is_global())
        }
    return names
