"""The report: pure functions from a results folder to one HTML page, a Markdown summary and charts."""

from __future__ import annotations

from pathlib import Path

from bench.report import capacity, guarantees, headline, page
from bench.report.page import ReportFiles
from bench.store import Run, open_run

__all__ = ["ReportFiles", "verdict", "write"]


_PAGES = {"capacity": capacity.write, "guarantees": guarantees.write}


def write(run_folder: Path, out: Path | None = None) -> ReportFiles:
    """Write the report of a run's kind (bench.report.page.write, bench.report.capacity.write, bench.report.guarantees.write)."""
    return _PAGES.get(str(open_run(run_folder).run.get("kind")), page.write)(run_folder, out)


def verdict(run: Run) -> str:
    """The answer of a run in a few lines."""
    kind = run.run.get("kind")
    if kind == "guarantees":
        return "\n".join(guarantees.said(run))
    return "\n".join(capacity.sentences(run)) if kind == "capacity" else headline.verdict(run)
