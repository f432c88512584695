"""Grading rollouts as they finish, in this process or in workers, while other rows decode."""

from __future__ import annotations

import logging
import multiprocessing
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor

import torch
from torch import Tensor

from lit_unmask.denoisers.network import Denoiser
from lit_unmask.rollout import Listener, Progress
from lit_unmask.types import Problem
from lit_unmask.verifiers.verdicts import Unfinished, verdict

_log = logging.getLogger(__name__)


class Grader(ABC):
    """Where verifiers run."""

    @abstractmethod
    def submit(self, problem: Problem, completion: str) -> Future[float]:
        """Start to grade a completion; the future holds the verdict in ``[0, 1]``.

        A verifier that fails raises from the future; it is never a verdict of 0. One that ran
        into its deadline is an :class:`~lit_unmask.verifiers.verdicts.Unfinished` 0.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of what the grader holds; it may be used again."""


class InProcess(Grader):
    """Grades at once, in this process: right for verifiers that take microseconds."""

    def submit(self, problem: Problem, completion: str) -> Future[float]:
        """Grade now; see :meth:`Grader.submit`."""
        future: Future[float] = Future()
        future.set_result(verdict(problem.verifier, completion, problem.answer))
        return future

    def close(self) -> None:
        """Do nothing; nothing is held."""


class WorkerPool(Grader):
    """Grades in worker processes: right for verifiers that run programs or prove equations.

    The workers start with the first completion. Verifiers and answers must be picklable. Verifiers
    of :mod:`lit_unmask.verifiers` load neither torch nor Lightning there; they start processes
    of their own, which end with the worker.

    ```yaml
    model:
      grader:
        class_path: lit_unmask.evaluation.grading.WorkerPool
        init_args: {processes: 4}
    ```

    Args:
        processes: Number of workers, for each rank.

    Raises:
        ValueError: If there is not at least one worker.
    """

    def __init__(self, processes: int = 2) -> None:
        if processes < 1:
            raise ValueError(f"processes={processes} must be at least 1")
        self.processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, problem: Problem, completion: str) -> Future[float]:
        """Hand over to a worker; see :meth:`Grader.submit`."""
        if self._pool is None:
            # A forked child of a process with threads and CUDA may hang.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.processes, mp_context=context)
        return self._pool.submit(verdict, problem.verifier, completion, problem.answer)

    def close(self) -> None:
        """Stop the workers."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


class Verdicts:
    """Listens to a rollout and has each row graded as soon as it is finished.

    Attributes:
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
        self._grader, self._denoiser, self._problems = grader, denoiser, problems
        self._listener = listener
        self._texts = [""] * len(problems)
        self._futures: dict[int, Future[float]] = {}
        self.unfinished = 0

    def __call__(self, progress: Progress) -> None:
        """Send newly finished rows to the grader."""
        rows = progress.finished.tolist()
        texts = self._denoiser.decode(progress.response[progress.finished])
        for row, text in zip(rows, texts, strict=True):
            self._texts[row] = text
            self._futures[row] = self._grader.submit(self._problems[row], text)
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
            Exception: What a verifier raised.
        """
        verdicts = [self._futures[row].result() for row in range(len(self._problems))]
        self.unfinished = sum(isinstance(value, Unfinished) for value in verdicts)
        if self.unfinished:
            _log.warning(
                "%d of %d verdicts are 0 because grading ran into its deadline or memory limit",
                self.unfinished,
                len(verdicts),
            )
        return torch.tensor(verdicts, dtype=torch.float32)
