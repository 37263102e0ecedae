"""The report: pure functions from a results folder to one HTML page, a Markdown summary and charts."""

from __future__ import annotations

from pathlib import Path

from bench.report import capacity, headline, page
from bench.report.page import ReportFiles
from bench.store import Run, open_run

__all__ = ["ReportFiles", "verdict", "write"]


def write(run_folder: Path, out: Path | None = None) -> ReportFiles:
    """Write the report of a run's kind (bench.report.page.write, bench.report.capacity.write)."""
    of_capacity = open_run(run_folder).run.get("kind") == "capacity"
    return capacity.write(run_folder, out) if of_capacity else page.write(run_folder, out)


def verdict(run: Run) -> str:
    """The answer of a run in a few lines."""
    return "\n".join(capacity.sentences(run)) if run.run.get("kind") == "capacity" else headline.verdict(run)
