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

TYPE_CHECKING = False  # typing takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
# An outcome is a few lines; more than this was not written by the judge.
_LONGEST = 65_536
# Judge, interpreter and sandbox, which count as well; in MiB.
_OWN_MEMORY = 64
# Files and folders that a program may have at once where they lie on the machine's disk.
_MOST_FILES = 4096
# Seconds between two looks at what the processes use: where all is well, and near a limit.
_CALM, _ALERT = 0.02, 0.004
# Seconds that killed processes have to be gone; the kernel needs milliseconds.
_PATIENCE = 20.0


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
            many = files_in_memory(self._order["scratch"], processes) > _MOST_FILES
            stored = float("inf") if many else 0
        if stored > self._order["disk"]:
            most = self._order["disk"]
            return 0, f"its files were more than {most} MiB or {_MOST_FILES} files"
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


def memory_of(processes: list[int], enough: float) -> float:
    """Return the memory of processes in MiB, looked at closely only if it may be over ``enough``.

    Pages that processes share then count once, and shared memory counts whole even if nobody has
    its pages mapped at the moment.
    """
    sizes = [_kilobytes(f"/proc/{pid}/status", (b"VmSize",)) / 1024 for pid in processes]
    if sum(sizes) <= enough:
        return sum(sizes) / 2
    total = sum(map(_resident, processes))
    if total > enough:
        total = sum(map(_proportional, processes))
    shared = {inode: size for pid in processes for inode, size in _shared(pid)}
    return max(total, sum(shared.values()))


def _resident(pid: int) -> float:
    return _kilobytes(f"/proc/{pid}/status", (b"VmRSS", b"VmSwap")) / 1024


def _proportional(pid: int) -> float:
    own = _kilobytes(f"/proc/{pid}/smaps_rollup", (b"Pss", b"SwapPss")) / 1024
    return own or _resident(pid)


def _shared(pid: int) -> Iterator[tuple[bytes, float]]:
    """Yield number and size in MiB of the shared memory that a process has mapped."""
    with suppress(OSError, ValueError), open(f"/proc/{pid}/maps", "rb") as file:
        for line in file:
            if line.endswith(b"(deleted)\n"):
                place, _, _, _, inode, _ = line.split(None, 5)
                first, last = (int(end, 16) for end in place.split(b"-"))
                yield inode, (last - first) / 2**20


def _kilobytes(path: str, names: tuple[bytes, ...]) -> int:
    with suppress(OSError, ValueError), open(path, "rb") as file:
        lines = [line.partition(b":") for line in file]
        return sum(int(rest.split()[0]) for name, _, rest in lines if name in names)
    return 0


def files_in_memory(place: str, processes: list[int]) -> int:
    """Return the number of files in a file system that processes alone see, as from theirs."""
    for pid in processes:
        with suppress(OSError):
            about = os.statvfs(f"/proc/{pid}/root{place}")
            return about.f_files - about.f_ffree
    return 0


def disk_of(folder: str, processes: list[int]) -> float:
    """Return the size in MiB of a folder's files and of deleted ones that are still open."""
    files: dict[int, int] = {}
    folders = [folder]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    about = entry.stat(follow_symlinks=False)
                    files[about.st_ino] = about.st_blocks
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                if len(files) > _MOST_FILES:
                    return float("inf")
    device = os.stat(os.path.dirname(folder)).st_dev
    for pid in processes:
        with suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    about = os.stat(f"/proc/{pid}/fd/{name}")
                    if about.st_dev == device and about.st_nlink == 0:
                        files[about.st_ino] = about.st_blocks
    return sum(files.values()) / 2048


def clear(folder: str) -> None:
    """Delete what is in a folder, however deep or unreadable; the folder stays."""
    names, number = [folder], 0
    while names:
        place = names.pop()
        with suppress(OSError):
            os.chmod(place, 0o700)
            for name in os.listdir(place):
                path = f"{place}/{name}"
                if os.path.islink(path) or not os.path.isdir(path):
                    os.unlink(path)
                    continue
                number += 1  # folders move up, so that no path grows long
                target = path if place == folder else f"{folder}/{os.getpid()}-{number}"
                os.chmod(path, 0o700)
                os.rename(path, target)
                names.append(target)
        if place != folder:
            with suppress(OSError):
                os.rmdir(place)


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


if __name__ == "__main__":
    main()
