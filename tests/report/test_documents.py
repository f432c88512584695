"""Long tables are folded in both formats, and hold all of their rows."""

import pytest

from lit_unmask.report.documents import Document, html, markdown
from lit_unmask.report.tables import Table


@pytest.mark.parametrize(("open_rows", "folded"), [(2, False), (1, True)])
def test_a_table_longer_than_its_page_takes_is_folded(open_rows, folded):
    rows = [["one", "1"], ["two | three", "2"]]
    table = Table("Title", "note *", ["name", "number"], rows, open_rows=open_rows)
    document = Document("all", [], None, [], [], table)
    text, page = markdown(document)["report.md"], html(document)
    assert ("<summary>Title (2 rows)</summary>" in text) == folded == ("## Title" not in text)
    assert ("<summary>Title (2 rows)</summary>" in page) == folded == ("<h2>Title" not in page)
    for made, cell in ((text, r"two \| three"), (page, "two | three")):
        assert cell in made and "one" in made
    # Markdown is only read as such behind an empty line.
    assert not folded or "</summary>\n\nnote \\*\n\n| name" in text
