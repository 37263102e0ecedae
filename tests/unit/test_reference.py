"""Every committed reference run opens, whole, and its report can be made without servers, evidence or client libraries."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import report
from bench.store import open_run

REFERENCES = sorted(path.parent for path in (Path(__file__).parents[2] / "results" / "reference").glob("*/*/run.json"))
LIMIT_B = 5 << 20


def test_there_is_one():
    assert REFERENCES


@pytest.mark.parametrize("folder", REFERENCES, ids=lambda folder: folder.name)
def test_it_opens_and_reports(folder, tmp_path):
    run = open_run(folder)
    assert run.status == "complete"
    assert len(run.trials) == len(run.plan)
    files = report.write(folder, tmp_path)
    assert "<h1" in files.html.read_text()
    assert report.verdict(run)


@pytest.mark.parametrize("folder", REFERENCES, ids=lambda folder: folder.name)
def test_it_is_small_and_without_evidence(folder):
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < LIMIT_B
    assert not (folder / "evidence").exists()
    assert not (folder / "servers").exists()
