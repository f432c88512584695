"""Containment by namespaces, with the bwrap program."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from lit_unmask.verifiers.sandbox.base import INSIDE, SCRATCH_MIB, Sandbox, SandboxError
from lit_unmask.verifiers.sandbox.visible import hidden, places_of, readable

_WORK, _HARNESS = "/lit-unmask/scratch", "/lit-unmask"
# The sandbox's first process keeps the standard streams open, and closes all others.
_REPORT = 3
# Ids above those that systems hand out; one for each run, so that process limits are its own.
_FIRST_USER, _USERS = 1_900_000_000, 100_000_000


class Bubblewrap(Sandbox):
    """Runs programs in namespaces of their own: no network, no files, no other processes.

    Of the machine a program sees shared libraries and the interpreter, read-only, and an empty
    folder in memory. It has no rights and, where this process is root, a user id of its own.

    Debian and Ubuntu: ``apt-get install bubblewrap``. Containers often forbid namespaces; the
    probe finds out.
    """

    def command(self, inner: list[str], folder: str) -> list[str]:
        """Return the bwrap command; the program writes to memory where that can be bounded."""
        options = ["--die-with-parent", "--new-session", "--unshare-ipc", "--unshare-pid"]
        options += ["--unshare-net", "--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL"]
        if _root():
            options += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        else:
            options += ["--unshare-user"]
        options += ["--clearenv", "--hostname", "sandbox"]
        options += _show(readable())
        for path in hidden():
            options += ["--tmpfs", path]
        packages = places_of(self.packages).values()
        options += _show(packages)
        options += ["--perms", "0755", "--dir", _HARNESS]
        options += ["--ro-bind", str(INSIDE), f"{_HARNESS}/inside"]
        for path in hidden():
            options += ["--remount-ro", path]
        options += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
        if _knows_size():
            size = str(SCRATCH_MIB * 2**20)
            options += ["--perms", "1777", "--size", size, "--tmpfs", _WORK]
        else:
            # The program may have an id of its own. Other users do not get past the folder above.
            shared = Path(folder, "scratch")
            shared.mkdir()
            shared.chmod(0o1777)
            options += ["--bind", str(shared), _WORK]
        # An installation below /tmp leaves no room for the link; tempfile then uses the scratch.
        outer = "/tmp"  # nosec B108  # a link in the sandbox
        if not any(Path(outer) in Path(path).parents for path in (*readable(), *packages)):
            options += ["--symlink", _WORK, outer]
        return [_program(), *options, "--remount-ro", "/", "--chdir", _WORK, "--", *inner]

    def shown(self) -> str:
        """Return the harness' place in the sandbox."""
        return _HARNESS

    def settings(self) -> dict[str, Any]:
        """Return limits, that of processes among them, and a user id if this process is root."""
        most, settings = self.limits.processes, super().settings()
        settings["limits"]["RLIMIT_NPROC"] = (most, most)
        scratch = _WORK if _knows_size() else None
        user = _a_user() if _root() else None
        return settings | {"user": user, "report": _REPORT, "scratch": scratch}


def _show(paths: Iterable[str]) -> list[str]:
    """Return the options that show folders; links such as /lib -> usr/lib stay links."""
    paths = list(paths)
    parents = {str(parent) for path in paths for parent in Path(path).parents} - {"/"}
    options: list[str] = []
    for parent in sorted(parents):  # to pass through, and not to list
        options += ["--perms", "0111", "--dir", parent]
    for path in paths:
        link = os.path.islink(path)
        options += ["--symlink", os.readlink(path), path] if link else ["--ro-bind", path, path]
    return options


def _root() -> bool:
    return os.geteuid() == 0


def _a_user() -> int:
    return _FIRST_USER + int.from_bytes(os.urandom(4), "big") % _USERS


@cache
def _program() -> str:
    program = shutil.which("bwrap", path=os.environ.get("PATH", os.defpath))
    if program is None:
        raise SandboxError("bwrap is not installed")
    return os.path.abspath(program)


@cache
def _knows_size() -> bool:
    """Return whether bwrap can bound a folder in memory; releases before 0.8 cannot."""
    described = subprocess.run([_program(), "--help"], capture_output=True, text=True, check=False)
    return "--size" in described.stdout + described.stderr
