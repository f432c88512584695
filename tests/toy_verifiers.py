"""Verifiers for workers, which load this module and nothing heavy with it."""

import os
import time
from pathlib import Path


def length_is(completion: str, answer: str) -> float:
    """Return whether a completion has as many letters as the answer says."""
    return float(len(completion) == int(answer))


class Noted:
    """Notes each time that it grades, and takes its time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, completion: str, answer: str) -> float:
        with (self.folder / "noted").open("ab") as file:
            file.write(b"x")
        time.sleep(0.002)
        return length_is(completion, answer)


class Dies:
    """Ends the process that it runs in."""

    def __call__(self, completion: str, answer: str) -> float:
        os._exit(0)
