"""The command behind the results page."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from lit_unmask.policies import ConfidenceTransformer, LearnedPolicy
from lit_unmask.sharing import TrainedWith
from lit_unmask.sharing.saved import save_policy

ROOT = Path(__file__).parents[2]
STORED = re.compile(r"(\d+)\s+outcomes\s+computed,\s+\d+\s+found")


PAGE = ROOT / "docs" / "results.md"
written = pytest.mark.skipif(not PAGE.is_file(), reason="make results has written no page yet")


@pytest.fixture(scope="module")
def results():
    sys.path.append(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("results", ROOT / "benchmarks" / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def policies(results, tmp_path, monkeypatch):
    """Save a few policies in the places of those that are trained."""
    import study.evaluating
    import study.logs

    shipped, trained = tmp_path / "policies", tmp_path / "trained"
    monkeypatch.setattr(results, "POLICIES", shipped)
    monkeypatch.setattr(study.evaluating, "TRAINED", trained)
    monkeypatch.setattr(study.logs, "TRAINED", trained)
    run = "bernoulli/alpha-1-block-64-seed-0"
    folders = [shipped / name for name in ("policy/seed-0", "policy/seed-1", "code-policy/seed-0")]
    for folder in (*folders, trained / run / "best"):
        policy = LearnedPolicy(ConfidenceTransformer(width=16, heads=2, feed_forward=16))
        save_policy(policy, folder, TrainedWith(gen_length=64, block_length=64))
    (trained / run / "training.csv").write_text("step,train/reward,train/row_forwards\n0,0.5,100\n")


def test_a_second_run_computes_nothing_and_writes_the_same_tables(
    results, policies, tmp_path, capsys
):
    pages, computed = [], []
    for _ in range(2):
        places = ["--stores", str(tmp_path / "stores"), "--out", str(tmp_path / "docs")]
        results.main(["--small", *places])
        computed.append([int(count) for count in STORED.findall(capsys.readouterr().out)])
        pages.append((tmp_path / "docs" / "results.md").read_text())
    assert all(count > 0 for count in computed[0]) and computed[1] == [0, 0, 0, 0, 0]
    assert pages[0] == pages[1]
    files = linked(tmp_path / "docs" / "results.md")
    assert {"transfer.png", "transfer-2.png", "math.md", "study.md"} <= {f.name for f in files}
    assert all(file.is_file() for file in files)
    for file in (tmp_path / "docs" / "results").glob("*.md"):
        assert all(other.is_file() for other in linked(file))
    assert "8 noise seeds" not in pages[0] and "2 noise seeds a problem" in pages[0]


def linked(page):
    """Return the files that a page links to."""
    return [page.parent / name for name in re.findall(r"\]\(([^)]+)\)", page.read_text())]


@written
def test_the_results_are_one_page_that_leads_to_all_others():

    assert len(PAGE.read_text().splitlines()) <= 150 and len(linked(PAGE)) > 10
    assert set((ROOT / "docs" / "results").glob("*.md")) <= set(linked(PAGE))
    for file in [PAGE, *(ROOT / "docs" / "results").glob("*.md")]:
        assert all(other.is_file() for other in linked(file)), file


@written
def test_every_shipped_policy_is_in_the_results(results):
    text = "".join(file.read_text() for file in (ROOT / "docs" / "results").glob("*.md"))
    folders = [file.parent for file in results.POLICIES.glob("*/*/config.json")]
    assert folders
    assert all(f"{folder.parent.name}/{folder.name}" in text for folder in folders)
