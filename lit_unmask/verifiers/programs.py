"""Grades programs by running their tests in a sandbox."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from lit_unmask.errors import ConfigurationError
from lit_unmask.verifiers.code import find_program, parses, preamble_of
from lit_unmask.verifiers.sandbox import (
    NoSandbox,
    Outcome,
    Sandbox,
    SandboxError,
    Strongest,
    Trial,
    places_of,
)
from lit_unmask.verifiers.separation import foreign_imports, names_apart
from lit_unmask.verifiers.verdicts import Unfinished


class ProgramVerifier:
    """Extracts the program of a completion and runs tests on it in a sandbox.

    Where the tests allow it the program runs in another process than they do, which it cannot look
    into; :mod:`lit_unmask.verifiers.separation` says when. It can be pickled, so that workers
    grade with it.

    ```yaml
    verifier:
      class_path: lit_unmask.verifiers.ProgramVerifier
      init_args:
        sandbox:
          class_path: lit_unmask.verifiers.sandbox.Strongest   # or Bubblewrap, Sandlock, Unsafe
          init_args:
            limits: {seconds: 10, memory: 2048}
            packages: [numpy]
    ```

    Args:
        sandbox: Where programs run, with what they may use: time, memory, packages. By default the
            strongest sandbox of the machine that grades.
        train_in_process: Whether problems to train on may have tests that run in the process of the
            program, which a program can learn to deceive.
    """

    def __init__(
        self,
        sandbox: Sandbox = Strongest(),  # noqa: B008  (has no state)
        train_in_process: bool = False,
    ) -> None:
        self.sandbox, self.train_in_process = sandbox, train_in_process

    @property
    def limits(self) -> dict[str, Any]:
        """What programs may use, on which verdicts depend; JSON-ready."""
        limits = asdict(self.sandbox.limits)
        # In one form, as 5 and 5.0 seconds are the same, and so is any order of packages.
        said = {name: float(value) for name, value in limits.items()}
        return said | {"packages": sorted(self.sandbox.packages)}

    def __call__(self, completion: str, answer: str) -> float:
        """Grade a completion by the tests of its task.

        Args:
            completion: What was written.
            answer: A JSON object: ``prompt`` (code that the completion continues; may be empty),
                ``tests`` (source that raises on failure) and ``entry_point`` (name or null).

        Returns:
            1.0 or 0.0; an :class:`~lit_unmask.verifiers.verdicts.Unfinished` 0 at the deadline.

        Raises:
            ConfigurationError: If no sandbox runs here, or tests import a package not shown.
            SandboxError: If the sandbox itself fails.
        """
        outcome = self.run(completion, answer)
        return float(outcome.passed) if outcome.finished else Unfinished()

    def run(self, completion: str, answer: str) -> Outcome:
        """Return what became of the program, with the reason; arguments as in a call."""
        sandbox, task = self.sandbox, json.loads(answer)
        prompt, tests, entry_point = task["prompt"], task["tests"], task["entry_point"]
        program = find_program(completion, prompt, entry_point)
        if not parses(program):
            return Outcome(passed=False, finished=True, detail="the program does not parse")
        self._check_tests([tests])
        trial = Trial(program, tests, _preamble(task), _names_apart(task))
        outcome = sandbox.run(trial)
        if outcome.unsendable:  # what tests hand over follows from them, not from the program
            outcome = sandbox.run(replace(trial, names=None))
        return outcome

    def check(self, answers: Iterable[str] = ()) -> None:
        """Check that programs can be run here, and tests too; runs no program of a model.

        Args:
            answers: Reference answers of problems, whose tests are looked at.

        Raises:
            ConfigurationError: If the sandbox does not run here or lacks a package that tests
                import, or tests do not parse.
        """
        try:
            self.sandbox.probe()
        except SandboxError as error:
            raise NoSandbox(
                f"the verifier's sandbox does not run here ({error}); choose another one, or none "
                "for the strongest that does"
            ) from error
        self._check_tests(json.loads(answer)["tests"] for answer in answers)

    def _check_tests(self, sources: Iterable[str]) -> None:
        shown = places_of(self.sandbox.packages).keys()
        missing: Counter[str] = Counter()
        for tests in sources:
            if not parses(tests):
                raise ConfigurationError(
                    f"the tests of a problem do not parse ({tests[:200]!r}); leave it out"
                )
            missing.update(foreign_imports(tests) - shown)
        if missing:
            said = ", ".join(
                f"{name} ({count} problems)" if count > 1 else name
                for name, count in sorted(missing.items())
            )
            raise ConfigurationError(
                f"tests import {said}, which the sandbox does not show; install it and name it in "
                "sandbox.packages of the verifier"
            )


def _preamble(task: dict[str, Any]) -> str:
    return preamble_of(task["prompt"], task["entry_point"]) if task["prompt"] else ""


def _names_apart(task: dict[str, Any]) -> tuple[str, ...] | None:
    return names_apart(task["tests"], _preamble(task), task["entry_point"])


def is_tested_apart(answer: str) -> bool:
    """Return whether the tests of a reference answer run in another process than the program."""
    return _names_apart(json.loads(answer)) is not None
