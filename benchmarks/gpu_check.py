"""What only a GPU can prove: exactness, speed, memory, a training run of 8 billion parameters.

    python benchmarks/gpu_check.py --budget 480 --out runs/gpu
    python benchmarks/gpu_check.py --device cpu --size tiny --out runs/gpu     # a rehearsal

Needs one CUDA device, no network and no weights: checkpoints in LLaDA's and Dream's layout are made
with random weights, and questions are written on the spot. Sections, in order of value, each a
process with its own cap: a exactness, b the denoiser, c the engine, d training, e the small world,
f forms for one small GPU. Writes gpu.json with every figure, gpu.md and gpu.log to ``--out``.
Exits with 0 if every section ended and every target was reached, with 1 if not, and with 2 if the
check cannot run here.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu.check import Job
from gpu.machine import (
    Unfit,
    check_device,
    check_disk,
    check_packages,
    describe,
    scratch_parent,
)
from gpu.report import passed, table, write
from gpu.sections import BUDGET, SECTIONS, run_sections


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    letters = "".join(section.letter for section in SECTIONS)
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds for all sections")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--size", choices=["8b", "tiny"], default="8b")
    parser.add_argument("--sections", default=letters, help=f"some of {letters}, as one word")
    parser.add_argument("--scratch", type=Path, default=None, help="folder for 32 GB for a while")
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(letters):
        parser.error(f"--sections={options.sections}: {min(unknown)!r} is none of {letters}")
    if options.budget <= 0:
        parser.error(f"--budget={options.budget} must be positive; {BUDGET} suits a large GPU")
    if options.device == "cpu" and options.size == "8b":
        parser.error("--size=8b on a CPU takes hours; rehearse with --size tiny")
    return options


def fit_machine(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the check runs on.

    Raises:
        Unfit: If something is missing, or too small.
    """
    check_packages()
    options.scratch = options.scratch or scratch_parent(options.size)
    if not options.scratch.is_dir():
        raise Unfit(f"scratch={options.scratch} is no folder; make it, or choose another")
    check_disk(options.scratch, options.size)
    machine = describe(options.device)
    check_device(machine, options.device, options.size)
    return machine | {"rehearsal": options.size == "tiny", "budget": options.budget}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; returns the exit code."""
    options = parse(arguments)
    try:
        machine = fit_machine(options)
    except Unfit as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # A job that is stopped ends its section too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scratch = Path(tempfile.mkdtemp(prefix="gpu-check-", dir=options.scratch))
    job = Job(options.device, options.size, str(scratch))
    sections = [section for section in SECTIONS if section.letter in options.sections]
    try:
        results = run_sections(
            sections, job, options.budget, lambda some: write(machine, some, options.out)
        )
    finally:
        _keep_logs(scratch, options.out)
        shutil.rmtree(scratch, ignore_errors=True)
    print(table(results))
    figures = [figure for result in results for figure in result["figures"]]
    good = all(passed(figure) is not False for figure in figures)
    return int(not good or any(result["failures"] for result in results))


def _keep_logs(scratch: Path, out: Path) -> None:
    """Put what the sections printed into one file."""
    out.mkdir(parents=True, exist_ok=True)
    logs = sorted(scratch.glob("?.log"))
    text = "".join(f"== {log.stem} ==\n{log.read_text(errors='replace')}\n" for log in logs)
    (out / "gpu.log").write_text(text[-8_000_000:])


if __name__ == "__main__":
    sys.exit(main())
