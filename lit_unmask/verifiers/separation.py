"""Whether tests can run in another process than the program that they test."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from functools import lru_cache

from lit_unmask.verifiers.syntax import Reader

# Who uses these looks at the process of the program, not at what its functions return.
_SAME_PROCESS = {
    *("stdout", "stderr", "stdin", "redirect_stdout", "capsys", "capfd", "monkeypatch", "patch"),
    *("mock", "inspect", "input", "SystemExit", "KeyboardInterrupt", "seed", "asyncio"),
    *("tracemalloc", "getsource", "signature", "import_module", "__import__", "modules", "reload"),
}
_MODULE = "solution"
_CLASS = re.compile(r"[A-Z][A-Za-z0-9]*")


@lru_cache(maxsize=4096)
def names_apart(
    tests: str, preamble: str = "", entry_point: str | None = None
) -> tuple[str, ...] | None:
    """Return what tests use of a program, or None if they must run in its process.

    In its process a program that was written to deceive can do so: it may look through frames for
    what the tests expect, or return objects that equal everything. Tests must run there if they use
    its classes, catch its exceptions, or look at its output. This follows
    from the tests alone, so no program can choose where it is tested.

    Args:
        tests: Source of the tests.
        preamble: Source of trusted definitions that the tests may use too.
        entry_point: Name that they use of the program even if it is that of a builtin.
    """
    tree, trusted = Reader().tree(tests), Reader().tree(preamble)
    if tree is None or trusted is None:
        return None
    bound = _bound(tree) | _bound(trusted)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names = {name for name in used if name not in bound and not hasattr(builtins, name)}
    names |= _imported(tree) | {name for name in used if name == entry_point}
    of_module = _attributes(tree)
    if of_module is None or any(hasattr(builtins, name) for name in of_module & used):
        return None  # the second has two meanings of one name
    names |= of_module
    mentioned = used | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    mentioned |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    if mentioned & _SAME_PROCESS or any(map(_CLASS.fullmatch, names)) or "*" in names:
        return None
    return tuple(sorted(names))


def _bound(tree: ast.Module) -> set[str]:
    """Return the names that a module binds, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.Import):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            own = {alias.asname or alias.name for alias in node.names}
            renamed = {alias.asname for alias in node.names if alias.asname}
            names |= renamed if node.module == _MODULE else own
    return names


def _attributes(tree: ast.Module) -> set[str] | None:
    """Return what ``import solution`` is used for, None if for more than to name attributes."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    known = {a.asname or a.name for node in imports for a in node.names if a.name == _MODULE}
    uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in known]
    named = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and isinstance(node.value, ast.Name)
        and node.value.id in known
    ]
    return {node.attr for node in named} if len(named) == len(uses) else None


def _imported(tree: ast.Module) -> set[str]:
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in nodes if node.module == _MODULE for alias in node.names}


@lru_cache(maxsize=4096)
def foreign_imports(tests: str) -> frozenset[str]:
    """Return the packages that tests import, the standard library and the program left out."""
    tree, names = Reader().tree(tests), set[str]()
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return frozenset(names - sys.stdlib_module_names - {_MODULE})
