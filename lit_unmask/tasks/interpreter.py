"""A whitelisting interpreter for the tiny functions of the bundled code task.

It walks the syntax tree of one ``def`` and knows assignment, ``return``, names, integers and
``+ - *`` alone: no calls, loops, attributes or imports, so nothing that a model writes can run.
"""

from __future__ import annotations

import ast
import operator

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
# Longer programs, or values beyond this, cannot come from the language of the task.
_LARGEST = 10**12


class NotInLanguage(ValueError):
    """The program uses something outside the small language."""


def run_function(source: str, argument: int) -> int:
    """Run the single function that ``source`` defines on one integer.

    Args:
        source: Program text: one ``def`` with one parameter.
        argument: Value of the parameter.

    Returns:
        The value that the function returns.

    Raises:
        NotInLanguage: If the text does not parse, uses anything that is not whitelisted, reads an
            unknown name, or does not return.
    """
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
    return _run_body(function.body, {parameters.args[0].arg: argument})


def _run_body(body: list[ast.stmt], values: dict[str, int]) -> int:
    for statement in body:
        match statement:
            case ast.Expr(value=ast.Constant(value=str())):
                continue
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                values[name] = _evaluate(value, values)
            case ast.Return(value=ast.expr() as value):
                return _evaluate(value, values)
            case _:
                raise NotInLanguage(f"{type(statement).__name__} is not allowed")
    raise NotInLanguage("the function does not return")


def _evaluate(node: ast.expr, values: dict[str, int]) -> int:
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            result = value
        case ast.Name(id=name) if name in values:
            result = values[name]
        case ast.BinOp(left=left, op=symbol, right=right) if type(symbol) in _OPERATORS:
            result = _OPERATORS[type(symbol)](_evaluate(left, values), _evaluate(right, values))
        case _:
            raise NotInLanguage(f"{ast.dump(node)[:80]} is not allowed")
    if abs(result) > _LARGEST:
        raise NotInLanguage(f"the value {result} is larger than {_LARGEST}")
    return result
