"""An alarm that interrupts what hangs in this process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Hanging(BaseException):
    """Interrupts a verifier, which may catch exceptions."""


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise :class:`Hanging` in the main thread after some seconds."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hanging

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
