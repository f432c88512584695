"""The rollout engine against a plain lock-step loop: row-forwards, wall time, efficiency.

    python benchmarks/rollout.py --repeats 5
    python benchmarks/rollout.py --quick
    python benchmarks/rollout.py --cases 'tiny/*' wide/start

Both loops decode the same prompts with the same weights and the same noise in one process, in
alternating order; times are medians of the repetitions. Trajectories must be equal: a row that
differs in float32 must be equal in float64. Writes rollout.json and rollout.md to the folder
``--out``.

``eta`` is the time that the needed row-forwards would take at the best speed measured in the same
run, over the wall time of the engine. ``useful_share`` is needed over computed row-forwards.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from typing import Any

import torch
from cases import CASES, Case, Scale
from measure import Samples, balance, merge, sample
from ranks import measure_ranks

PROBLEMS, QUICK_PROBLEMS = 8, 2
Row = dict[str, Any]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one repetition, tiny cases, few rows")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="+", default=["*"], help="names, as in a shell: 'tiny/*'")
    parser.add_argument("--threads", type=int, default=None, help="of torch; default: its own")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"--repeats={options.repeats} must be at least 1")
    if options.quick:
        options.repeats = 1
    return options


def git(*command: str) -> str | None:
    """Return what git prints about the repository of this file, None where there is none."""
    run = ["git", "-C", str(Path(__file__).parent), *command]
    try:
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name(case: Case) -> str:
    """Return what the case ran on."""
    if case.kind == "8b":
        return torch.cuda.get_device_name()
    threads = max(1, torch.get_num_threads() // case.ranks)
    processes = f"{case.ranks} processes of " if case.ranks > 1 else ""
    return f"CPU ({platform.machine()}), {processes}{threads} thread{'s' * (threads > 1)}"


def skipped(case: Case, options: argparse.Namespace) -> str | None:
    """Return why a case does not run here, or None."""
    if case.kind == "8b" and not torch.cuda.is_available():
        return "no CUDA device"
    if options.quick and case.kind != "tiny":
        return "not part of --quick"
    return None


def run_case(name: str, options: argparse.Namespace) -> Row:
    """Measure one case and return its row of the report."""
    case = CASES[name]
    load = os.getloadavg()[0]
    problems = QUICK_PROBLEMS if options.quick else PROBLEMS
    if case.ranks == 1:
        row = report(name, case, sample(case.build(Scale(problems)), options.repeats))
    else:
        parts = measure_ranks(name, problems, options.repeats)
        row = report(name, case, merge(parts)) | {"balance": balance(parts)}
    return row | {
        "commit": git("rev-parse", "--short", "HEAD"),
        "modified": bool(git("status", "--porcelain")),
        "repeats": options.repeats,
        "quick": options.quick,
        "load_average": load,
    }


def report(name: str, case: Case, samples: Samples) -> Row:
    """Return the figures of a case, targets beside them."""
    plain, engine = median(samples.plain.seconds), median(samples.engine.seconds)
    computed = samples.engine.computed
    at_best = samples.needed * samples.tau / case.ranks
    targets = {f"target_{key}": value for key, value in asdict(case.targets).items()}
    return {
        "case": name,
        "row_forward_ratio": samples.plain.computed / computed,
        "wall_ratio": plain / engine,
        "eta": at_best / engine,
        "useful_share": samples.needed / computed,
        "rollouts_per_s": samples.rows / engine,
        "memory_per_row_gb": samples.engine.memory,
        "plain_memory_per_row_gb": samples.plain.memory,
        "ms_per_row_forward": 1000 * engine / computed,
        "plain_ms_per_row_forward": 1000 * plain / samples.plain.computed,
        "best_ms_per_row_forward": 1000 * samples.tau,
        "plain_seconds": plain,
        "engine_seconds": engine,
        "rows": samples.rows,
        "flipped_rows": samples.flipped,
        "denoiser_share": samples.engine.shares.get("denoiser"),
        "policy_share": samples.engine.shares.get("policy"),
        "balance": None,
        "device": device_name(case),
        **targets,
    }


COLUMNS = {  # heading -> field, its target, digits
    "row-forwards, plain / engine": ("row_forward_ratio", "target_row_forwards", 2),
    "wall, plain / engine": ("wall_ratio", "target_wall", 2),
    "eta": ("eta", "target_eta", 2),
    "useful share": ("useful_share", None, 3),
    "rollouts/s": ("rollouts_per_s", None, 2),
    "ms a row-forward": ("ms_per_row_forward", "target_ms_per_row_forward", 2),
    "GB a row": ("memory_per_row_gb", "target_memory_per_row_gb", 3),
    "balance": ("balance", None, 2),
    "denoiser's share": ("denoiser_share", None, 2),
    "policy's share": ("policy_share", None, 2),
}


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown, each figure with its target in brackets."""
    lines = [f"| case | {' | '.join(COLUMNS)} | rows that rounding flipped |"]
    lines.append("| --- " * (len(COLUMNS) + 2) + "|")
    for row in rows:
        cells = [row["case"]]
        for name, target, digits in COLUMNS.values():
            text = "-" if row[name] is None else f"{row[name]:.{digits}f}"
            goal = None if target is None else row[target]
            cells.append(text if goal is None else f"{text} [{goal:g}]")
        cells.append(f"{row['flipped_rows']} of {row['rows']}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def describe(rows: Sequence[Row]) -> str:
    """Return what has to be known about the numbers of a table."""
    first = rows[0]
    changes = " with changes that are not committed" if first["modified"] else ""
    devices = ", ".join(dict.fromkeys(row["device"] for row in rows))
    loads = [row["load_average"] for row in rows]
    return (
        f"{devices}; commit {first['commit']}{changes}; medians of {first['repeats']} repetitions"
        f"{' (quick)' if first['quick'] else ''}; load average before the cases "
        f"{min(loads):.1f} to {max(loads):.1f}. In brackets: targets.\n"
    )


def write(rows: list[Row], folder: Path) -> str:
    """Write both files; returns the text of the second."""
    text = f"{table(rows)}\n{describe(rows)}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rollout.json").write_text(json.dumps(rows, indent=1) + "\n")
    (folder / "rollout.md").write_text(text)
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases, print the table and write both files."""
    options = parse(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    rows = []
    for name in (name for name in CASES if any(fnmatch(name, one) for one in options.cases)):
        reason = skipped(CASES[name], options)
        if reason is not None:
            print(f"{name}: skipped, {reason}", flush=True)
            continue
        print(f"{name} ...", flush=True)
        rows.append(run_case(name, options))
        # After each case, so that nothing measured is lost.
        text = write(rows, options.out)
    if not rows:
        raise SystemExit(
            f"no case of {', '.join(CASES)} was run for --cases {' '.join(options.cases)}"
        )
    print(text)


if __name__ == "__main__":
    main()
