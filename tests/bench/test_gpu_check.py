"""The GPU check: what it loses when a section fails or takes too long, and what it refuses."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))
check, machine, pack, report, sections = (
    importlib.import_module(f"gpu.{name}")
    for name in ("check", "machine", "pack", "report", "sections")
)
gpu_check: ModuleType = importlib.import_module("gpu_check")

GOOD = """
def run(check):
    check.figure("speed, ms", 3.0, 4.0)
    with check.part("a part that fails"):
        raise ValueError("seven")
    check.figure("the part after it", True, True)
    check.figure("misses its target", 3.0, 4.0, "at least")
"""
FAILING = """
def run(check):
    check.figure("before", 1.0)
    raise ZeroDivisionError("by nothing")
"""
ENDLESS = """
import subprocess, sys, time
from pathlib import Path

def run(check):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    check.figure("process", other.pid)
    check.figure("before the cut", 1.0)
    time.sleep(60)
"""
GONE = """
import os

def run(check):
    os._exit(3)
"""
ALL = {"endless": ENDLESS, "good": GOOD, "failing": FAILING, "gone": GONE, "last": GOOD}


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Sections of a moment, but for the endless one."""
    for name, code in ALL.items():
        (tmp_path / f"toy_{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return [
        sections.Section(letter, name, f"toy_{name}", 5 if name == "endless" else 20)
        for letter, name in zip("abcde", ALL, strict=True)
    ]


def alive(process: int) -> bool:
    """Return whether a process runs; one that nobody has waited for yet does not."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_failure_or_a_cut_loses_its_own_section_alone(toys: list[Any], tmp_path: Path) -> None:
    out, seen = tmp_path / "out", []

    def note(results: list[dict[str, Any]]) -> None:
        report.write({"name": "toy", "software": "none", "rehearsal": True}, results, out)
        seen.append(json.loads((out / "gpu.json").read_text())["sections"])

    found = sections.run_sections(toys, check.Job("cpu", "tiny", str(tmp_path)), 85, note)
    assert [one["state"] for one in found] == ["cut", "done", "failed", "failed", "done"]
    endless, good, failing, gone, last = found
    assert [figure["figure"] for figure in good["figures"]] == [
        "speed, ms", "the part after it", "misses its target",
    ]  # fmt: skip
    assert [report.passed(figure) for figure in good["figures"]] == [True, True, False]
    assert good["failures"][0]["failed"] == "a part that fails"
    assert "ValueError: seven" in good["failures"][0]["traceback"]
    assert failing["figures"][0]["value"] == 1.0
    assert failing["failures"][0]["traceback"].startswith("Traceback (most recent call last)")
    assert "ZeroDivisionError: by nothing" in failing["failures"][0]["traceback"]
    assert endless["figures"][1]["figure"] == "before the cut"
    assert endless["failures"][0]["failed"].startswith("section a cut after 5 s")
    assert not alive(endless["figures"][0]["value"])
    assert gone["failures"][0]["failed"] == "section d ended with an error"
    assert last["figures"] == good["figures"]
    # The file was there with the first figures, and grew.
    assert [len(some) for some in seen] == sorted(len(some) for some in seen)
    assert [one["state"] for one in seen[0]] == ["running"]
    assert seen[-1] == found
    page = (out / "gpu.md").read_text()
    assert "| b | speed, ms | 3 | at most 4 | pass |" in page
    assert "| b | misses its target | 3 | at least 4 | **no** |" in page
    assert "ZeroDivisionError: by nothing" in page and "A rehearsal" in page


def test_what_a_section_leaves_over_goes_to_the_next(toys: list[Any], tmp_path: Path) -> None:
    found = sections.run_sections(
        [toys[1], toys[4]], check.Job("cpu", "tiny", str(tmp_path)), 20, lambda results: None
    )
    assert found[0]["cap"] == pytest.approx(10, abs=0.2)
    assert found[1]["cap"] == pytest.approx(20 - found[0]["seconds"], abs=0.5)


def test_the_sections_share_the_budget_and_name_modules_that_are_there() -> None:
    assert "".join(section.letter for section in sections.SECTIONS) == "abcdef"
    assert sections.BUDGET == 480
    for section in sections.SECTIONS:
        assert (ROOT / "benchmarks" / f"{section.module.replace('.', '/')}.py").is_file()


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the check, which must not begin, and return what it said."""
    assert gpu_check.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said


