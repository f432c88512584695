"""What a sandbox is: a program and its tests go in, an outcome comes out, nothing else does."""

from __future__ import annotations

import json
import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lit_unmask.verifiers.sandbox.errors import SandboxError
from lit_unmask.verifiers.sandbox.packages import places_of

INSIDE = Path(__file__).parent / "inside"
# Starts the interpreter without the package's own __init__ files, which a sandbox does not show.
_BOOT = """\
import sys, types
for name in ("lit_unmask", "lit_unmask.verifiers.sandbox"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
sys.modules["lit_unmask.verifiers.sandbox"].__path__.append({folder!r})
from lit_unmask.verifiers.sandbox.inside import judge, player, shown
shown.install({places!r})
"""
_REACH = """\
def reach(path):
    try: return bool(open(path))
    except OSError: return False
"""
# An outcome is a few lines; more than this was not written by the judge.
_LONGEST_REPORT = 65_536


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Attributes:
        seconds: CPU time of each process, so that a verdict does not depend on how busy the machine
            is; rounded up.
        wall_seconds: Wall time from start to verdict.
        memory: Address space of each process, in MiB.
        processes: Processes and threads at once.
        file_size: Largest file, in MiB.
    """

    seconds: float = 5.0
    wall_seconds: float = 30.0
    memory: int = 1024
    processes: int = 32
    file_size: int = 16

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value <= 0:
                raise ValueError(f"limits.{name}={value} must be positive")

    def resources(self) -> dict[str, tuple[int, int]]:
        """Return what the kernel keeps for each process: name there, warning and limit."""
        cpu = math.ceil(self.seconds)
        limits = {
            "RLIMIT_AS": self.memory * 2**20,
            "RLIMIT_FSIZE": self.file_size * 2**20,
            "RLIMIT_NOFILE": 64,
            "RLIMIT_CORE": 0,
        }
        return {"RLIMIT_CPU": (cpu, cpu + 1)} | {name: (n, n) for name, n in limits.items()}


@dataclass(frozen=True)
class Trial:
    """A program and the tests that it has to pass.

    Attributes:
        program: Source of the program, which is not trusted.
        tests: Source of the tests, which raise if the program is wrong.
        preamble: Trusted source of definitions that the tests use.
        names: What the tests use of the program, which then runs in a process of its own; None
            runs the tests in the process of the program.
    """

    program: str
    tests: str
    preamble: str = ""
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes:
        passed: Whether the tests ran to their end.
        finished: False if a deadline, the CPU limit or the end of the judge's process came first.
        detail: What went wrong, in a line.
        unsendable: Whether the tests tried to hand over what cannot leave their process.
    """

    passed: bool
    finished: bool
    detail: str
    unsendable: bool = False


class Sandbox(ABC):
    """Runs programs that nobody trusts.

    Args:
        limits: What a program may use.
        packages: Names of installed packages that programs and tests may import beside the
            standard library, those that they need themselves included. Tests may import pytest
            where it is installed.
    """

    def __init__(self, limits: Limits = Limits(), packages: tuple[str, ...] = ()) -> None:
        self.limits, self.packages = limits, tuple(packages)

    @abstractmethod
    def command(self, inner: list[str], folder: str) -> list[str]:
        """Return the command that runs ``inner`` contained.

        Args:
            inner: An interpreter and its arguments.
            folder: A fresh folder, the only one that may be written.
        """

    def shown(self) -> str:
        """Return where the folder that holds ``inside`` lies for the contained process."""
        return str(INSIDE.parent)

    def _boot(self) -> str:
        return _BOOT.format(folder=self.shown(), places=places_of(self.packages))

    def settings(self) -> dict[str, Any]:
        """Return limits and user id that the judge takes on; see ``inside/judge.py``."""
        return {"limits": self.limits.resources(), "user": None}

    def run(self, trial: Trial) -> Outcome:
        """Run a trial.

        Raises:
            SandboxError: If the sandbox itself fails; a program cannot bring this about.
        """
        token, boot = secrets.token_hex(16), self._boot()
        job = asdict(trial) | self.settings()
        job |= {"token": token, "boot": boot}
        flags = ["-I", "-S", "-B", "-X", "utf8"]
        inner = [interpreter(), *flags, "-c", f"{boot}\njudge.main()"]
        with tempfile.TemporaryDirectory(prefix="trial-", ignore_cleanup_errors=True) as folder:
            command = self.command(inner, folder)
            written, errors, in_time = _execute(command, json.dumps(job), folder, self.limits)
        return _outcome(written, errors, token, in_time)

    def probe(self) -> None:
        """Check that this sandbox really runs here and contains.

        Raises:
            SandboxError: If it does not; the message says why.
        """
        with tempfile.NamedTemporaryFile() as outside:
            tests = (
                f"assert reach('/dev/null')\nassert not reach({outside.name!r}), 'it reached out'"
            )
            outcome = self.run(Trial(_REACH, tests, names=("reach",)))
        if not outcome.passed:
            raise SandboxError(f"{type(self).__name__} does not contain: {outcome.detail}")


@cache
def interpreter() -> str:
    """Return the interpreter outside any virtual environment, with links resolved."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _execute(command: list[str], job: str, folder: str, limits: Limits) -> tuple[str, str, bool]:
    """Run a command; return its output, its error output, and whether it ended in time."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                cwd=folder,
                env={},
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(f"{command[0]} cannot be started: {error}") from error
        deadline = time.monotonic() + limits.wall_seconds
        try:
            with suppress(BrokenPipeError, subprocess.TimeoutExpired):
                process.communicate(job.encode(), timeout=limits.wall_seconds)
            process.wait(max(deadline - time.monotonic(), 0))
            in_time = True
        except subprocess.TimeoutExpired:
            in_time = False
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return _read(output), _read(errors), in_time


def _read(stream: Any) -> str:
    stream.seek(0)
    return stream.read(_LONGEST_REPORT).decode(errors="replace")


def _outcome(written: str, errors: str, token: str, in_time: bool) -> Outcome:
    reports = []
    for line in written.splitlines():
        with suppress(ValueError):
            report = json.loads(line)
            if isinstance(report, dict) and report.pop("token", None) == token:
                reports.append(report)
    if not reports:
        reason = errors.strip()[-500:] or ("it wrote nothing" if in_time else "it took too long")
        raise SandboxError(f"the sandbox did not start: {reason}")
    if "passed" in reports[-1]:
        return Outcome(**reports[-1])
    reason = "its process was ended" if in_time else "the deadline came first"
    return Outcome(passed=False, finished=False, detail=reason)
