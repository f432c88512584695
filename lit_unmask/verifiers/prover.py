"""A process that compares expressions with sympy, and that can be killed."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cache

_WALL_PER_CPU = 10
# Importing sympy takes about a second, on a busy machine many.
_START_SECONDS = 120.0
_LONGEST_LINE = 1_000


class ProverError(RuntimeError):
    """The process that compares expressions cannot start, or ended for no reason of its own."""


@dataclass(frozen=True)
class Effort:
    """What one comparison may cost.

    Attributes:
        seconds: CPU time, so that a verdict does not depend on how busy the machine is; the wall
            time may be ten times as long.
        memory: Address space of the process, in MiB.
    """

    seconds: float = 5.0
    memory: int = 2048

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.memory <= 0:
            raise ValueError(f"{self} must have positive seconds and memory")


class Prover:
    """One process that compares expressions, started when it is first needed.

    It is killed when a comparison takes too long, and another takes its place. It belongs to the
    process that made it; processes that are forked from that one start their own. Threads take
    turns.

    Args:
        effort: What one comparison may cost.
    """

    def __init__(self, effort: Effort = Effort()) -> None:
        self.effort = effort
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._errors = tempfile.TemporaryFile()

    def equal(self, gold: str, answer: str) -> bool | None:
        """Return whether an answer equals the reference; None if it took too much.

        Raises:
            ProverError: If the process cannot start or dies.
        """
        with self._lock:
            process = self._running()
            request = json.dumps([gold, answer]).encode() + b"\n"
            try:
                reply = _exchange(process, request, _WALL_PER_CPU * self.effort.seconds)
            except TimeoutError:
                self._stop()
                return None
            if not reply and process.wait() == -signal.SIGPROF:
                self._stop()
                return None
            if reply not in ("true", "false", "null"):
                raise self._failure("died while it compared " + repr((gold, answer))[:500])
            return json.loads(reply)

    def close(self) -> None:
        """End the process, if there is one; the next comparison starts another."""
        with self._lock:
            self._stop()

    def _running(self) -> subprocess.Popen[bytes]:
        forked = self._owner != os.getpid()
        if self._process is not None and not forked and self._process.poll() is None:
            self._errors.seek(0)
            self._errors.truncate()
            return self._process
        if not forked:
            self._stop()
        else:
            self._errors = tempfile.TemporaryFile()
        self._owner = os.getpid()
        arguments = [str(self.effort.memory), str(self.effort.seconds)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lit_unmask.verifiers.prover_process", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            start_new_session=True,  # an interrupt from the keyboard is not for it
        )
        try:
            reply = _exchange(self._process, b"", _START_SECONDS)
        except TimeoutError:
            raise self._failure(f"did not start within {_START_SECONDS:.0f} s") from None
        if reply != "ready":
            raise self._failure("did not start")
        return self._process

    def _failure(self, what: str) -> ProverError:
        status = self._stop()
        self._errors.seek(0)
        said = self._errors.read()[-2000:].decode(errors="replace").strip()
        text = f"the process that compares expressions {what} (status {status})\n{said}"
        return ProverError(text.strip())

    def _stop(self) -> int | None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return None
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        try:
            return process.wait(0.1)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


@cache
def prover(effort: Effort) -> Prover:
    """Return this process's prover for an effort; it is closed when the process ends."""
    result = Prover(effort)
    atexit.register(result.close)
    return result


def _exchange(process: subprocess.Popen[bytes], request: bytes, seconds: float) -> str:
    """Send a request and return the line that answers it; empty if the process ended.

    Raises:
        TimeoutError: If there is no line in time.
    """
    assert process.stdin is not None and process.stdout is not None
    deadline, line = time.monotonic() + seconds, b""
    try:
        process.stdin.write(request)
    except BrokenPipeError:
        return ""
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN | select.POLLHUP)
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(1000 * left):
            raise TimeoutError
        part = process.stdout.read(_LONGEST_LINE)
        if not part:
            return ""
        line += part
    return line.decode(errors="replace").strip()
