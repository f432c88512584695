"""A store that a transfer was made in leads to its heat map in the report."""

import base64
import re

import pytest
from toy_sweeps import make_run

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.store import Outcome, Store
from lit_unmask.report.analysis import Options
from lit_unmask.report.cli import main
from lit_unmask.report.heatmap import FILE, CellRuns, read_cells, write_cells
from lit_unmask.report.reading import read
from lit_unmask.report.transfer import transfers

UIDS = [f"problem {i}" for i in range(40)]
OPTIONS = Options(resamples=100)


def fill(store, run, right, nfe):
    rows = [
        Outcome(uid, float(i < right), nfe, {"fresh": nfe}, 9, False, 0.1)
        for i, uid in enumerate(UIDS)
    ]
    Store(store).append(run, rows)
    return run.key


def cell(store, name, right, nfe, **said):
    """Write the three runs of a cell: the policy with so many right, and two heuristics."""
    said = {"dataset": name, "num_problems": len(UIDS), **said}
    policy = make_run(name="mine", kind="learned", params={}, weights="a", **said)
    return CellRuns(
        name, "tiny", "Sums",
        fill(store, policy, right, nfe),
        fill(store, make_run(**said), 20, 40),
        fill(store, make_run(block_length=8, **said), 30, 80),
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    write_cells(folder, [cell(folder, "home", 24, 10), cell(folder, "far", 0, 120, gen_length=128)])
    return folder


def test_the_numbers_are_those_of_the_runs_with_intervals(store):
    [found] = transfers([store], read([store]), OPTIONS)
    home, _, far, _ = found.table.rows
    assert home[0] == "home (tiny, Sums, L 64, BL 64; 40 problems)"
    assert home[1:3] == ["threshold (threshold=0.9), BL 64", "closest"]
    assert home[3].startswith("0.600 (") and home[4] == "10.0"
    low, high = map(float, re.fullmatch(r"\+10\.0 \((.*) to (.*)\)", home[5]).groups())
    assert 0 <= low < 10 < high and home[6] == "0.25 (0.25 to 0.25)"
    assert found.table.rows[1][1:3] == ["threshold (threshold=0.9), BL 8", "most accurate"]
    assert found.table.rows[1][5].startswith("\N{MINUS SIGN}15.0 (")
    assert far[0].startswith("far (tiny, Sums, L 128") and far[6].startswith("3.00 (")
    assert found.picture.title == "Transfer of mine to 2 cells"


def test_the_heat_map_is_beside_the_markdown_and_inside_the_page(store, tmp_path):
    out = tmp_path / "out"
    main([str(store), "--out", str(out), "--resamples", "20"])
    assert (out / "transfer.png").read_bytes().startswith(b"\x89PNG")
    markdown = (out / "report.md").read_text()
    section = markdown.partition("## Transfer of mine to 2 cells")[2].partition("\n## ")[0]
    assert "| home (tiny, Sums" in section and "[heat map](transfer.png)" in section
    # Their short answers are those of the transfer, and stand in their own files.
    assert "## home" not in markdown and "## In short" in (out / "home.md").read_text()
    page = (out / "report.html").read_text()
    [image] = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)" alt="Transfer of', page)
    assert b"<svg" in base64.b64decode(image) and "http" not in page.replace("http-equiv", "")


def test_several_transfers_have_a_heat_map_each(store, tmp_path):
    other = tmp_path / "other"
    write_cells(other, [cell(other, "elsewhere", 5, 9)])
    found = transfers([store, other], read([store, other]), OPTIONS)
    assert [one.picture.name for one in found] == ["transfer.png", "transfer-2.png"]


def test_a_store_without_a_transfer_has_none(tmp_path):
    cell(tmp_path, "home", 20, 10)
    assert read_cells(tmp_path) == [] == transfers([tmp_path], read([tmp_path]), OPTIONS)


def test_a_cell_without_all_its_outcomes_is_left_out_and_named(store):
    write_cells(store, [*read_cells(store), CellRuns("gone", "tiny", "Sums", "1", "2", "3")])
    [found] = transfers([store], read([store]), OPTIONS)
    assert len(found.table.rows) == 4
    assert found.table.note.endswith("Left out, as outcomes are missing: gone.")


@pytest.mark.parametrize("content", ["[{}]", "{", "3"])
def test_a_damaged_list_of_cells_is_named_with_what_to_do(store, content):
    (store / FILE).write_text(content)
    with pytest.raises(ConfigurationError, match=r"cells\.json does not list .* test again with"):
        read_cells(store)
