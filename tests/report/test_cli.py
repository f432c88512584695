"""The command writes every file, refuses what it must, and its page stands alone."""

import csv
import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from PIL import Image
from toy_sweeps import Sweep, make_run

from lit_unmask.evaluation.store import Outcome, Store
from lit_unmask.report.cli import main

HOSTILE = "<script>alert(1)</script> $x|y*"
TWO = Sweep(("math", "Code / x"), test=30, tuning=20, training_seeds=2, noise_seeds=(0, 1))


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def values(self, name):
        return [value for key, value in self.attributes if key == name]


@pytest.fixture(scope="module")
def written(sweep_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    store = sweep_store(TWO)
    arguments = ["--out", str(folder), "--title", "A & B", "--command", "make sweep > log"]
    main([str(store), *arguments, "--resamples", "200"])
    return store, folder


def test_every_file_is_written_and_read_back(written):
    folder = written[1]
    assert {path.name for path in folder.iterdir()} == {
        "report.md", "report.html", "results.csv", "frontiers.png",
        "frontier-math.png", "frontier-code-x.png", "math.md", "code-x.md",
    }  # fmt: skip
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            assert image.width > 800 and len(set(image.convert("L").tobytes())) > 50


def test_the_table_of_runs_has_a_row_a_run_and_all_of_its_fields(written):
    store, folder = written
    rows = list(csv.DictReader(io.StringIO((folder / "results.csv").read_text())))
    opened = Store(store)
    runs = {run.key: run for run in opened.runs()}
    assert {row["run"] for row in rows} == set(runs) and len(rows) == len(runs)
    for row in rows[::7]:
        run = runs[row["run"]]
        outcomes = opened.outcomes(run).values()
        assert row["name"] == run.name and int(row["seed"]) == run.seed
        assert float(row["accuracy"]) == pytest.approx(
            sum(o.correct for o in outcomes) / len(outcomes)
        )
        assert float(row["nfe"]) == pytest.approx(sum(o.nfe for o in outcomes) / len(outcomes))
        assert float(row["nfe_fresh"]) + float(row["nfe_unchanged"]) == pytest.approx(
            float(row["nfe"])
        )
        assert (
            float(row["accuracy_ci_low"])
            <= float(row["accuracy"])
            <= float(row["accuracy_ci_high"])
        )
        assert row["tokens_per_forward"] and row["still_masked"] == "0.0"


def test_the_page_stands_alone(written):
    text = (written[1] / "report.html").read_text()
    page = Page(text)
    assert "script" not in page.tags and "link" not in page.tags
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.values("src"))
    assert page.tags.count("img") == 3 and len(page.values("alt")) == 3
    assert all(target.startswith("#") for target in page.values("href"))
    assert set(target[1:] for target in page.values("href")) <= set(page.values("id"))
    assert not re.search(r"url\(|@import", text)
    assert {"col", "row"} == set(page.values("scope"))
    assert page.tags.count("h1") == 1 and "A & B" in page.text
    for part in ("In short", "What cannot be claimed", "policy: 2 training seeds", "Code / x"):
        assert part in page.text
    for fact in ("tiny-llada", "fingerprint ma0030", "make sweep > log", "200 resamples, seed 0"):
        assert fact in page.text


