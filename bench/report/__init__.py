"""The report: pure functions from results folders to one HTML page, a Markdown summary and charts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.clock import utc_now
from bench.errors import UsageError
from bench.report import capacity, exported, guarantees, headline, ladder, page
from bench.report.collection import Collection, gather
from bench.report.page import ReportFiles
from bench.store import Run, results_dir, stamp

__all__ = ["ReportFiles", "default_folder", "gather", "verdict", "write", "write_collection"]


_PAGES = {"capacity": capacity.write, "guarantees": guarantees.write, "run": page.write}


def write(folders: Path | Sequence[Path], out: Path | None = None, *, anyway: bool = False) -> ReportFiles:
    """Write one report of one or several runs; what is raised: gather() and write_collection()."""
    return write_collection(gather([folders] if isinstance(folders, Path) else folders, anyway=anyway), out)


def write_collection(collection: Collection, out: Path | None = None) -> ReportFiles:
    """Write the report of runs that were gathered, into ``out``; see default_folder() where none is given.

    Raises:
        UsageError: a file that the report is made from cannot be read.
        EnvironmentProblem: ``out`` cannot be written.
    """
    folder = default_folder(collection) if out is None else out
    if len(collection.all) > 1:
        # `page`: page.write(collection, folder) is to take all runs of a Collection; then this is one call for every kind but a lone
        # capacity or guarantees run, if you keep those pages.
        raise UsageError("one run at a time: reports over several runs are not available yet")
    files = _PAGES[str(collection.all[0].run["kind"])](collection, folder)
    exported.write(collection, folder)
    return files


def default_folder(collection: Collection, results: Path | None = None) -> Path:
    """Where a report goes: the folder of a single run; of several a new one in ``results`` (None: results_dir()), named by the time now."""
    if len(collection.all) == 1:
        return collection.all[0].folder
    return (results or results_dir()) / f"report-{stamp(utc_now())}"


def verdict(run: Run) -> str:
    """The answer of a run in a few lines."""
    kind = run.run.get("kind")
    if kind == "guarantees":
        return "\n".join(guarantees.said(run))
    return "\n".join(capacity.sentences(run)) if kind == "capacity" else "\n".join([headline.verdict(run), *ladder.said(run)])
