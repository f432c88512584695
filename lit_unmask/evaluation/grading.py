"""Grading rollouts as they finish, in this process or in workers, while other rows decode."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.alarm import Hanging, alarm
from lit_unmask.rollout import Listener, Progress
from lit_unmask.types import Problem
from lit_unmask.verifiers.verdicts import SpawnedWorkers, Unfinished, heed_no_signal, verdict_of

_log = logging.getLogger(__name__)


# Seconds without any verdict after which a verifier hangs: longer than one that ends itself needs.
_PATIENCE = 300.0
# Times that a completion is graded whose worker ends: with others, with them again, then alone.
_ATTEMPTS = 4
# Seconds that workers have to end by themselves, as one of a broken pool does not.
_FAREWELL = 2.0


class Grader(ABC):
    """Where verifiers run.

    Args:
        patience: Seconds without any verdict after which grading is given up, and with it the run;
            verifiers with a deadline of their own return before.

    Raises:
        ValueError: If the patience is not positive.
    """

    def __init__(self, patience: float = _PATIENCE) -> None:
        if not patience > 0:
            raise ValueError(f"patience={patience} must be positive")
        self.patience = patience

    @abstractmethod
    def submit(self, problem: Problem, completion: str) -> Future[float]:
        """Start to grade a completion; the future holds the verdict in ``[0, 1]``.

        A verifier that fails, ends the process or returns something else raises from the future; it
        is never a verdict of 0. One that ran into its deadline is an
        :class:`~lit_unmask.verifiers.verdicts.Unfinished` 0.
        """

    def wait(self, future: Future[float], problem: Problem) -> float:
        """Return the verdict of a problem.

        Raises:
            ConfigurationError: If the verifier hangs, ends the process, or returns no verdict.
            Exception: What the verifier raised.
        """
        try:
            return future.result(self.patience)
        except TimeoutError as error:
            if future.done():  # the verifier's own
                raise
            self.give_up()
            raise self._hangs(problem) from error

    def give_up(self) -> None:
        """Let go of what hangs."""
        self.close()

    def _hangs(self, problem: Problem) -> ConfigurationError:
        return ConfigurationError(
            f"the verifier of problem {problem.uid!r} gave no verdict within {self.patience:g} s; "
            "let it end by itself, or raise patience of model.grader"
        )

    @abstractmethod
    def close(self) -> None:
        """Let go of what the grader holds; it may be used again."""


_Task = tuple[Callable[[str, str], float], str, str, str]
"""Verifier, completion, answer and uid."""


class InProcess(Grader):
    """Grades at once, in this process: right for verifiers that take microseconds.

    One that hangs is interrupted where that can be done: in the main thread, and in Python.

    Args:
        patience: Seconds that one verdict may take.
    """

    def submit(self, problem: Problem, completion: str) -> Future[float]:
        """Grade now; see :meth:`Grader.submit`."""
        future: Future[float] = Future()
        try:
            with alarm(self.patience):
                verdict = verdict_of(problem.verifier, completion, problem.answer, problem.uid)
        except Hanging:
            raise self._hangs(problem) from None
        future.set_result(verdict)
        return future

    def close(self) -> None:
        """Do nothing; nothing is held."""


class WorkerPool(Grader):
    """Grades in worker processes: right for verifiers that run programs or prove equations.

    The workers start with the first completion. Verifiers and answers must be picklable. Verifiers
    of :mod:`lit_unmask.verifiers` load neither torch nor Lightning there; they start processes
    of their own, which end with the worker.

    A worker that is killed, as by a system short of memory, loses nothing: what has no verdict yet
    is graded again by new ones. Only a problem whose worker ends time after time, the last times
    while it is graded alone, ends the run.

    ```yaml
    model:
      grader:
        class_path: lit_unmask.evaluation.grading.WorkerPool
        init_args: {processes: 4}
    ```

    Args:
        processes: Number of workers, for each rank.
        patience: Seconds without a verdict after which a verifier is said to hang.

    Raises:
        ValueError: If there is not at least one worker, or the patience is not positive.
    """

    def __init__(self, processes: int = 2, patience: float = _PATIENCE) -> None:
        super().__init__(patience)
        if processes < 1:
            raise ValueError(f"processes={processes} must be at least 1")
        self.processes = processes
        self._pool: ProcessPoolExecutor | None = None
        # What is graded for each future that has been given out, and the future of its newest
        # attempt; futures that nobody waits for are forgotten.
        self._tasks: WeakKeyDictionary[Future[float], _Task] = WeakKeyDictionary()
        self._newest: WeakKeyDictionary[Future[float], Future[float]] = WeakKeyDictionary()

    def submit(self, problem: Problem, completion: str) -> Future[float]:
        """Hand over to a worker; see :meth:`Grader.submit`."""
        task = problem.verifier, completion, problem.answer, problem.uid
        future = self._send(task)
        self._tasks[future] = task
        return future

    def wait(self, future: Future[float], problem: Problem) -> float:
        """Return the verdict of a problem, graded again if its worker ended; see `Grader.wait`."""
        for attempt in range(_ATTEMPTS):
            try:
                verdict = super().wait(self._newest.get(future, future), problem)
            except BrokenExecutor as error:
                ended = error
                self.give_up()
                if attempt + 1 < _ATTEMPTS:
                    _log.warning("a worker ended while it graded; what it lost is graded again")
                    self._send_again(future if attempt else None)
            else:
                self._tasks.pop(future, None)
                return verdict
        raise ConfigurationError(
            f"a worker ended each of the {_ATTEMPTS} times that it graded problem "
            f"{problem.uid!r}: let its verifier return a verdict instead of ending the process, "
            "and see that memory suffices"
        ) from ended

    def _send_again(self, only: Future[float] | None) -> None:
        """Give new workers what the old ones left, or one completion of it alone."""
        for future in list(self._tasks) if only is None else [only]:
            newest = self._newest.get(future, future)
            # What is not done was with the workers that are gone.
            lost = not newest.done() or newest.cancelled()
            if lost or isinstance(newest.exception(), BrokenExecutor):
                self._newest[future] = self._send(self._tasks[future])

    def _send(self, task: _Task) -> Future[float]:
        if self._pool is None:
            # A forked child of a process with threads and CUDA may hang.
            self._pool = ProcessPoolExecutor(
                self.processes, SpawnedWorkers(), initializer=heed_no_signal
            )
        try:
            return self._pool.submit(verdict_of, *task)
        except BrokenExecutor as error:  # whoever waits has it graded again
            future: Future[float] = Future()
            future.set_exception(error)
            return future

    def give_up(self) -> None:
        """Kill the workers, one of which hangs; the next completion starts new ones."""
        for worker in self._dismissed():
            worker.kill()

    def close(self) -> None:
        """Stop the workers; what they still grade is given up."""
        for worker in self._dismissed():
            worker.join(_FAREWELL)
            worker.kill()
            worker.join()

    def _dismissed(self) -> Sequence[BaseProcess]:
        """Return the workers that there were; they get nothing more to do."""
        if self._pool is None:
            return []
        workers = list(self._pool._processes.values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None
        return workers


class Verdicts:
    """Listens to a rollout and has each row graded as soon as it is finished.

    Attributes:
        denoiser: Turns responses into text.
        problems: The problem of each row.
        unfinished: Verdicts that are 0 because grading ran into a deadline or a memory limit; known
            after :meth:`wait`, which warns of them.

    Args:
        grader: Where verifiers run.
        denoiser: Turns responses into text.
        problems: The problem of each row, **B** of them.
        listener: Told about the progress too.
    """

    def __init__(
        self,
        grader: Grader,
        denoiser: Denoiser,
        problems: Sequence[Problem],
        listener: Listener | None = None,
    ) -> None:
        self._grader, self.denoiser, self.problems = grader, denoiser, problems
        self._listener = listener
        self._texts = [""] * len(problems)
        self._futures: dict[int, Future[float]] = {}
        self.unfinished = 0

    def __call__(self, progress: Progress) -> None:
        """Send newly finished rows to the grader."""
        rows = progress.finished.tolist()
        texts = self.denoiser.decode(progress.response[progress.finished])
        for row, text in zip(rows, texts, strict=True):
            self._texts[row] = text
            self._futures[row] = self._grader.submit(self.problems[row], text)
        if self._listener is not None:
            self._listener(progress)

    @property
    def completions(self) -> list[str]:
        """Decoded texts, one a row."""
        return self._texts

    def wait(self) -> Tensor:
        """Return the verdicts ``[B]`` float32 of a finished rollout, once they are all there.

        Raises:
            KeyError: If a row has not finished.
            ConfigurationError: If a verifier hangs, ends the process, or returns no verdict.
            Exception: What a verifier raised.
        """
        rows = enumerate(self.problems)
        verdicts = [self._grader.wait(self._futures[row], problem) for row, problem in rows]
        self.unfinished = sum(isinstance(value, Unfinished) for value in verdicts)
        if self.unfinished:
            _log.warning(
                "%d of %d verdicts are 0 because grading ran into its deadline or memory limit",
                self.unfinished,
                len(verdicts),
            )
        return torch.tensor(verdicts, dtype=torch.float32)
