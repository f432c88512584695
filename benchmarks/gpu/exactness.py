"""Section a: the tests marked ``gpu``, one figure each, as they end."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from gpu.check import Check
from gpu.world import ROOT


class Notes:
    """A plugin of pytest that notes every test as it ends.

    Args:
        check: Where to.
    """

    def __init__(self, check: Check) -> None:
        self.check, self.count = check, 0

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note the outcome of a test, and the properties that it recorded."""
        if report.when != "call" and report.passed:
            return
        self.count += report.when == "call"
        name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        if report.skipped:
            self.check.said(f"{name}: skipped")
            return
        self.check.figure(name, report.passed, True)
        for label, value in report.user_properties if report.when == "call" else ():
            self.check.figure(f"{name}: {label}", value)
        if report.failed:
            self.check.write(failed=report.nodeid, traceback=report.longreprtext[-4000:])


def run(check: Check) -> None:
    """Run the tests in this process."""
    os.environ["LIT_UNMASK_TEST_DEVICE"] = check.job.device
    os.chdir(ROOT)
    if check.job.device == "cuda":
        torch.zeros((), device="cuda")
    notes = Notes(check)
    # The slowest come last.
    files = ["tests/cuda/test_rollouts.py", "tests/cuda/test_denoisers.py"]
    quiet = ["-m", "gpu", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist"]
    code = pytest.main([*quiet, *files], plugins=[notes])
    check.figure("tests that ran", notes.count)
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"pytest ended with {code!r}")
