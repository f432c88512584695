"""Grades programs by running their tests in a sandbox."""

from __future__ import annotations

import json
from dataclasses import replace

from lit_unmask.errors import ConfigurationError
from lit_unmask.sandbox import Outcome, Sandbox, Trial, places_of, strongest
from lit_unmask.verification.code import find_program, parses, preamble_of
from lit_unmask.verification.separation import foreign_imports, names_apart
from lit_unmask.verification.verdicts import Unfinished


class ProgramVerifier:
    """Extracts the program of a completion and runs tests on it in a sandbox.

    Where the tests allow it the program runs in another process than they do, which it cannot look
    into; :mod:`lit_unmask.verification.separation` says when.

    ```yaml
    verifier:
      class_path: lit_unmask.verification.ProgramVerifier
      init_args:
        sandbox:
          class_path: lit_unmask.sandbox.Bubblewrap
          init_args:
            limits: {seconds: 5, memory: 512}
    ```

    Args:
        sandbox: Where programs run; None takes the strongest sandbox that runs on this machine.
    """

    def __init__(self, sandbox: Sandbox | None = None) -> None:
        self.sandbox = sandbox

    def __call__(self, completion: str, answer: str) -> float:
        """Return 1.0 or 0.0; see :func:`grade_program`."""
        outcome = self.run(completion, answer)
        if not outcome.finished:
            return Unfinished()
        return float(outcome.passed)

    def run(self, completion: str, answer: str) -> Outcome:
        """Return what became of the program, with the reason; see :func:`grade_program`."""
        sandbox = self.sandbox or strongest()
        task = json.loads(answer)
        prompt, tests, entry_point = task["prompt"], task["tests"], task["entry_point"]
        program = find_program(completion, prompt, entry_point)
        if not parses(program):
            return Outcome(passed=False, finished=True, detail="the program does not parse")
        if not parses(tests):
            raise ConfigurationError(f"the tests of a problem do not parse: {tests[:200]!r}")
        if missing := foreign_imports(tests) - places_of(sandbox.packages).keys():
            raise ConfigurationError(
                f"tests import {', '.join(sorted(missing))}, which the sandbox does not show; "
                "install it and name it in sandbox.packages"
            )
        preamble = preamble_of(prompt, entry_point) if prompt else ""
        trial = Trial(program, tests, preamble, names_apart(tests, preamble, entry_point))
        outcome = sandbox.run(trial)
        if outcome.unsendable:  # what tests hand over follows from them, not from the program
            outcome = sandbox.run(replace(trial, names=None))
        return outcome


def grade_program(completion: str, answer: str) -> float:
    """Grade a completion by the tests of its task, in the strongest sandbox that runs here.

    Args:
        completion: What was written.
        answer: A JSON object: ``prompt`` (code that the completion continues; may be empty),
            ``tests`` (source that raises on failure) and ``entry_point`` (name or null).

    Returns:
        1.0 or 0.0; an :class:`~lit_unmask.verification.verdicts.Unfinished` 0 at the deadline.

    Raises:
        ConfigurationError: If no sandbox runs here, or tests import a package that is not shown.
        SandboxError: If the sandbox itself fails.
    """
    return ProgramVerifier()(completion, answer)
