"""A report as Markdown, CSV and HTML."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from jinja2 import Environment, PackageLoader, StrictUndefined

from lit_unmask.report.analysis import Analysis
from lit_unmask.report.results import Result
from lit_unmask.report.tables import Table, tables, tuning_table

# First line of a Markdown report, which tells it from a file of somebody else.
MARK = "<!-- Made by lit-unmask-report; changes are overwritten. -->"
_MARKDOWN_SIGNS = str.maketrans(
    {**{sign: f"\\{sign}" for sign in "\\`*|[]"}, "<": "&lt;", "&": "&amp;", "\n": " ", "\r": " "}
)


@dataclass(frozen=True)
class Picture:
    """A figure in the formats that documents need.

    Attributes:
        name: File name of the PNG.
        title: What it shows.
        text: How to read it.
        png: The PNG.
        svg: The same as SVG.
    """

    name: str
    title: str
    text: str
    png: bytes
    svg: bytes

    @property
    def uri(self) -> str:
        """The SVG as a data URI."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"


@dataclass(frozen=True)
class Section:
    """Everything about one dataset, ready to be written."""

    analysis: Analysis
    summary: Table
    picture: Picture
    file: str

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return self.analysis.dataset.name

    @property
    def tables(self) -> list[Table]:
        """Tables on the test problems."""
        return tables(self.analysis)

    @property
    def tuning(self) -> Table:
        """Table on the tuning problems."""
        return tuning_table(self.analysis)


@dataclass(frozen=True)
class Transfer:
    """One policy under several conditions, ready to be written.

    Attributes:
        picture: The heat map.
        table: Its numbers, with intervals.
        datasets: Names of the datasets that its cells are.
    """

    picture: Picture
    table: Table
    datasets: frozenset[str]


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: Its title.
        sections: One a dataset.
        overview: Figure of all datasets, if there are several.
        transfers: Policies under other conditions.
        caveats: What the results say nothing about, in sentences.
        provenance: Where the numbers come from.
    """

    title: str
    sections: Sequence[Section]
    overview: Picture | None
    transfers: Sequence[Transfer]
    caveats: Sequence[str]
    provenance: Table


def html(document: Document) -> str:
    """Return one page without external files and scripts; every text is escaped."""
    environment = Environment(
        loader=PackageLoader("lit_unmask.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(document=document)


def markdown(document: Document) -> dict[str, str]:
    """Return the report as Markdown files by name, which refer to the PNG files beside them.

    ``report.md`` is one page: the short answers, one figure, the caveats, and links to one file a
    dataset with all of its tables.
    """
    files = {"report.md": _page(document)}
    for section in document.sections:
        summary = [section.summary] if section.summary.rows else []
        parts = [f"{MARK}\n# {_escaped(section.name)}", _image(section.picture)]
        parts += [markdown_table(table, "##") for table in [*summary, *section.tables]]
        files[section.file] = "\n\n".join(parts) + "\n"
    return files


def _page(document: Document) -> str:
    parts = [f"{MARK}\n# {_escaped(document.title)}"]
    overview = document.overview or next((one.picture for one in document.sections), None)
    if overview is not None:
        parts.append(_image(overview))
    elsewhere = {name for transfer in document.transfers for name in transfer.datasets}
    shown = [s for s in document.sections if s.summary.rows and s.name not in elsewhere]
    for place, section in enumerate(shown):
        # What the columns mean is said once.
        table = replace(section.summary, title=section.name)
        parts.append(markdown_table(replace(table, note="") if place else table, "##"))
    for transfer in document.transfers:
        parts.append(markdown_table(replace(transfer.table, title=transfer.picture.title), "##"))
        parts.append(f"The same as a [heat map]({transfer.picture.name}).")
    parts.append("## What cannot be claimed\n\n" + _list(document.caveats))
    links = [f"- [{_escaped(one.name)}]({one.file})" for one in document.sections]
    parts.append("## All settings, comparisons and areas\n\n" + "\n".join(links))
    parts.append(markdown_table(document.provenance, "##"))
    return "\n\n".join(parts) + "\n"


def _folded(summary: str, content: str) -> str:
    # The empty lines make it Markdown inside.
    return f"<details>\n<summary>{_escaped(summary)}</summary>\n\n{content}\n\n</details>"


def _escaped(text: str) -> str:
    return text.translate(_MARKDOWN_SIGNS)


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {_escaped(sentence)}" for sentence in sentences)


def _image(picture: Picture) -> str:
    return f"![{_escaped(picture.title)}]({picture.name})\n\n{_escaped(picture.text)}"


def markdown_table(table: Table, heading: str) -> str:
    """Return a table in Markdown under its title; a long one is folded away.

    Args:
        table: The table.
        heading: The signs of its heading, for instance ``###``.
    """
    rule = ["---" if i < table.names else "---:" for i in range(len(table.columns))]
    rows = [
        [f"**{cell}**" if i in table.strong and j == 0 else cell for j, cell in enumerate(cells)]
        for i, cells in enumerate([[_escaped(cell) for cell in row] for row in table.rows])
    ]
    lines = [f"| {' | '.join(row)} |" for row in [table.columns, rule, *rows]]
    parts = [f"{heading} {_escaped(table.title)}", _escaped(table.note), "\n".join(lines)]
    if table.is_folded:
        content = "\n\n".join(part for part in parts[1:] if part)
        return _folded(f"{table.title} ({len(table.rows)} rows)", content)
    return "\n\n".join(part for part in parts if part)


def csv_text(analyses: Sequence[Analysis]) -> str:
    """Return one row a run: all that was run, and what came out of it."""
    rows = [
        _run_row(setting.of_seed(index))
        for analysis in analyses
        for setting in [*analysis.dataset.test, *analysis.dataset.tuning]
        for index in range(len(setting.runs))
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _run_row(setting: Result) -> dict[str, object]:
    said = {
        name: json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
        for name, value in asdict(setting.run).items()
    }
    return {
        "run": setting.run.key,
        **said,
        "accuracy": setting.accuracy.value,
        "accuracy_ci_low": setting.accuracy.low,
        "accuracy_ci_high": setting.accuracy.high,
        "nfe": setting.mean_nfe.value,
        "nfe_ci_low": setting.mean_nfe.low,
        "nfe_ci_high": setting.mean_nfe.high,
        **{f"nfe_{kind}": float(nfe.mean()) for kind, nfe in setting.nfe_by_kind.items()},
        "tokens_per_forward": setting.tokens_per_forward,
        "still_masked": float(setting.still_masked.mean()),
        "seconds": float(setting.seconds.sum()),
    }
