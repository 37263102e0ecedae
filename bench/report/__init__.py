"""The report: pure functions from results folders to one HTML page, a Markdown summary and charts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.clock import utc_now
from bench.report import capacity, exported, guarantees, headline, ladder, page
from bench.report.collection import Collection, gather
from bench.report.page import ReportFiles
from bench.store import Run, results_dir, stamp

__all__ = ["ReportFiles", "default_folder", "gather", "verdict", "write", "write_collection"]


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
    files = page.write(collection, folder)
    exported.write(collection, folder)
    return files


def default_folder(collection: Collection, results: Path | None = None) -> Path:
    """Where a report goes: the folder of a single run; of several a new one in ``results`` (None: results_dir()), named by the time now."""
    if len(collection.all) == 1:
        return collection.all[0].folder
    return (results or results_dir()) / f"report-{stamp(utc_now())}"


def verdict(run: Run, collection: Collection | None = None) -> str:
    """The answer of a run in a few lines; with what faults did to its variants, where the collection has a run of them."""
    kind = run.run.get("kind")
    if kind == "guarantees":
        return "\n".join(guarantees.said(run))
    if kind == "capacity":
        return "\n".join(capacity.sentences(run))
    known = collection or Collection(runs=(run,))
    points = known.points(run)
    return "\n".join([headline.verdict(run, known.faults, points), *ladder.said(run, points)])
