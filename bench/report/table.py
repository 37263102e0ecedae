"""A table as data: the HTML and the Markdown are two renderings of the same one."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cell:
    """One cell. ``kind`` is one of "", "number", "good", "warn", "bad", "quiet"; ``href`` is set for http(s) only."""

    text: str
    kind: str = ""
    href: str = ""


@dataclass(frozen=True)
class Group:
    """Rows under one heading ("" = none); the first cell of a row is its header, or the second where the first is a rank."""

    label: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Table:
    """``head``: (label, whether numbers stand below it). ``row_header``: which column names the row."""

    caption: str
    head: tuple[tuple[str, bool], ...]
    groups: tuple[Group, ...]
    row_header: int = 0
    note: str = ""


@dataclass
class Builder:
    """Collects rows of text; which columns are numbers is said once, in the head."""

    caption: str
    head: tuple[tuple[str, bool], ...]
    row_header: int = 0
    note: str = ""
    groups: list[Group] = field(default_factory=list)

    def add(self, label: str, rows: list[tuple[str | Cell, ...]]) -> None:
        """A group of rows; an empty one is left out."""
        if rows:
            self.groups.append(Group(label, tuple(tuple(self._cell(i, c) for i, c in enumerate(row)) for row in rows)))

    def build(self) -> Table | None:
        """The table; None where it has no row."""
        return self.whole() if self.groups else None

    def whole(self) -> Table:
        """The table, for who knows that it has rows."""
        return Table(self.caption, self.head, tuple(self.groups), self.row_header, self.note)

    def _cell(self, column: int, value: str | Cell) -> Cell:
        if isinstance(value, Cell):
            return value
        return Cell(value, "number" if self.head[column][1] else "")


def link(url: str) -> str:
    """The address where it is one that a page may link to; else nothing (``javascript:`` in a hostile folder)."""
    return url if url.startswith(("https://", "http://")) and not set(url) & set(" \t\r\n\"'<>") else ""
