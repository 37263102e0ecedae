"""The report: pure functions from a results folder to one HTML page, a Markdown summary and charts."""

from __future__ import annotations

from bench.report.headline import verdict
from bench.report.page import ReportFiles, write

__all__ = ["ReportFiles", "verdict", "write"]
