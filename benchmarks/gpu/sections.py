"""The sections in order of value, and how each is run: alone, with a cap, and never in vain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu.check import Job, as_argument

FOLDER = Path(__file__).parents[1]
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
LONGEST_TRACEBACK = 6000
_LOOK = 0.2  # seconds


@dataclass(frozen=True)
class Section:
    """One part of the check.

    Attributes:
        letter: Its name on the command line.
        title: What it shows.
        module: Has a function ``run(check)``.
        seconds: What it may take when the whole check has ``BUDGET``; what a section leaves over
            goes to those after it.
    """

    letter: str
    title: str
    module: str
    seconds: int


SECTIONS = (
    Section("a", "exactness on the device", "gpu.exactness", 55),
    Section("b", "the denoiser at full size", "gpu.denoiser", 85),
    Section("c", "the engine against the plain loop", "gpu.engine", 75),
    Section("d", "a training run", "gpu.training", 165),
    Section("e", "the small world", "gpu.small_world", 55),
    Section("f", "forms for one small GPU", "gpu.one_gpu", 45),
)
BUDGET = sum(section.seconds for section in SECTIONS)
Result = dict[str, Any]


def run_sections(
    sections: Sequence[Section], job: Job, budget: float, note: Callable[[list[Result]], None]
) -> list[Result]:
    """Run sections one after the other.

    Args:
        sections: In order of value.
        job: Settings.
        budget: Seconds for all of them, shared out as their own are.
        note: Called with all results so far whenever there is something new.
    """
    start, shared = time.monotonic(), sum(section.seconds for section in sections)
    results: list[Result] = []
    ends = start
    for section in sections:
        ends += budget * section.seconds / shared
        result: Result = {"section": section.letter, "title": section.title, "state": "running"}
        results.append(result)
        run_section(section, job, ends - time.monotonic(), lambda new: _take(results, new, note))
    return results


def _take(results: list[Result], new: Result, note: Callable[[list[Result]], None]) -> None:
    results[-1].update(new)
    note(results)


def run_section(section: Section, job: Job, seconds: float, note: Callable[[Result], None]) -> None:
    """Run one section in a process group of its own, which ends with it.

    Args:
        section: The section.
        job: Settings.
        seconds: Its cap; then it is killed, and keeps the figures that it noted.
        note: Called with its result whenever there is something new.
    """
    file, log = (job.folder / f"{section.letter}.{end}" for end in ("jsonl", "log"))
    file.touch()
    start = time.monotonic()
    command = [sys.executable, "-m", "gpu.child", section.module, as_argument(job)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, str(file), f"{seconds:.1f}"],
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=_environment(),
        )
    seen, state = -1, "stopped"
    try:
        while time.monotonic() - start < seconds:
            code = process.poll()
            if file.stat().st_size != seen:
                seen = file.stat().st_size
                note(_result(file, "running", start, seconds))
            if code is not None:
                state = "done" if code == 0 else "failed"
                break
            time.sleep(_LOOK)
        else:
            state = "cut"
    finally:
        _end(process)
        result = _result(file, state, start, seconds)
        if state != "done":
            result["failures"].append(_last_words(section, state, seconds, log))
        note(result)


def _environment() -> dict[str, str]:
    """Return the variables of a section: benchmarks can be imported, and nothing is fetched."""
    paths = [str(FOLDER), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, paths))
    return os.environ | OFFLINE | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a section: graders and compilers are children of its process."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _result(file: Path, state: str, start: float, cap: float) -> Result:
    """Return what a section has noted so far."""
    # The last line may be half written.
    lines = [json.loads(line) for line in file.read_text().splitlines(True) if line[-1] == "\n"]
    return {
        "state": state,
        "seconds": round(time.monotonic() - start, 1),
        "cap": round(cap, 1),
        "figures": [line for line in lines if "figure" in line],
        "said": [line["said"] for line in lines if "said" in line],
        "failures": [line for line in lines if "failed" in line],
    }


def _last_words(section: Section, state: str, cap: float, log: Path) -> dict[str, str]:
    """Return the failure of a section that did not end well, with the end of what it printed."""
    printed = log.read_text(errors="replace")
    place = printed.rfind("Traceback (most recent call last)")
    text = printed[place:] if state == "failed" and place >= 0 else printed
    said = {"cut": f"cut after {cap:.0f} s", "failed": "ended with an error"}
    why = said.get(state, "stopped with the check")
    return {"failed": f"section {section.letter} {why}", "traceback": text[-LONGEST_TRACEBACK:]}