def test_the_markdown_has_whole_tables_and_the_figures_beside_it(written):
    folder = written[1]
    images, links = [], []
    for file in folder.glob("*.md"):
        text = file.read_text()
        for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
            assert len({len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1
        images += re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
        links += re.findall(r"(?<!!)\[[^\]]*\]\(([^)]*)\)", text)
    assert sorted(images) == ["frontier-code-x.png", "frontier-math.png", "frontiers.png"]
    assert links == ["math.md", "code-x.md"]
    assert all((folder / name).exists() for name in images + links)
    assert "| **policy/seed-1** | 64 |" in (folder / "math.md").read_text()


def test_the_page_is_the_short_answers_and_what_they_do_not_say(written):
    markdown = (written[1] / "report.md").read_text()
    assert len(markdown.splitlines()) < 80
    heads = re.findall("^## (.*)$", markdown, re.M)
    assert heads[:3] == ["math", "Code / x", "What cannot be claimed"]
    assert markdown.count("| policy (2 training seeds) |") == 4
    assert markdown.count("Each policy beside its strongest tuned opponents") == 1
    sentences = re.findall("^- ([^[].*)$", markdown, re.M)
    page = Page((written[1] / "report.html").read_text())
    assert len(sentences) == len(set(sentences)) > 3
    assert all(sentence[2:40] in page.text for sentence in sentences)


def small_store(folder, **settings):
    learned = {"name": HOSTILE, "kind": "learned", "params": {}, "weights": "a"}
    for run in (make_run(**settings), make_run(**learned, **settings)):
        rows = [Outcome(uid, float(uid in "ab"), 5, {"fresh": 5}, 9, False, 0.1) for uid in "abcd"]
        Store(folder).append(run, rows)
    return str(folder)


def test_the_same_store_gives_the_same_files_in_place_of_the_old_ones(tmp_path):
    arguments = [
        small_store(tmp_path / "store"),
        "--out",
        str(tmp_path / "out"),
        "--resamples",
        "9",
    ]
    main(arguments)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "results.csv").write_text("old")
    main(arguments)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_names_are_text_wherever_they_appear(tmp_path):
    store = small_store(tmp_path / "store", dataset=HOSTILE, denoiser=HOSTILE)
    main([store, "--out", str(tmp_path), "--resamples", "20", "--title", HOSTILE])
    page = Page((tmp_path / "report.html").read_text())
    assert "script" not in page.tags and page.text.count(HOSTILE) >= 6
    markdown = (tmp_path / "script-alert-1-script-x-y.md").read_text()
    assert "<script" not in markdown + (tmp_path / "report.md").read_text()
    assert r"$x\|y\*" in markdown
    assert (tmp_path / "frontier-script-alert-1-script-x-y.png").exists()


def test_the_report_lies_beside_the_first_store_unless_told_otherwise(tmp_path, capsys):
    main([small_store(tmp_path / "store"), "--resamples", "9"])
    written = sorted(tmp_path.glob("report/*"))
    assert [file.name for file in written] == [
        "frontier-math.png", "math.md", "report.html", "report.md", "results.csv",
    ]  # fmt: skip
    assert capsys.readouterr().out.splitlines()[0] == str(written[3])


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_a_missing_store_is_one_sentence_and_status_2(tmp_path, capsys):
    error = fails(capsys, tmp_path / "none", "--out", tmp_path / "out")
    assert error.startswith("error: ") and "there is no results store" in error
    assert error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_stores_that_do_not_fit_together_write_nothing(tmp_path, capsys):
    one = small_store(tmp_path / "one")
    two = small_store(tmp_path / "two", problems="beef", block_length=8)
    error = fails(capsys, one, two, "--out", tmp_path / "out")
    assert "problems=f00d" in error and "problems=beef" in error
    assert not (tmp_path / "out").exists()


def test_a_report_of_somebody_else_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "report.md").write_text("mine")
    error = fails(capsys, small_store(tmp_path / "store"), "--out", tmp_path, "--resamples", "20")
    assert "report.md was not made by lit-unmask-report" in error
    assert [p.name for p in tmp_path.glob("*.*")] == ["report.md"]


def test_a_folder_that_cannot_be_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    error = fails(capsys, small_store(tmp_path / "store"), "--out", tmp_path / "file")
    assert f"--out {tmp_path / 'file'}" in error and "choose another folder" in error


@pytest.mark.parametrize("arguments", [[], ["store", "--resamples", "0"], ["store", "--seed"]])
def test_wrong_arguments_are_explained(arguments, capsys):
    assert "--help lists what there is" in fails(capsys, *arguments)


def test_a_heuristic_can_be_the_subject(tmp_path, capsys):
    arguments = [small_store(tmp_path / "store"), "--out", str(tmp_path), "--resamples", "9"]
    main([*arguments, "--subject", "threshold"])
    text = (tmp_path / "report.md").read_text()
    assert "| threshold (threshold=0.9), BL 64 | &lt;script>" in text
    assert "'nobody' is in no store" in fails(capsys, *arguments, "--subject", "nobody")


def test_the_command_needs_neither_torch_nor_lightning():
    code = "import sys, lit_unmask.report.cli; print(*sys.modules)"
    run = [sys.executable, "-c", code]
    loaded = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()
    assert "lit_unmask.report.cli" in loaded
    assert not set(loaded) & {"torch", "lightning", "transformers"}
