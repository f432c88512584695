"""Keeps one trial: starts its command, watches what all its processes use, and leaves none of them.

This runs as a process of its own, outside the sandbox. All that descends from it stays its own even
when a parent ends in between, so that nothing can slip away, and "no child is left" means that no
descendant is. Should the process that grades be killed, this one cleans up and ends too.

Standard library alone, and little of it, as each trial starts one.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from contextlib import suppress

from lit_unmask.verifiers.sandbox.processes import descendants, end_all, reap
from lit_unmask.verifiers.sandbox.usage import (
    MOST_FILES,
    clear,
    disk_of,
    files_in_memory,
    memory_of,
)

TYPE_CHECKING = False  # typing takes longer to import than all of this
if TYPE_CHECKING:
    from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
# An outcome is a few lines; more than this was not written by the tester.
_LONGEST = 65_536
# Tester, interpreter and sandbox, which count as well; in MiB.
_OWN_MEMORY = 64
# Seconds between two looks at what the processes use: where all is well, and near a limit.
_CALM, _ALERT = 0.02, 0.004


class Keeper:
    """Runs one command to its end.

    Args:
        order: What to do: ``command``, ``job`` (its input), ``folder`` (the only one of the machine
            that it may write to), ``scratch`` (where it writes to memory instead, seen from inside,
            or None), ``report`` (the descriptor of its report), ``token``, ``seconds``, ``memory``
            and ``disk`` (in MiB).
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._order, self._job = order, order["job"].encode()
        self._deadline = time.monotonic() + order["seconds"]
        self._reported, self._errors, self._over = b"", b"", False
        self._wake, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)

    def run(self) -> dict[str, Any]:
        """Return what the command reported, and why it ended."""
        self._start()
        try:
            reason = self._watch()
        finally:
            gone = end_all()
            clear(self._order["folder"])
            with suppress(OSError):
                os.rmdir(self._order["folder"])
        self._read(self._report, self._errors_in)
        lines = [_line(line) for line in self._reported.split(b"\n")[:-1]]
        outcomes = [line for line in lines if self._is_outcome(line)]
        return {
            "started": any(line.get("started") is True for line in lines),
            "outcome": outcomes[0] if outcomes else None,
            "reason": reason,
            "errors": self._errors.decode(errors="replace"),
            "gone": gone,
        }

    def _start(self) -> None:
        (asked, self._input), (self._report, report) = os.pipe(), os.pipe()
        self._errors_in, errors = os.pipe()
        nothing = os.open(os.devnull, os.O_RDWR)
        self._main = os.fork()
        if self._main == 0:
            try:
                os.setsid()
                os.chdir(self._order["folder"])
                # Above all that is given out, so that no copy overwrites the source of another.
                report, errors, asked = (_moved(fd) for fd in (report, errors, asked))
                for source, target in ((asked, 0), (nothing, 1), (errors, 2)):
                    os.dup2(source, target)
                os.dup2(report, self._order["report"])
                os.execve(self._order["command"][0], self._order["command"], {})
            except OSError as error:
                os.write(2, f"{self._order['command'][0]} cannot be started: {error}".encode())
            finally:
                os._exit(127)
        for descriptor in (asked, report, errors, nothing):
            os.close(descriptor)
        for descriptor in (self._input, self._report, self._errors_in):
            os.set_blocking(descriptor, False)

    def _watch(self) -> str:
        """Wait for the outcome, the end of the command, or a limit; return which limit."""
        poll = select.poll()
        for descriptor in (self._report, self._errors_in, self._wake):
            poll.register(descriptor, select.POLLIN)
        poll.register(self._input, select.POLLOUT)
        pause = _CALM
        while True:
            ready = dict(poll.poll(1000 * pause))
            if self._input in ready and self._feed():
                poll.unregister(self._input)
                os.close(self._input)
            for descriptor in (self._report, self._errors_in):
                if descriptor in ready and not self._read(descriptor):
                    poll.unregister(descriptor)
            if self._wake in ready:
                os.read(self._wake, 512)
            if self._over or self._has_outcome() or self._main in reap():
                return ""
            if time.monotonic() > self._deadline:
                return "the deadline came first"
            pause, reason = self._usage()
            if reason:
                return reason

    def _usage(self) -> tuple[float, str]:
        """Return when to look again, and which limit was passed."""
        processes = descendants()
        most = self._order["memory"] + _OWN_MEMORY
        used = memory_of(processes, most)
        if used > most:
            return 0, f"its processes took more than {self._order['memory']} MiB of memory"
        if self._order["scratch"] is None:
            stored = disk_of(self._order["folder"], processes)
        else:  # whose size is bounded by the kernel
            many = files_in_memory(self._order["scratch"], processes) > MOST_FILES
            stored = float("inf") if many else 0
        if stored > self._order["disk"]:
            most = self._order["disk"]
            return 0, f"its files were more than {most} MiB or {MOST_FILES} files"
        return (_ALERT if used > most / 2 or stored > 0 else _CALM), ""

    def _feed(self) -> bool:
        """Write more of the job; return whether all is written."""
        try:
            self._job = self._job[os.write(self._input, self._job) :] if self._job else b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        return not self._job

    def _read(self, *descriptors: int) -> bool:
        """Take what is there to be read; return whether more may come of the last descriptor."""
        more = True
        for descriptor in descriptors:
            try:
                text = os.read(descriptor, _LONGEST)
            except BlockingIOError:
                continue
            more = bool(text)
            if descriptor == self._report:
                self._reported = (self._reported + text)[:_LONGEST]
            else:
                self._errors = (self._errors + text)[:_LONGEST]
        return more

    def _has_outcome(self) -> bool:
        return any(self._is_outcome(_line(line)) for line in self._reported.split(b"\n")[:-1])

    def _is_outcome(self, line: dict[str, Any]) -> bool:
        return line.get("token") == self._order["token"] and "passed" in line

    def _stop(self, *_: Any) -> None:
        self._over = True


def _moved(descriptor: int) -> int:
    """Return a copy of a descriptor with a number that nothing else has."""
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 100)


def _line(line: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        said = json.loads(line)
        if isinstance(said, dict):
            return said
    return {}


def main() -> None:
    """Read an order from standard input, carry it out, and write what became of it."""
    order = json.load(sys.stdin)
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    keeper = Keeper(order)
    prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != order["parent"]:  # it ended before this was asked for
        os._exit(1)
    result = keeper.run()
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(result))
        sys.stdout.flush()
    os._exit(0)
