"""Runs hostile programs in a sandbox and writes what became of each, as lines of JSON.

``python attacks.py bubblewrap [NAME ...]``, as whichever user; tests start it as two.
"""

import ctypes
import json
import sys
import tempfile
from pathlib import Path

from lit_unmask.verifiers.sandbox import Bubblewrap, Limits, SandboxError, Sandlock, Trial
from lit_unmask.verifiers.sandbox.processes import descendants

KINDS = {"bubblewrap": Bubblewrap, "sandlock": Sandlock}
TESTS = {
    "wrong": ("assert f(1) == 2\nassert f(41) == 42", ("f",)),
    "together": ("import io\nassert io.StringIO()\nassert f(1) == 2 and f(41) == 42", None),
    "nothing": ("found = f()\nassert found == [], found", ("f",)),
}
_PR_SET_CHILD_SUBREAPER = 36


def attacks() -> dict[str, tuple[str, str, dict]]:
    """Return program, tests and limits of each attack."""
    text = (Path(__file__).parents[2] / "fixtures" / "attacks.txt").read_text()
    found = {}
    for section in text.split("\n=== ")[1:]:
        head, _, program = section.partition("\n")
        name, tests, limits = head.split(" | ")
        found[name] = program, tests, json.loads(limits)
    return found


def run(kind: str, name: str) -> dict:
    """Return the outcome of an attack, and what was left behind of it."""
    program, tests, limits = attacks()[name]
    source, names = TESTS[tests]
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            outcome = KINDS[kind](Limits(**limits)).run(Trial(program, source, names=names))
            said = {"passed": outcome.passed, "finished": outcome.finished}
            said["detail"] = outcome.detail
        except SandboxError as error:
            said = {"error": str(error)}
        finally:
            tempfile.tempdir = None
        said["files"] = [path.name for path in Path(folder).iterdir()]
    return said | {"name": name, "wanted": tests == "nothing", "processes": descendants()}


if __name__ == "__main__":
    # What a keeper lost would become a child of this process.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for name in sys.argv[2:] or attacks():
        print(json.dumps(run(sys.argv[1], name)), flush=True)
