"""Word problems and competition mathematics: GSM8K, MATH and MATH-500."""

from __future__ import annotations

import re
from typing import ClassVar

from lit_unmask.tasks.base import worked_answer
from lit_unmask.tasks.published import CARVED, WHOLE, HubTask, Parts, name_of
from lit_unmask.tasks.rows import HubDataset, Row
from lit_unmask.types import Problem
from lit_unmask.verifiers.answers import closing_braces
from lit_unmask.verifiers.mathematics import grade_math

# The same words in training, validation and test.
_PROMPT = """\
{question}

Think it through step by step between <reasoning> and </reasoning>. Then put nothing but the final \
answer, in \\boxed{{}}, between <answer> and </answer>."""
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=[{\d])")


def math_problem(uid: str, question: str, answer: str, solution: str | None = None) -> Problem:
    r"""Return a problem that asks for steps and for a final answer in a box.

    Args:
        uid: Name of the problem.
        question: The question alone.
        answer: The bare reference answer, such as ``18`` or ``\frac{1}{2}``.
        solution: Worked steps, which are put into the same form.
    """
    worked = None
    if solution is not None:
        worked = worked_answer(solution.strip(), f"\\boxed{{{answer}}}")
    return Problem(
        uid=uid,
        messages=({"role": "user", "content": _PROMPT.format(question=question.strip())},),
        answer=answer,
        verifier=grade_math,
        solution=worked,
    )


class GSM8K(HubTask):
    """Grade-school word problems (arXiv 2110.14168): 7,473 to learn from and 1,319 to test on.

    Fields: ``question``, ``answer`` with ``#### 18`` as its last line. A file of the source's
    ``train`` serves ``train`` (94 % of it), ``tuning`` and ``validation`` (3 % each).

    ```yaml
    test:
      gsm8k:
        class_path: lit_unmask.tasks.GSM8K
        init_args: {split: test, path: gsm8k_test.jsonl}
    ```
    """

    source: ClassVar[HubDataset] = HubDataset(
        "openai/gsm8k",
        "e53f048856ff4f594e959d75785d2c2d37b678ee",
        ("main",),
        {"train": 7473, "test": 1319},
    )
    parts: ClassVar[Parts] = CARVED | {"test": ("test", WHOLE)}

    def read(self, row: Row) -> Problem:
        """Turn a row into a problem; what stands behind ``####`` is the answer."""
        question, worked = row.filled("question"), row.text("answer")
        steps, mark, answer = worked.rpartition("####")
        answer = answer.strip().replace(",", "")
        if not mark or not answer:
            raise row.error("the field 'answer' must end with #### and the answer")
        # Notes such as <<3*4=12>> are for a calculator, not for a reader.
        steps = re.sub(r"<<[^<>]*>>", "", steps)
        return math_problem(f"gsm8k/{name_of(question)}", question, answer, steps)


class MATH(HubTask):
    r"""Competition mathematics (arXiv 2103.03874): 7,500 to learn from and 5,000 to test on.

    Fields: ``problem``, ``solution`` with the answer in ``\boxed{}``; ``level`` and ``type`` are
    not needed. MATH-500 is a part of ``test``. The splits are those of :class:`GSM8K`.
    """

    source: ClassVar[HubDataset] = HubDataset(
        "EleutherAI/hendrycks_math",
        "21a5633873b6a120296cce3e2df9d5550074f4a3",
        (
            "algebra", "counting_and_probability", "geometry", "intermediate_algebra",
            "number_theory", "prealgebra", "precalculus",
        ),
        {"train": 7500, "test": 5000},
    )  # fmt: skip
    parts: ClassVar[Parts] = CARVED | {"test": ("test", WHOLE)}

    def read(self, row: Row) -> Problem:
        """Turn a row into a problem; the last box of the solution is the answer."""
        question, solution = row.filled("problem"), row.text("solution")
        if (answer := last_boxed(solution)) is None:
            raise row.error(r"the field 'solution' must hold its answer in \boxed{}")
        return math_problem(f"math/{name_of(question)}", question, answer, solution)


class MATH500(HubTask):
    """The 500 problems of MATH's test split that arXiv 2305.20050 reports on.

    Fields: ``problem``, ``answer``, ``unique_id``; ``solution``, ``subject`` and ``level`` are not
    needed.
    """

    source: ClassVar[HubDataset] = HubDataset(
        "HuggingFaceH4/MATH-500",
        "ff5b20257d8185524591543f8ff5993951537bb8",
        sizes={"test": 500},
    )
    parts: ClassVar[Parts] = {"test": ("test", WHOLE)}

    def __init__(
        self, size: int | None = None, path: str | None = None, revision: str | None = None
    ) -> None:
        super().__init__("test", size, path, revision)

    def read(self, row: Row) -> Problem:
        """Turn a row into a problem."""
        name = row.text("unique_id").removesuffix(".json")
        return math_problem(f"math500/{name}", row.filled("problem"), row.text("answer").strip())


def last_boxed(text: str) -> str | None:
    r"""Return what the last ``\boxed{...}`` of a text holds, braces within it balanced.

    ``\fbox{...}`` counts too, and so does ``\boxed 5``. None means that there is none.
    """
    places = [match.end() for match in _BOX.finditer(text)]
    if not places:
        return None
    start = places[-1]
    if text[start] != "{":
        return text[start]
    end = closing_braces(text).get(start)
    return None if end is None else text[start + 1 : end].strip()
