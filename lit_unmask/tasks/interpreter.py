"""A whitelisting interpreter for the tiny functions of the bundled code task.

It walks the syntax tree of one ``def`` and knows assignment, ``return``, names, integers and
``+ - *`` alone: no calls, loops, attributes or imports, so nothing that a model writes can run.
A bare integer is a note on the assignment before it.
"""

from __future__ import annotations

import ast
import operator
from dataclasses import dataclass, field

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
# Values, texts and expressions beyond these cannot come from the language of the task. The bounds
# also keep hostile text from exhausting time, memory or the stack.
_LARGEST = 10**12
_LONGEST = 4_000
_DEEPEST = 50


class NotInLanguage(ValueError):
    """The program uses something outside the small language."""


@dataclass
class Trace:
    """What a function did before it returned.

    Attributes:
        assigned: Value of each assignment, in order.
        noted: Bare integers behind each of them, and before the next.
    """

    assigned: list[int] = field(default_factory=list)
    noted: list[list[int]] = field(default_factory=list)


def run_function(source: str, argument: int, trace: Trace | None = None) -> int:
    """Run the single function that ``source`` defines on one integer.

    Args:
        source: Program text: one ``def`` with one parameter.
        argument: Value of the parameter.
        trace: Filled with what the function does.

    Returns:
        The value that the function returns.

    Raises:
        NotInLanguage: If the text does not parse, uses anything that is not whitelisted, reads an
            unknown name, does not return, or is too long or too deeply nested.
    """
    if len(source) > _LONGEST:
        raise NotInLanguage(f"{len(source)} characters are more than {_LONGEST}")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotInLanguage(f"not a program: {error}") from error
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        raise NotInLanguage("expected exactly one def")
    function = tree.body[0]
    parameters = function.args
    plain = len(parameters.args) == 1 and not (
        parameters.posonlyargs
        or parameters.kwonlyargs
        or parameters.vararg
        or parameters.kwarg
        or parameters.defaults
        or parameters.args[0].annotation
        or function.decorator_list
    )
    if not plain:
        raise NotInLanguage("expected one plain parameter and no decorator")
    trace = Trace() if trace is None else trace
    return _run_body(function.body, {parameters.args[0].arg: argument}, trace)


def _run_body(body: list[ast.stmt], values: dict[str, int], trace: Trace) -> int:
    for statement in body:
        match statement:
            case ast.Expr(value=ast.Constant(value=str())):
                continue
            case ast.Expr(value=ast.Constant() as note) if trace.assigned:
                trace.noted[-1].append(_evaluate(note, values))
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                values[name] = _evaluate(value, values)
                trace.assigned.append(values[name])
                trace.noted.append([])
            case ast.Return(value=ast.expr() as value):
                return _evaluate(value, values)
            case _:
                raise NotInLanguage(f"{type(statement).__name__} is not allowed")
    raise NotInLanguage("the function does not return")


def _evaluate(node: ast.expr, values: dict[str, int], depth: int = 0) -> int:
    if depth > _DEEPEST:
        raise NotInLanguage(f"an expression is nested more than {_DEEPEST} deep")
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            result = value
        case ast.Name(id=name) if name in values:
            result = values[name]
        case ast.BinOp(left=left, op=symbol, right=right) if type(symbol) in _OPERATORS:
            operands = [_evaluate(side, values, depth + 1) for side in (left, right)]
            result = _OPERATORS[type(symbol)](*operands)
        case _:
            raise NotInLanguage(f"{type(node).__name__} is not allowed")
    if abs(result) > _LARGEST:
        raise NotInLanguage(f"a value is larger than {_LARGEST}")
    return result
