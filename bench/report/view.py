"""A section of the page as data: what each module that adds one hands to the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.report.svg import Chart


@dataclass(frozen=True)
class View:
    """One section.

    The page prints ``<section id="NAME">`` with ``title`` as its h2 (and in the navigation) and includes NAME.html.j2 in it, with this
    object as ``view``; report.md includes NAME.md.j2 in the same way, where there is such a file. A template imports ``show``
    from "table.html.j2" ("table.md.j2") and ``figure`` from "figure.html.j2"; its headings begin at h3. A file templates/NAME.js
    or NAME.css becomes part of the page's one script and one style sheet: the page allows nothing else (its policy names their
    hashes), so no attribute ``style`` or ``on...``, no innerHTML. Data for a script goes into
    ``<script type="application/json" id="NAME-data">{{ view.content.data | tojson }}</script>``, which escapes "<".
    """

    name: str
    title: str
    content: Mapping[str, Any]
    charts: tuple[Chart, ...] = ()
    """Those of the section: written as files beside the page."""
