"""A table as text cells, of which every format can be made."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """A table that any format can be made of.

    Attributes:
        title: What it shows.
        note: What a reader must know to read it; may be empty.
        columns: Heads of the columns.
        rows: Cells, one list a row.
        names: Number of columns, from the left, that hold names and not numbers.
        strong: Numbers of the rows that stand out.
        open_rows: Rows up to which it is open in a page; a longer one has to be unfolded.
    """

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]
    names: int = 1
    strong: frozenset[int] = field(default_factory=frozenset)
    open_rows: int = 60

    @property
    def is_folded(self) -> bool:
        """Whether it is so long that a page shows its title alone at first."""
        return len(self.rows) > self.open_rows
