"""Runs one section, in a process of its own: ``python -m gpu.child MODULE JOB FILE SECONDS``."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from gpu.check import Check, Job


def main() -> None:
    """Run the section of the command line."""
    module, job, file, seconds = sys.argv[1:]
    # Command lines that run in this process warn about arguments that are not theirs.
    del sys.argv[1:]
    check = Check(Job(**json.loads(job)), Path(file), float(seconds))
    importlib.import_module(module).run(check)


if __name__ == "__main__":
    main()
