"""Processes that descend from this one: which there are, and their end.

Standard library alone, and little of it, as each trial imports it anew.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

# Seconds that killed processes have to be gone; the kernel needs milliseconds.
_PATIENCE = 20.0


def reap() -> set[int]:
    """Return the children that have ended, this once; empty if none has."""
    ended = set()
    with suppress(ChildProcessError):
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            ended.add(pid)
    return ended


def end_all() -> bool:
    """Kill all that descends from this process; return whether nothing is left."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        # First all stand still, supervisors too, without which a program cannot fork.
        stopped: set[int] = set()
        while new := set(_all_descendants()) - stopped:
            _signal(new, signal.SIGSTOP)
            stopped |= new
            if time.monotonic() > deadline:
                break
        _signal(stopped, signal.SIGKILL)
        for pause in (0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02):
            time.sleep(pause)
            reap()
            if not _has_child():
                return True
    return False


def _has_child() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _signal(processes: set[int], number: int) -> None:
    for pid in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def descendants() -> list[int]:
    """Return the ids of the processes that descend from this one."""
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):  # the kernel may lack it
        return _all_descendants()
    found = [os.getpid()]
    for pid in found:  # grows while it is read
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
                    found.extend(map(int, file.read().split()))
    return found[1:]


def _all_descendants() -> list[int]:
    """Return the same from a look at all processes, which misses none that stands still."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found = children.get(os.getpid(), [])
    for pid in found:  # grows while it is read
        found.extend(children.get(pid, []))
    return found
