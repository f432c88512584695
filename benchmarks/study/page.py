"""What the results say about the study: a section of their page, and a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lit_unmask.report.documents import MARK, markdown_table
from lit_unmask.report.figures import frontier_picture, styles
from lit_unmask.report.reading import read
from lit_unmask.report.results import Dataset
from lit_unmask.report.tables import Table
from study.evaluating import DATASET, KINDS
from study.runs import chains
from study.tables import Study, tables
from study.training import is_done

_TITLE = "The study"
_HEAD = """\
Every policy of `make study` (`benchmarks/study`): the objective of arXiv 2512.09106 after a warm
start, on tiny-llada's math problems, one seed unless said. Policies and logs lie in
`benchmarks/study/trained`."""


def study_section(store: Path, heuristics: Path, details: Path) -> str:
    """Return the section of the results page, and write the study's own page with its picture.

    Args:
        store: Results of the study.
        heuristics: Results of the heuristics on the same problems.
        details: Folder of what the results page links to.
    """
    (dataset,) = (d for d in read([store, heuristics]) if d.name == DATASET)
    best = _only(dataset, "best")
    picture = frontier_picture([best], styles([best]), "study.png")
    (details / picture.name).write_bytes(picture.png)
    section, page = study_pages(tables(Study.of(_only(dataset, *KINDS))), picture.text)
    (details / "study.md").write_text(page)
    return section


def study_pages(tables: Sequence[Table], words: str) -> tuple[str, str]:
    """Return the section of the results page, with the first table, and the page of the others.

    Args:
        tables: Tables of the study.
        words: How to read its picture, ``study.png``.
    """
    first, *others = [markdown_table(table, "##") for table in tables]
    head = _HEAD + _missing()
    section = [f"## {_TITLE}", head, f"#{first}", "All other tables: [the study](study.md)."]
    picture = f"![the study: accuracy against forwards](study.png)\n\n{words}"
    page = [f"{MARK}\n# {_TITLE}", head, picture, *others]
    return "\n\n".join(section) + "\n\n", "\n\n".join(page) + "\n"


def _missing() -> str:
    """Return which runs have not been trained, in words."""
    runs = [run.name for chain in chains() for run in chain]
    left = [name for name in runs if "/" in name and not is_done(name)]
    return f" Not trained yet: {', '.join(left)}." if left else ""


def _only(dataset: Dataset, *kinds: str) -> Dataset:
    """Return the results of heuristics and of some of the policies of each run."""
    endings = tuple(f"({kind})" for kind in kinds)
    kept = [s for s in dataset.test if s.run.kind == "heuristic" or s.run.name.endswith(endings)]
    return replace(dataset, test=kept)
