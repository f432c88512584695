"""The part of the results page that is about the study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lit_unmask.report.documents import markdown_table
from lit_unmask.report.figures import frontier_picture, styles
from lit_unmask.report.reading import Dataset, read
from study.evaluating import DATASET, KINDS
from study.runs import chains
from study.tables import Study, tables
from study.training import is_done

_HEAD = """\
## The study

Every policy of `make study` (`benchmarks/study`): the recipe of `configs/tiny_math.yaml` in half
the rounds, on tiny-llada's math problems, one seed unless said. Policies and logs lie in
`benchmarks/study/trained`.
"""


def study_section(store: Path, heuristics: Path, pictures: Path) -> str:
    """Return the section in Markdown, and write its picture.

    Args:
        store: Results of the study.
        heuristics: Results of the heuristics on the same problems.
        pictures: Folder of the page's pictures.
    """
    (dataset,) = (d for d in read([store, heuristics]) if d.name == DATASET)
    study = _only(dataset, *KINDS)
    parts = [_HEAD + _missing(), _picture(_only(dataset, "best"), pictures)]
    parts += [markdown_table(table, "###") for table in tables(Study.of(study))]
    return "\n\n".join(part for part in parts if part) + "\n\n"


def _missing() -> str:
    """Return which runs have not been trained, in words."""
    runs = [run.name for chain in chains() for run in chain]
    left = [name for name in runs if "/" in name and not is_done(name)]
    return f"\nNot trained yet: {', '.join(left)}." if left else ""


def _only(dataset: Dataset, *kinds: str) -> Dataset:
    """Return the results of heuristics and of some of the policies of each run."""
    endings = tuple(f"({kind})" for kind in kinds)
    kept = [s for s in dataset.test if s.run.kind == "heuristic" or s.run.name.endswith(endings)]
    return replace(dataset, test=kept)


def _picture(dataset: Dataset, folder: Path) -> str:
    picture = frontier_picture([dataset], styles([dataset]), "study")
    (folder / "study.png").write_bytes(picture.png)
    return f"![the study: accuracy against forwards](results/study.png)\n\n{picture.text}"
