"""Grades answers to questions of mathematics."""

from __future__ import annotations

from dataclasses import asdict

from lit_unmask.verifiers.answers import find_answer
from lit_unmask.verifiers.comparison import compare
from lit_unmask.verifiers.prover import Effort, prover
from lit_unmask.verifiers.verdicts import Unfinished


class MathVerifier:
    """Extracts the answer of a completion and compares it with the reference.

    Texts and numbers are compared at once
    (:func:`~lit_unmask.verifiers.comparison.compare`); the rest goes to sympy
    (:func:`~lit_unmask.verifiers.algebra.equal`), in a process that is killed at the deadline.
    docs/grading.md says what counts as equal.

    Args:
        effort: What a comparison with sympy may cost.
    """

    def __init__(self, effort: Effort = Effort()) -> None:  # noqa: B008  (frozen)
        self.effort = effort

    @property
    def limits(self) -> dict[str, float]:
        """What a comparison may cost, where that is not the usual; JSON-ready."""
        return {} if self.effort == Effort() else asdict(self.effort)

    def __call__(self, completion: str, answer: str) -> float:
        """Return 1.0 or 0.0; see :func:`grade_math`."""
        found = find_answer(completion)
        if found is None:
            return 0.0
        equal = compare(answer, found)
        if equal is None:
            equal = prover(self.effort).equal(answer, found)
        return Unfinished() if equal is None else float(equal)


def grade_math(completion: str, answer: str) -> float:
    r"""Grade a completion against a bare reference answer such as ``\frac{3}{4}``.

    How the answer is found: :mod:`lit_unmask.verifiers.answers`.

    Returns:
        1.0 or 0.0; an :class:`~lit_unmask.verifiers.verdicts.Unfinished` 0 at the deadline.

    Raises:
        ProverError: If the process that compares expressions cannot start or dies.
    """
    return MathVerifier()(completion, answer)
