"""The trusted process of a sandbox: it holds the tests, starts the program apart, and reports.

The program runs in another process that never sees the tests: its functions are called over a
pipe, and what comes back is plain data, so that no ``__eq__`` of its own takes part in a
comparison. Tests that need the program's classes run in its process; see ``names`` in
:func:`main`.

The report goes to a pipe that no other process of the sandbox can open: the program's process does
not have it, and what this one has cannot be opened through /proc. The outcome carries a token that
was read from standard input before the program's process existed, and is written nowhere before.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
import types

from lit_unmask.verifiers.sandbox.inside import rights
from lit_unmask.verifiers.sandbox.inside.rpc import RPC, Gone, Unsendable
from lit_unmask.verifiers.sandbox.inside.solution import MODULE

TYPE_CHECKING = False  # typing takes longer to import than all of this package
if TYPE_CHECKING:
    from typing import Any

_PR_SET_DUMPABLE = 4
_CALLABLE = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)


class Remote:
    """Stands for an object of the program that is no plain data.

    It can be called, iterated and asked for attributes. It equals itself, and plain data only if
    it is an instance of a subclass of a builtin type with that content.
    """

    def __init__(self, rpc: RPC, handle: int) -> None:
        self.__dict__.update(_rpc=rpc, _handle=handle)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object."""
        return self._rpc.request("call", self, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return self._rpc.request("get", self, name)

    def __getitem__(self, key: Any) -> Any:
        return self._rpc.request("item", self, key)

    def __len__(self) -> int:
        return self._rpc.request("length", self)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Any:
        iterator = self._rpc.request("iterate", self)
        while item := self._rpc.request("next", iterator):
            yield item[0]

    def __next__(self) -> Any:
        for item in self._rpc.request("next", self):
            return item
        raise StopIteration

    def __hash__(self) -> int:
        return self._handle

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Remote):
            same = self._handle == other._handle
            return same or self._rpc.request("same", self, other) is True
        data = self._rpc.request("data", self)
        return data is not None and not isinstance(data, Remote) and data == other


class Tester:
    """Talks with the process of the program.

    Args:
        job: What was asked; see :func:`main`.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._functions: dict[int, Any] = {}
        self._remotes: dict[int, Remote] = {}
        self._rpc = self._start_solution()

    def greet(self) -> None:
        """Wait until the process of the program is there; it has not loaded the program yet."""
        self._rpc.request("greet")

    def run(self) -> None:
        """Run the tests to their end.

        Raises:
            BaseException: If they fail, or the program cannot be loaded.
        """
        self._rpc.request("load", self._job["program"])
        if self._job["names"] is None:
            self._rpc.request("test", self._job["tests"])
            return
        module = types.ModuleType("tests")
        # A definition of the task's own goes before one that the program repeats.
        preamble = compile(self._job["preamble"], "<preamble>", "exec")
        names = vars(module)
        exec(preamble, names)  # nosec B102  # in the sandbox
        solution = sys.modules[MODULE] = types.ModuleType(MODULE)
        for name in self._job["names"]:
            thing = self._rpc.request("resolve", name)
            names[name] = vars(solution)[name] = thing
        sys.modules["tests"] = module
        tests = compile(self._job["tests"], "<tests>", "exec")
        exec(tests, names)  # nosec B102  # in the sandbox

    def out_of_time(self) -> bool:
        """Return whether the process of the program was ended for the CPU time that it took."""
        for _ in range(50):  # it may have closed its pipe and live on
            pid, status = os.waitpid(self._solution, os.WNOHANG)
            if pid != 0:
                return os.waitstatus_to_exitcode(status) in (-signal.SIGXCPU, -signal.SIGKILL)
            time.sleep(0.01)
        return False

    def _start_solution(self) -> RPC:
        (asked, asks), (answers, answered) = os.pipe(), os.pipe()
        boot = f"{self._job['boot']}\nsolution.main({asked}, {answered})"
        self._solution = os.fork()
        if self._solution == 0:
            try:
                for descriptor in (asked, answered):
                    os.set_inheritable(descriptor, True)
                os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:-2], "-c", boot])
            finally:  # never the tester's own code in a second process
                os._exit(1)
        os.close(asked)
        os.close(answered)
        streams = open(answers, "rb"), open(asks, "wb")
        return RPC(*streams, serve=self._serve, keep=self._keep, find=self._find)

    def _serve(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        function, *rest = args
        if name != "call" or kwargs or isinstance(function, Remote):
            raise Gone("the program's process asked for more than a call")
        return function(*rest)

    def _keep(self, thing: Any) -> list[Any]:
        if isinstance(thing, Remote):
            return ["solution", thing._handle]
        if not isinstance(thing, _CALLABLE):
            raise Unsendable(f"a {type(thing).__name__} cannot be shown to the program")
        self._functions[id(thing)] = thing
        return ["tester", id(thing)]

    def _find(self, handle: Any) -> Any:
        owner, number = handle
        if owner == "tester":
            return self._functions[number]
        return self._remotes.setdefault(number, Remote(self._rpc, number))


def main() -> None:
    """Read a job from standard input, run it, and write the report to standard output.

    The job is a JSON object: ``token``, ``boot`` (source that imports this package), ``program``,
    ``tests``, ``preamble`` (trusted definitions that the tests use), ``names`` (what the tests use
    of the program; None to run them in its process), ``limits`` (of :mod:`resource`, by name),
    ``user`` (id to change to, or None), ``report`` (descriptor to report to) and ``contained``
    (whether to give up all rights and most system calls).

    The report has two lines of JSON: one when the program is about to be started, and one with the
    outcome, which carries the token.
    """
    job = json.load(sys.stdin)
    report = os.fdopen(os.dup(job["report"]), "w")
    _close_the_door(job)

    def say(**content: Any) -> None:
        report.write(json.dumps(content) + "\n")
        report.flush()

    tester = Tester(job)
    tester.greet()  # what fails up to here is not the program's fault, and leaves no report
    say(started=True)
    try:
        tester.run()
        outcome: dict[str, Any] = {"passed": True, "detail": ""}
    except Unsendable as error:
        outcome = {"passed": False, "detail": str(error), "unsendable": True}
    except BaseException as error:
        outcome = {"passed": False, "detail": f"{type(error).__name__}: {error}"[:500]}
        if isinstance(error, Gone) and tester.out_of_time():
            outcome = {"passed": False, "finished": False, "detail": "the CPU time is used up"}
    say(**({"finished": True} | outcome), token=job["token"])
    os._exit(0)


def _close_the_door(job: dict[str, Any]) -> None:
    """Take limits and rights away, hide this process, and leave no descriptor but the report's."""
    if job["user"] is not None:
        os.setgroups([])
        os.setgid(job["user"])
        os.setuid(job["user"])
    for name, value in job["limits"].items():
        limit = getattr(resource, name)
        hard = resource.getrlimit(limit)[1]
        if hard != resource.RLIM_INFINITY:
            value = [min(number, hard) for number in value]
        resource.setrlimit(limit, tuple(value))
    # Neither memory nor descriptors of this process can be opened through /proc.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in {0, 1, 2, job["report"]}:
        os.dup2(nothing, descriptor, inheritable=descriptor < 3)
    if job["contained"]:
        rights.give_up()
