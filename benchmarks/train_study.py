"""Trains the policies of the study.

    python benchmarks/train_study.py
    python benchmarks/train_study.py --only 'bernoulli/*' 'told/*' --jobs 1

Runs what study/runs.py lists, some at a time with one thread each, into ``runs/study``. A run that
was interrupted goes on from its last checkpoint; a finished one is not repeated: its policies, the
best by validation and the last, and its log lie in ``benchmarks/study/trained``. ``make results``
evaluates them and makes the tables.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch

from study.runs import chains
from study.training import WORK, train_chain


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=["*"], help="names of runs, as in a shell")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    options = parser.parse_args(arguments)
    wanted = [
        chain
        for chain in chains()
        if any(fnmatch(run.name, only) for run in chain for only in options.only)
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        failed = [name for names in pool.map(train_chain, wanted) for name in names]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; see output.log of each below {WORK}")


if __name__ == "__main__":
    main()
