"""What a sandbox is: a program and its tests go in, an outcome comes out, nothing else does."""

from __future__ import annotations

import json
import math
import os
import secrets
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lit_unmask.errors import ConfigurationError
from lit_unmask.verifiers.sandbox.usage import clear
from lit_unmask.verifiers.sandbox.visible import places_of

INSIDE = Path(__file__).parent / "inside"
# Starts the interpreter without the package's own __init__ files, which a sandbox does not show and
# a keeper does not need.
_BOOT = """\
import sys, types
for name in ("lit_unmask", "lit_unmask.verifiers", "lit_unmask.verifiers.sandbox"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
sys.modules["lit_unmask.verifiers.sandbox"].__path__.append({folder!r})
"""
_INSIDE = """\
from lit_unmask.verifiers.sandbox.inside import tester, solution, shown
sys.meta_path.append(shown.Shown({places!r}))
"""
_KEEPER = "from lit_unmask.verifiers.sandbox import keeper\nkeeper.main()"
_REACH = """\
def reach(path):
    try: return bool(open(path))
    except OSError: return False
"""
_FLAGS = ["-I", "-S", "-B", "-X", "utf8"]
# What a program may write to its folder, in all.
SCRATCH_MIB = 64
# Seconds that a keeper has beyond the deadline to end all processes, and then to end itself.
_PATIENCE = 60.0


class SandboxError(RuntimeError):
    """A sandbox did not do its work; never a verdict about a program."""


class NoSandbox(ConfigurationError):
    """No sandbox runs on this machine; the message says why and what helps."""


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Attributes:
        seconds: CPU time of each process, so that a verdict does not depend on how busy the machine
            is; rounded up.
        wall_seconds: Wall time from start to verdict.
        memory: Address space of each process, and memory of all processes together, in MiB.
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
        finished: False if a deadline, the CPU limit or the end of the tester's process came first.
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
        inside = _INSIDE.format(places=places_of(self.packages))
        return _BOOT.format(folder=self.shown()) + inside

    def settings(self) -> dict[str, Any]:
        """Return what the tester takes on; see ``inside/tester.py``.

        ``report`` is the descriptor that it reports to: its standard output, or one that the
        command hands on to nobody else. ``scratch`` is where the program writes to memory, seen
        from inside, or None if it writes to the folder.
        """
        limits = self.limits.resources()
        return {"limits": limits, "user": None, "report": 1, "scratch": None, "contained": True}

    def run(self, trial: Trial) -> Outcome:
        """Run a trial.

        Raises:
            SandboxError: If the sandbox itself fails; a program cannot bring this about.
        """
        boot = self._boot()
        job = asdict(trial) | self.settings() | {"token": secrets.token_hex(16), "boot": boot}
        inner = [interpreter(), *_FLAGS, "-c", f"{boot}\ntester.main()"]
        folder = tempfile.mkdtemp(prefix="trial-")
        order = {name: job[name] for name in ("token", "report", "scratch")} | {
            **{"command": self.command(inner, folder), "folder": folder, "job": json.dumps(job)},
            **{"seconds": self.limits.wall_seconds, "memory": self.limits.memory},
            **{"disk": SCRATCH_MIB, "parent": os.getpid()},
        }
        try:
            return _outcome(_keep(order))
        finally:
            clear(folder)  # again, should its keeper have been killed
            with suppress(OSError):
                os.rmdir(folder)

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


def _keep(order: dict[str, Any]) -> dict[str, Any]:
    """Have an order carried out by a keeper of its own; return what it says.

    Raises:
        SandboxError: If it says nothing.
    """
    process = subprocess.Popen(
        [interpreter(), *_FLAGS, "-c", _BOOT.format(folder=str(INSIDE.parent)) + _KEEPER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env={},
        start_new_session=True,
    )
    try:
        said, errors = process.communicate(
            json.dumps(order).encode(), timeout=order["seconds"] + _PATIENCE
        )
        result = json.loads(said)
    except (ValueError, subprocess.TimeoutExpired) as error:
        reason = str(error) if process.poll() is None else errors.decode(errors="replace")[-500:]
        raise SandboxError(f"the keeper of a trial failed: {reason.strip()}") from error
    finally:
        if process.poll() is None:  # an exception; the keeper then ends all that it started
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
            process.kill()
            process.wait()
    if not isinstance(result, dict):
        raise SandboxError(f"the keeper of a trial said {result!r}")
    return result


def _outcome(result: dict[str, Any]) -> Outcome:
    reason, said = result["reason"], result["outcome"]
    if not result["gone"]:
        raise SandboxError("the sandbox left processes behind that cannot be killed")
    if not result["started"]:
        errors = result["errors"].strip()[-500:]
        raise SandboxError(f"the sandbox did not start: {reason or errors or 'it wrote nothing'}")
    if said is None:
        reason = reason or "its process was ended"
        return Outcome(passed=False, finished=False, detail=reason)
    return Outcome(**{name: value for name, value in said.items() if name != "token"})
