"""The table of docs/mistakes.md: what is said of each mistake.

``python tests/mistakes/table.py`` makes every mistake and writes the table anew. A row that still
holds is left as it is: ``…`` in it stands for any words, such as those of another library.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import write_tiny
from mistakes import (
    arguments,
    callbacks,
    configurations,
    denoisers,
    policies,
    pretraining,
    problems,
    stores,
)
from mistakes.workshop import Mistake, furnish, said_of

from lit_unmask.denoisers import LLaDA
from lit_unmask.pretrain import LLaDAVocabulary

PAGE = Path(__file__).parents[2] / "docs" / "mistakes.md"
GROUPS = [
    *(arguments, configurations, denoisers, problems, callbacks, policies, stores, pretraining)
]
MISTAKES: list[Mistake] = [one for group in GROUPS for one in group.MISTAKES]
_HEAD = """\
# Mistakes, and what is said of them

Each of these {} inputs ends with exit code 1 or 2 and the one sentence beside it on the standard error,
before any work, and no file is changed. `…` stands for words that are another library's. The tests
make every mistake of this page; `python tests/mistakes/table.py` writes it.
"""
_ROW = re.compile(r"^\| (.+?) \| `` (.*) `` \|$", re.MULTILINE)
# Beginnings of what other libraries say, in parentheses.
_FOREIGN = (
    r"'utf-8' codec|Error while|Expecting|Untermin|while |unaccept|could not|Exceeds|Not a g|Compr"
    r"|\[Errno|\[enforce|[\w.]+(Error|Exception): |[\w.]+\(\) |empty\(\): |choose from"
)
_PARENTHESES = re.compile(rf"\((?:{_FOREIGN})(?:[^()]|\([^()]*\))*\)")


def read() -> dict[str, str]:
    """Return the sentences of the page by their mistakes."""
    rows = _ROW.findall(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else []
    return {what: said.replace("\\|", "|") for what, said in rows}


def holds(row: str | None, said: str) -> bool:
    """Return whether a sentence is the one of a row."""
    return (
        row is not None
        and re.fullmatch(".*".join(map(re.escape, row.split("…"))), said) is not None
    )


def written(rows: dict[str, str]) -> str:
    """Return the page."""
    parts = [_HEAD.format(len(MISTAKES))]
    for group in GROUPS:
        parts.append(f"\n## {group.__doc__}\n\n| input | what is said |\n| --- | --- |\n")
        for one in group.MISTAKES:
            parts.append(f"| {one.what} | `` {rows[one.what].replace('|', chr(92) + '|')} `` |\n")
    return "".join(parts)


def main() -> None:
    """Write the page."""
    rows = read()
    with tempfile.TemporaryDirectory() as made:
        checkpoint = write_tiny(LLaDA, LLaDAVocabulary(), Path(made, "denoiser"), 0)
        for number, one in enumerate(MISTAKES):
            folder = Path(made, str(number))
            furnish(folder, checkpoint)
            for change in one.changes:
                change(folder)
            said = said_of(one, folder)[2].strip().removeprefix("error: ")
            if not holds(rows.get(one.what), said):
                rows[one.what] = _PARENTHESES.sub("(…)", said)
    PAGE.write_text(written(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
