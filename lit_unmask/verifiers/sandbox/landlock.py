"""Containment by Landlock and seccomp, with the sandlock package."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from lit_unmask.verifiers.sandbox.base import INSIDE, Sandbox, SandboxError, interpreter
from lit_unmask.verifiers.sandbox.visible import hidden, places_of, readable

# sandlock watches its child from threads, so it gets a process of its own.
_LAUNCH = """\
import json, sys
sys.path.append(sys.argv[1])
import sandlock
settings, command = json.loads(sys.argv[2]), sys.argv[3:]
sys.exit(sandlock.Sandbox(**settings).run_interactive(command))
"""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")


class Sandlock(Sandbox):
    """Runs programs under Landlock and seccomp, without namespaces and without root.

    Of the machine a program sees shared libraries and the interpreter, and may write to a fresh
    folder; no connection can be opened. It needs ``pip install lit-unmask[sandbox]`` and Linux 6.7
    or later.
    """

    def command(self, inner: list[str], folder: str) -> list[str]:
        """Return the command of a launcher that contains ``inner``."""
        spec = importlib.util.find_spec("sandlock")
        if spec is None or spec.origin is None:
            raise SandboxError("the package sandlock is not installed")
        places = places_of(self.packages).values()
        settings = {
            "fs_readable": [*readable(), *places, str(INSIDE.parent), *_DEVICES],
            "fs_writable": [folder, "/dev/null"],
            "fs_denied": [*hidden(), "/etc/hostname"],
            "max_memory": f"{2 * self.limits.memory}M",
            "max_processes": self.limits.processes,
            "clean_env": True,
            "cwd": folder,
        }
        home = str(Path(spec.origin).parents[1])
        return [interpreter(), "-I", "-S", "-c", _LAUNCH, home, json.dumps(settings), *inner]
