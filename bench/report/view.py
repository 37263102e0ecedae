"""The page's parts as data: what each module that adds a section hands to the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.report.svg import Chart
from bench.report.table import Table

Kind = Literal["text", "note", "heading", "table", "charts", "fold", "pre", "facts"]


@dataclass(frozen=True)
class Block:
    """One thing under another.

    A paragraph ("text"; small: "note"), a heading below the section's, a table, a row of charts, preformatted text, facts (name, value),
    or a fold (a "details" whose summary is ``value``) with blocks in it.
    """

    kind: Kind
    value: Any
    blocks: tuple[Block, ...] = ()
    id: str = ""  # of a fold: where links lead to
    note: bool = True  # of a table: whether its note is printed


@dataclass(frozen=True)
class View:
    """One section.

    The page prints ``<section id="NAME">`` with ``title`` as its h2 (and in the navigation). In it stand ``blocks``, or what the
    template NAME.html.j2 makes of ``content``, with this object as ``view``; report.md has ``brief``, or, of a section without blocks,
    what NAME.md.j2 makes in the same way. A template imports ``show`` from "table.html.j2" ("table.md.j2") and ``figure`` from
    "figure.html.j2"; its headings begin at h3. A file templates/NAME.js or NAME.css becomes part of the page's one script and one style
    sheet: the page allows nothing else (its policy names their hashes), so no attribute ``style`` or ``on...``, no innerHTML. Data for a
    script goes into ``<script type="application/json" id="NAME-data">{{ view.content.data | tojson }}</script>``, which escapes "<".
    """

    name: str
    title: str
    content: Mapping[str, Any] = field(default_factory=dict)
    charts: tuple[Chart, ...] = ()
    """Those that the template prints: written as files beside the page."""
    blocks: tuple[Block, ...] = ()
    brief: tuple[Block, ...] = ()
    """What report.md says of it; of a section with blocks and no brief, nothing."""

    @property
    def drawn(self) -> tuple[Chart, ...]:
        """Every chart of the section."""
        return (*self.charts, *_charts(self.blocks))


def _charts(blocks: Sequence[Block]) -> Iterator[Chart]:
    for block in blocks:
        if block.kind == "charts":
            yield from block.value
        yield from _charts(block.blocks)


def section(name: str, title: str, *blocks: Block | None, brief: Sequence[Block | None] = ()) -> View | None:
    """A section of blocks; None where nothing but words is in it: those say how to read what is not there."""
    kept = _kept(blocks)
    if all(block.kind in ("text", "note", "heading") for block in kept):
        return None
    return View(name, title, blocks=kept, brief=_kept(brief))


def numbered(name: str, number: int) -> str:
    """The name of the ``number``-th of several (from 0); the first has the plain name."""
    return f"{name}-{number + 1}" if number else name


def table(shown: Table | None, *, note: bool = True) -> Block | None:
    """A table, where there is one."""
    return Block("table", shown, note=note) if shown else None


def charts(drawn: Sequence[Chart | None]) -> Block | None:
    """A row of charts, where there are any."""
    kept = tuple(chart for chart in drawn if chart)
    return Block("charts", kept) if kept else None


def fold(summary: str, *blocks: Block | None, at: str = "") -> Block | None:
    """Something to open; None where nothing is in it."""
    kept = _kept(blocks)
    return Block("fold", summary, kept, at) if kept else None


def _kept(blocks: Sequence[Block | None]) -> tuple[Block, ...]:
    return tuple(block for block in blocks if block is not None)
