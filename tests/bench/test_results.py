"""The command behind the results page."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STORED = re.compile(r"(\d+)\s+outcomes\s+computed,\s+\d+\s+found")


@pytest.fixture(scope="module")
def results():
    sys.path.append(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("results", ROOT / "benchmarks" / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_second_run_computes_nothing_and_writes_the_same_tables(results, tmp_path, capsys):
    pages, computed = [], []
    for _ in range(2):
        places = ["--stores", str(tmp_path / "stores"), "--out", str(tmp_path / "docs")]
        results.main(["--small", *places])
        computed.append([int(count) for count in STORED.findall(capsys.readouterr().out)])
        pages.append((tmp_path / "docs" / "results.md").read_text())
    assert all(count > 0 for count in computed[0]) and computed[1] == [0, 0, 0, 0, 0]
    assert pages[0] == pages[1]
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", pages[0])
    assert {"results/transfer.png", "results/transfer-2.png"} <= set(pictures)
    assert "8 noise seeds" not in pages[0] and "2 noise seeds a problem" in pages[0]
    assert all((tmp_path / "docs" / picture).is_file() for picture in pictures)


def test_every_shipped_policy_is_on_the_page(results):
    page = (ROOT / "docs" / "results.md").read_text()
    folders = [file.parent for file in results.POLICIES.glob("*/*/config.json")]
    assert len(folders) == 4
    assert all(f"{folder.parent.name}/{folder.name}" in page for folder in folders)
