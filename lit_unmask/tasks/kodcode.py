"""KodCode: synthetic programming questions with tests, to learn from."""

from __future__ import annotations

import ast
from typing import Any, ClassVar

from lit_unmask.tasks.programs import HubProgramTask, program_reference, python_block
from lit_unmask.tasks.published import CARVED, Parts
from lit_unmask.tasks.rows import HubDataset, Row
from lit_unmask.types import Problem
from lit_unmask.verifiers.syntax import Reader

_PROMPT = """\
{question}

Write it in Python, declared as `{declaration}`. Reply with one ```python block and nothing else."""


class KodCode(HubProgramTask):
    """KodCode-Light-RL-10K (arXiv 2503.02951): 10,000 programs to write, each with tests.

    Fields: ``question_id``, ``question``, ``solution``, ``test``, ``test_info``. Tests are
    functions in pytest's style that import the program from a module ``solution``. Problems whose
    tests need pytest to call them (fixtures, parameters, classes) are left out and counted. The
    data is licensed for non-commercial use. A file of the source serves ``train`` (94 % of it),
    ``tuning`` and ``validation`` (3 % each).
    """

    source: ClassVar[HubDataset] = HubDataset(
        "KodCode/KodCode-Light-RL-10K",
        "dcf78a8bbba9a613b596ce993c4921a38687dfcc",
        sizes={"train": 10_000},
    )
    parts: ClassVar[Parts] = CARVED

    def read(self, row: Row) -> Problem | None:
        """Turn a row into a problem, or into None if its tests need more than to be called."""
        tests = runnable_tests(row.text("test"))
        if tests is None:
            return None
        name, declaration = _function(row)
        question = row.filled("question").strip()
        content = _PROMPT.format(question=question, declaration=declaration)
        return Problem(
            uid=f"kodcode/{row.text('question_id')}",
            messages=({"role": "user", "content": content},),
            answer=program_reference(tests, entry_point=name),
            verifier=self.verifier,
            solution=python_block(row.text("solution")),
        )


def _function(row: Row) -> tuple[str, str]:
    """Return name and declaration of the first function that is tested."""
    described: Any = row.fields.get("test_info")
    try:
        first = described[0]
        name, declaration = first["function_name"], first["function_declaration"]
        return str(name), str(declaration).strip()
    except (TypeError, LookupError) as error:
        raise row.error(
            "the field 'test_info' must be a list whose entries have function_name and "
            "function_declaration"
        ) from error


def runnable_tests(source: str) -> str | None:
    """Turn tests in pytest's style into a script that raises if one of them fails.

    Args:
        source: Functions named ``test...`` that import what they test from ``solution``, or that
            module. The sandbox gives the program this name.

    Returns:
        A script to run behind the program, or None if the tests need more than that, or there are
        none.
    """
    tree = Reader().tree(source)
    if tree is None:
        return None
    named = [node for node in tree.body if getattr(node, "name", "").lower().startswith("test")]
    plain = [node for node in named if isinstance(node, ast.FunctionDef) and _is_plain(node)]
    if not plain or len(plain) < len(named):
        return None
    calls = "\n".join(f"{node.name}()" for node in plain)
    return f"{source.strip()}\n\n{calls}\n"


def _is_plain(node: ast.FunctionDef) -> bool:
    needed = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
    return not needed and not node.decorator_list
