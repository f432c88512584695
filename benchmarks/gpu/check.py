"""What a section of the GPU check works with: its settings, and where its figures go."""

from __future__ import annotations

import json
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

Better = Literal["at most", "at least"]


@dataclass(frozen=True)
class Job:
    """Settings of one run of the check, the same for all sections.

    Attributes:
        device: ``cuda`` or ``cpu``.
        size: ``8b``, or ``tiny`` for a rehearsal.
        scratch: Folder for checkpoints, data and runs; removed afterwards.
    """

    device: str
    size: str
    scratch: str

    @property
    def tiny(self) -> bool:
        """Whether this is a rehearsal."""
        return self.size == "tiny"

    @property
    def folder(self) -> Path:
        """The scratch folder."""
        return Path(self.scratch)


class Check:
    """Figures and failures of one section, written line by line so that a cut loses none.

    Args:
        job: Settings.
        file: Where lines of JSON go.
        seconds: What the section may take from now on.
    """

    def __init__(self, job: Job, file: Path, seconds: float) -> None:
        self.job, self.file = job, file
        self.ends = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.ends - time.monotonic()

    def write(self, **entry: Any) -> None:
        """Append one line."""
        with self.file.open("a") as out:
            out.write(json.dumps(entry) + "\n")

    def figure(
        self,
        name: str,
        value: float | bool | str | None,
        target: float | bool | None = None,
        better: Better = "at most",
    ) -> None:
        """Note a figure.

        Args:
            name: What was measured, with its unit.
            value: What came out; None where it could not be measured.
            target: What it is held against, or None.
            better: On which side of a target that is a number it should be.
        """
        print(f"{name}: {value}", flush=True)
        self.write(figure=name, value=value, target=target, better=better)

    def said(self, text: str) -> None:
        """Note a sentence, for instance about what was left out."""
        print(text, flush=True)
        self.write(said=text)

    def part(self, name: str, needs: float = 0.0) -> Part:
        """Return a context in which a failure is noted and the section goes on.

        Args:
            name: What is done in it.
            needs: Seconds without which it is not worth beginning; see :attr:`Part.fits`.
        """
        return Part(self, name, needs)


class Part:
    """A part of a section; what it raises is noted with its traceback and goes no further."""

    def __init__(self, check: Check, name: str, needs: float) -> None:
        self.check, self.name = check, name
        self.fits = check.job.tiny or check.left >= needs
        if not self.fits:
            check.said(f"{name}: left out, {check.left:.0f} s were left and it takes {needs:.0f}")

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        """Note an error, also an exit of the command line with a code that is not 0."""
        if error is None:
            return False
        left = isinstance(error, SystemExit)
        if left and not error.code:  # type: ignore[attr-defined]
            return True
        if left or isinstance(error, Exception):
            text = "".join(traceback.format_exception(error))
            print(text, flush=True)
            self.check.write(failed=self.name, traceback=text)
            return True
        return False


def as_argument(job: Job) -> str:
    """Return a job as text, for another process."""
    return json.dumps(asdict(job))
