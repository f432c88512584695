"""Command line of ``lit-unmask-report``."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from lit_unmask.errors import ConfigurationError, Sentences, plain, refuse
from lit_unmask.files import replace_file
from lit_unmask.report.analysis import Analysis, Options, analyse
from lit_unmask.report.caveats import caveats
from lit_unmask.report.documents import (
    MARK,
    Document,
    Picture,
    Section,
    csv_text,
    html,
    markdown,
)
from lit_unmask.report.figures import frontier_picture, styles
from lit_unmask.report.reading import read
from lit_unmask.report.statistics import RESAMPLES
from lit_unmask.report.summary import summary_table
from lit_unmask.report.tables import Provenance, provenance_table
from lit_unmask.report.transfer import transfers

# More than these change no digit that is shown.
_MOST_RESAMPLES = 1_000_000
_DESCRIPTION = """\
Turn results stores into report.md (one page, with a file a dataset beside it), report.html (all in
one self-contained page), results.csv (one row a run) and figures. Nothing is decoded. Learned
policies are compared with every heuristic on the same problems; the heuristics' settings are those
that the tuning runs prefer. Names of learned policies such as policy/seed-0 and policy/seed-1 are
training seeds of one policy.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a report; a mistake that a user can mend ends with one sentence and status 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    command = shlex.join(["lit-unmask-report", *given])
    provenance = Provenance(
        stores=[str(store) for store in options.stores],
        commands=[plain(said) for said in (*options.command, command)],
        options=Options(tuple(options.subject), options.resamples, options.seed),
    )
    out = options.out or options.stores[0].resolve().parent / "report"
    try:
        files = report(options.stores, provenance, plain(options.title))
        write(out, files)
    except ConfigurationError as error:
        refuse(error, 2)
    for name in files:
        print(out / name)


class _Parser(Sentences, argparse.ArgumentParser):
    """A parser whose errors are one sentence."""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("lit-unmask-report", description=_DESCRIPTION)
    parser.add_argument("stores", nargs="+", type=Path, metavar="STORE", help="a results store")
    parser.add_argument(
        "--out", type=Path, metavar="DIR",
        help="where to write; an earlier report there is replaced (default: report, beside the "
        "first store)",
    )  # fmt: skip
    parser.add_argument("--title", default="Accuracy against forwards", help="title of the report")
    parser.add_argument(
        "--subject", action="append", default=[], metavar="NAME",
        help="policy or heuristic to compare with all others, instead of the learned policies; "
        "may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--command", action="append", default=[], metavar="TEXT",
        help="command that made a store, to be shown with the results; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--resamples", type=_positive, default=RESAMPLES,
        help="bootstrap resamples (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=_natural, default=0, help="seed of the bootstrap (default: %(default)s)"
    )
    return parser


def _positive(text: str) -> int:
    number = _whole(text, 1)
    if number > _MOST_RESAMPLES:
        raise argparse.ArgumentTypeError(f"{text!r} must be at most {_MOST_RESAMPLES}")
    return number


def _natural(text: str) -> int:
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from {least}")
    return int(text)


def report(stores: Sequence[Path], provenance: Provenance, title: str) -> dict[str, bytes]:
    """Return the files of a report by name.

    Raises:
        ConfigurationError: If the stores cannot be reported together.
    """
    analyses = analyse(read(stores), provenance.options)
    datasets = [analysis.dataset for analysis in analyses]
    looks, names = styles(datasets), _file_names([dataset.name for dataset in datasets])
    together = sum(len(analysis.comparisons) for analysis in analyses)
    sections = []
    for analysis, name in zip(analyses, names, strict=True):
        picture = frontier_picture([analysis.dataset], looks, f"frontier-{name}.png")
        summary = summary_table(analysis, together)
        sections.append(Section(analysis, summary, picture, f"{name}.md"))
    overview = frontier_picture(datasets, looks, "frontiers.png") if len(datasets) > 1 else None
    document = Document(
        title,
        sections,
        overview,
        transfers(stores, datasets, provenance.options),
        caveats(analyses),
        provenance_table(provenance),
    )
    return _files(document, analyses)


def _files(document: Document, analyses: Sequence[Analysis]) -> dict[str, bytes]:
    pictures: list[Picture] = [section.picture for section in document.sections]
    if document.overview is not None:
        pictures.append(document.overview)
    pictures += [transfer.picture for transfer in document.transfers]
    return {
        **{name: text.encode() for name, text in markdown(document).items()},
        "report.html": html(document).encode(),
        "results.csv": csv_text(analyses).encode(),
        **{picture.name: picture.png for picture in pictures},
    }


def _file_names(names: Sequence[str]) -> list[str]:
    """Return names of datasets as parts of file names, all different."""
    found = ["report"]
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.").lower() or "dataset"
        while plain in found:
            plain += "-2"
        found.append(plain)
    return found[1:]


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write files, each in one step.

    Raises:
        ConfigurationError: If the folder cannot be written to, or holds a Markdown file of somebody
            else by one of the names.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = _is_own(folder / "report.md")
        for name in files:
            if (folder / name).exists() and not (known or _is_own(folder / name)):
                raise ConfigurationError(
                    f"{folder / name} was not made by lit-unmask-report and would be overwritten; "
                    "choose another folder for --out"
                )
        for name, content in files.items():
            replace_file(folder / name, content)
    except OSError as error:
        raise ConfigurationError(
            f"--out {folder}: {error.strerror or error}; choose another folder"
        ) from error


def _is_own(page: Path) -> bool:
    return page.suffix == ".md" and page.exists() and page.read_bytes().startswith(MARK.encode())


if __name__ == "__main__":
    main()
