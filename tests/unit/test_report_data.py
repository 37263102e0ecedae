"""summary.csv: every figure recomputed from the trial files by plain Python."""

from __future__ import annotations

import csv
import json
from statistics import median

import make_results
import pytest

from bench import report
from bench.report import data
from bench.store import open_run


@pytest.fixture
def run(tmp_path):
    return make_results.make(tmp_path / "run")


def test_the_summary_is_what_plain_python_finds(run):
    files = report.write(run)
    with files.summary.open(newline="") as file:
        rows = {(row["rate_per_s"], row["variant"]): row for row in csv.DictReader(file)}
    trials = [json.loads(path.read_text()) for path in sorted(run.glob("trials/*/trial.json"))]
    assert len(rows) == len({(t["point"]["rate_per_s"], t["variant"]["id"]) for t in trials})
    for (rate, variant), row in rows.items():
        mine = [t for t in trials if t["variant"]["id"] == variant and float(t["point"]["rate_per_s"]) == float(rate)]
        assert int(row["rounds"]) == len(mine)
        p99 = [t["latency"]["end_to_end_intended"]["p99_ns"] for t in mine if t["latency"]["end_to_end_intended"]]
        assert float(row["e2e_p99_ns_median"]) == pytest.approx(median(p99))
        assert float(row["e2e_p99_ns_max"]) == max(p99)
        lost = [g["lost"] for t in mine for g in t["audit"].values()]
        assert float(row["lost"]) == sum(lost)
        assert row["emulator"] == str(bool((mine[0]["server"] or {}).get("emulator")))


def test_what_was_not_measured_is_empty_and_not_nought(run):
    opened = open_run(run)
    for trial in opened.trials:
        trial["latency"]["publish"] = None
        for group in trial["audit"].values():
            group["lost"] = None
    table = data.summary(opened.trials)
    assert table["publish_p99_ns_median"].isna().all()
    assert table["lost"].isna().all()


def test_no_trials_make_an_empty_table():
    assert data.summary([]).empty
