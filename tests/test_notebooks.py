"""The notebooks run from beginning to end, and show what they say they show."""

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS = 180  # a cell; a busy machine is several times slower than an idle one

# Sizes that are enough to run every cell, in place of those of the cell tagged `parameters`.
SMALL = {
    "01_train_and_watch": {"ROUNDS": 1, "PROMPTS": 2, "LESSONS": 4, "VALIDATION": 3},
    "02_frontier": {"TUNING": 3, "TEST": 4, "LESSONS": 4, "ROUNDS": 1, "RESAMPLES": 50},
    "03_transfer": {"TUNING": 2, "TEST": 3, "LESSONS": 4, "ROUNDS": 1},
    "04_your_own_decoder": {"TUNING": 3, "TEST": 4, "RESAMPLES": 50},
}
# What holds in the notebook's own names when it has run, and images it shows at least.
HOLDS = {
    "01_train_and_watch": """
        assert trainer.global_step == ROUNDS
        assert curve("val/math/accuracy")[0][-1] == ROUNDS - 1
        assert len(inspected["problems"]) == VALIDATION
        assert {run.label for run in runs} == {"policy", "threshold 0.9"}
        for name, weight in policy.state_dict().items():
            assert torch.equal(weight, again.state_dict()[name])
    """,
    "02_frontier": """
        assert first > 0 and second == first
        assert third - second >= 2 * TUNING, "a further value is two settings, both tuned"
        assert {s.method for s in analysis.dataset.test} == {"policy", *grids}
        assert caveats([analysis]) and summary_table(analysis, 1).rows
    """,
    "03_transfer": """
        assert [row["cell"] for row in rows] == list(cells)
        assert all(row["policy"]["num_problems"] == TEST for row in rows)
        assert len({row["denoiser"] for row in rows}) == 2
        assert {row["gen_length"] for row in rows} == {64, 128}
    """,
    "04_your_own_decoder": """
        assert opened.tolist() == [[True, False, True, False], [False, False, True, False]]
        assert name in {s.method for s in analysis.dataset.test}
        assert {f.name for f in analysis.subjects} == {name}
        assert caveats([analysis]) and 1 <= forwards <= 64
    """,
}
IMAGES = {
    "01_train_and_watch": 3,
    "02_frontier": 1,
    "03_transfer": 1,
    "04_your_own_decoder": 1,
}


def code_cells(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def parameters(book: nbformat.NotebookNode) -> nbformat.NotebookNode:
    (cell,) = [c for c in code_cells(book) if "parameters" in c.metadata.get("tags", [])]
    return cell


def test_every_notebook_is_covered():
    assert [path.stem for path in NOTEBOOKS] == list(SMALL) == list(HOLDS) == list(IMAGES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert not any(cell.outputs or cell.execution_count for cell in code_cells(book))
    assert book.metadata.kernelspec.name == "python3"
    assert not any(word in path.read_text() for word in ("/root/", "/home/", "/tmp/", "/work/"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_small_sizes_name_the_parameters(path):
    source = ast.parse(parameters(nbformat.read(path, as_version=4)).source)
    names = [target.id for line in source.body for target in line.targets]
    assert names == list(SMALL[path.stem])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    book = nbformat.read(path, as_version=4)
    sizes = SMALL[path.stem]
    parameters(book).source = "\n".join(f"{name} = {value}" for name, value in sizes.items())
    check = nbformat.v4.new_code_cell(f"if True:{HOLDS[path.stem]}")
    book.cells.append(check)
    where = tmp_path / "cwd"
    where.mkdir()
    resources = {"metadata": {"path": str(where)}}
    NotebookClient(book, timeout=SECONDS, kernel_name="python3", resources=resources).execute()
    shown = [output.get("data", {}) for cell in code_cells(book) for output in cell.outputs]
    assert sum("image/png" in data for data in shown) >= IMAGES[path.stem]
    assert not list(where.iterdir()), "a notebook writes to temporary folders alone"