@pytest.fixture
def unbegun(monkeypatch: pytest.MonkeyPatch) -> None:
    """No section may start."""

    def run_sections(*_: Any) -> None:
        raise AssertionError("a section was started")

    monkeypatch.setattr(gpu_check, "run_sections", run_sections)


CARD = {"cuda": True, "torch": "2.11", "name": "A card", "software": "torch 2.11", "free": 16e9}


@pytest.mark.usefixtures("unbegun")
def test_a_machine_that_will_not_do_is_refused_before_any_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"--out={tmp_path / 'out'}"
    large = ["--scratch", str(tmp_path), out]
    monkeypatch.setitem(machine.LEAST_DISK, "8b", 0)
    monkeypatch.setattr(gpu_check, "describe", lambda device: CARD | {"cuda": False})
    assert "device=cuda needs a GPU, and torch 2.11 sees none; run" in refused(capsys, *large)
    monkeypatch.setattr(gpu_check, "describe", lambda device: CARD)
    assert "A card has 16.0 GB of memory free and size=8b needs 22; end" in refused(capsys, *large)
    monkeypatch.setitem(machine.LEAST_DISK, "8b", 2**70)
    assert "GB free and size=8b needs 1180591620717; choose" in refused(capsys, *large)
    nowhere = str(tmp_path / "nowhere")
    assert "is no folder; make it" in refused(capsys, "--scratch", nowhere, out)
    monkeypatch.setattr(machine, "PACKAGES", ("json", "not_a_package"))
    assert "not_a_package cannot be imported by" in (said := refused(capsys, *large))
    assert "needs it; install" in said and "make gpu-pack" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sections=ax"], "--sections=ax: 'x' is none of abcdef"),
        (["--budget=0"], "--budget=0.0 must be positive; 480 suits"),
        (["--device=cpu"], "--size=8b on a CPU takes hours; rehearse with --size tiny"),
        ([], "required: --out"),
    ],
)
def test_a_wrong_option_is_an_error(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = [] if not arguments else ["--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="2"):
        gpu_check.main([*arguments, *out])
    assert said in capsys.readouterr().err


def test_the_pack_has_a_pinned_version_of_all_that_is_needed() -> None:
    pins = pack.pinned((ROOT / "constraints.txt").read_text())
    assert "omegaconf==2.4.0" in pins and "latex2sympy2-extended==1.11.0" in pins
    with pytest.raises(pack.PackError, match=r"no version of jsonargparse; add the one"):
        pack.pinned("omegaconf==2.4.0")


def test_a_wheel_that_cannot_be_had_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    def pip(*arguments: object, python: Path | None = None) -> bool:
        asked.append(arguments)
        return "latex2sympy2" not in str(arguments[-1])

    monkeypatch.setattr(pack, "_pip", pip)
    with pytest.raises(
        pack.PackError, match=r"latex2sympy2-extended==1\.11\.0 has no wheel for CPython 3\.12"
    ):
        pack.fetch(tmp_path)
    # The source was tried too.
    assert asked[-1][0] == "wheel" and asked[-2][0] == "download"


def test_an_incomplete_pack_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    for name in ("jsonargparse", "typeshed_client", "docstring_parser", "omegaconf", "setuptools",
                 "latex2sympy2_extended"):  # fmt: skip
        (tmp_path / f"{name}-1.0-py3-none-any.whl").touch()
    with pytest.raises(pack.PackError, match=r"has no wheel of antlr4-python3-runtime; run make"):
        pack.install(tmp_path, tmp_path / "environment")
    assert not (tmp_path / "environment").exists()


@pytest.mark.slow
def test_every_section_runs_on_the_cpu_at_tiny_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    small = ["--device=cpu", "--size=tiny", f"--out={tmp_path}", "--budget=900"]
    code = gpu_check.main(small)
    found = json.loads((tmp_path / "gpu.json").read_text())["sections"]
    assert [one["state"] for one in found] == ["done"] * 6, (tmp_path / "gpu.md").read_text()
    assert not [failure for one in found for failure in one["failures"]]
    assert code == 0
    assert (tmp_path / "gpu.log").is_file()
