"""How a verdict of a verifier is reached and checked, in this process or in a worker."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from lit_unmask.errors import ConfigurationError, NotFinite


class Unfinished(float):
    """A verdict of 0 because a deadline or a memory limit came before the end of grading.

    A program that loops forever gets one, and so does a right answer on a machine that is too
    busy; graders count them, so that the second is seen.
    """

    def __new__(cls, value: float = 0.0) -> Unfinished:
        """Return the verdict."""
        return super().__new__(cls, value)


def verdict_of(
    verifier: Callable[[str, str], float], completion: str, answer: str, uid: str
) -> float:
    """Return the verdict of a verifier as a float, an :class:`Unfinished` one as it is.

    Args:
        verifier: What grades.
        completion: What was written.
        answer: The reference answer.
        uid: The problem's name, which every error says.

    Raises:
        ConfigurationError: If the verdict is no number in ``[0, 1]``, or the verifier ends the
            process; :class:`NotFinite` if it is NaN or infinite.
        Exception: What the verifier raised, with a note of the problem.
    """
    try:
        result = verifier(completion, answer)
    except (SystemExit, GeneratorExit) as error:
        raise ConfigurationError(
            f"the verifier of problem {uid!r} raised {error!r} instead of a verdict; let it return "
            "a number in [0, 1]"
        ) from error
    except BaseException as error:
        error.add_note(f"raised by the verifier of problem {uid!r}")
        raise
    value = _number(result)
    if value is not None and not math.isfinite(value):
        said = f"verdicts ({value}) of the verifier of problem {uid!r}"
        raise NotFinite(said, "let it return numbers in [0, 1]")
    if value is None or not 0 <= value <= 1:
        raise ConfigurationError(
            f"the verifier of problem {uid!r} returned {result!r:.200}; a verdict must be a number "
            "in [0, 1]: let the verifier return one"
        )
    return result if isinstance(result, Unfinished) else value


def _number(result: Any) -> float | None:
    """Return a number of Python, numpy or torch as a float, None for anything else."""
    if not isinstance(result, float | int) and hasattr(result, "item"):
        try:
            result = result.item()
        except (ValueError, RuntimeError, TypeError):  # it has several elements
            return None
    if not isinstance(result, float | int):
        return None
    try:
        return float(result)
    except OverflowError:  # of a whole number
        return None


def heed_no_signal() -> None:
    """Let a signal to the whole group, as Ctrl-C is, be heeded by the process that trains alone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Unlike ``SIG_IGN``, it is not handed on to programs that the worker starts.
        signal.signal(number, lambda *_: None)


class _Worker(SpawnProcess):
    def terminate(self) -> None:
        """Kill it: a pool of which a worker has died waits for those that it has told to end."""
        self.kill()


class SpawnedWorkers(SpawnContext):
    """Starts workers that :func:`heed_no_signal`, for a ``ProcessPoolExecutor``."""

    Process = _Worker
