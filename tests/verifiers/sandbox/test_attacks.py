"""Hostile programs earn nothing and leave nothing, as root and as an ordinary user."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.verifiers.sandbox.attacks import KINDS, attacks
from tests.verifiers.sandbox.conftest import reason_against

SCRIPT = Path(__file__).with_name("attacks.py")
# Shows the interpreter, which may lie in root's own home, to a user who is not root.
AS_ANYBODY = """
home=$1; shift
if [ -n "$home" ]; then
    stage=$(mktemp -d)
    mount --bind "$home" "$stage" && mount -t tmpfs -o mode=755 none /root || exit 3
    mkdir -p "$home" && mount --move "$stage" "$home" && rmdir "$stage" || exit 3
fi
exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all "$@"
"""
# Some of each kind, and those that no release may ever lose.
CHOSEN = ["report_by_proc1", "setsid_sleepers", "fork_runner", "memory_children", "memory_sysv"]
CHOSEN += ["user_namespace", "io_uring_and_friends", "read_the_tester", "disk_many_files"]
CHOSEN += ["disk_locked_folders", "exit0_call", "eq_object", "raise_limits", "inodes"]


def command(user: str) -> list[str]:
    """Return how to start a program as a user."""
    if user == "root":
        return [] if os.geteuid() == 0 else pytest.skip("these tests do not run as root")
    if os.geteuid() != 0:
        return []
    missing = [name for name in ("unshare", "setpriv") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no ordinary user here: {', '.join(missing)} is missing")
    interpreter = os.path.realpath(sys._base_executable)
    home = "/".join(interpreter.split("/")[:3]) if interpreter.startswith("/root/") else ""
    run = ["unshare", "--mount", "bash", "-c", AS_ANYBODY, "as-anybody", home]
    seen = subprocess.run([*run, sys.executable, "-c", "import lit_unmask"], capture_output=True)
    if seen.returncode != 0:
        pytest.skip(f"no ordinary user here: {seen.stderr.decode(errors='replace')[-200:]}")
    return run


@cache
def outcomes(kind: str, user: str, names: tuple[str, ...]) -> dict[str, dict]:
    if (reason := reason_against(KINDS[kind])) is not None:
        pytest.skip(f"no {kind} here: {reason}")
    run = [*command(user), sys.executable, str(SCRIPT), kind, *names]
    environment = os.environ | {"HOME": "/tmp"}
    done = subprocess.run(run, capture_output=True, text=True, timeout=900, env=environment)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(names), done.stderr[-1000:]
    return {row["name"]: row for row in rows}


def holds(row: dict) -> None:
    assert "error" not in row, row  # a program cannot make a sandbox fail
    assert row["passed"] == row["wanted"], row
    assert not row["processes"] and not row["files"], row


@pytest.mark.parametrize("user", [pytest.param("root", marks=pytest.mark.slow), "somebody"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CHOSEN)
def test_an_attack_earns_and_leaves_nothing(name, kind, user):
    holds(outcomes(kind, user, tuple(CHOSEN))[name])


@pytest.mark.slow
@pytest.mark.parametrize("user", ["root", "somebody"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in attacks() if name not in CHOSEN])
def test_all_attacks_earn_and_leave_nothing(name, kind, user):
    rest = tuple(name for name in attacks() if name not in CHOSEN)
    holds(outcomes(kind, user, rest)[name])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "limit"), [("memory_children", "MiB of memory"), ("memory_shared_hidden", "memory")]
)
def test_memory_is_that_of_all_processes_together(name, limit, kind):
    row = outcomes(kind, "somebody", ("memory_children", "memory_shared_hidden"))[name]
    assert limit in row["detail"] and not row["finished"], row


@pytest.mark.parametrize("name", ["disk_deleted_open", "disk_many_files"])
def test_a_folder_on_the_disk_has_a_bound(name):
    row = outcomes("sandlock", "somebody", ("disk_deleted_open", "disk_many_files"))[name]
    assert "files were more" in row["detail"] and not row["finished"], row
