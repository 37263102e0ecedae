"""What faults did over time, as the report shows it: by group, over rounds, and nothing where there was no fault."""

import json

import pytest
from make_results import GROUPS, POINTS, five, make

from bench.analysis.summary import summarise
from bench.report import phases, text, write
from bench.store import open_run

BEFORE = {"processed_per_s": 2000.0, "n": 4000, "p50_ns": 1_000_000, "p99_ns": 3_000_000}
DURING = {"processed_per_s": 0.0, "n": 0, "p50_ns": None, "p99_ns": None}
FAULT = {"fault": "away", "target": "consumer.inventory", "injected_s": 2.0, "healed_s": 5.0}


def of_group(**more):
    return {
        "backlog_max": 12, "backlog_max_s": 1.0, "caught_up_s": 5.0, "catch_up_per_s": None, "before": BEFORE,
        "during": BEFORE | {"p99_ns": 4_500_000}, "catching_up": None, "after": BEFORE,
    } | more  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """Two systems of which the second has faults: inventory is away, and in the second round it does not catch up."""
    kafka, _, rabbitmq, *_ = five()
    folder = make(tmp_path / "run", [kafka, rabbitmq], rounds=2, samples=1500, points=POINTS[1:])
    for path in folder.glob("trials/*/trial.json"):
        trial = json.loads(path.read_text())
        if trial["variant"]["id"] != rabbitmq.id:
            continue
        late = {"caught_up_s": 6.5, "catch_up_per_s": 4100.0} if trial["round"] == 1 else {"caught_up_s": None, "catch_up_per_s": None}
        away = of_group(backlog_max=6000 + trial["round"], during=DURING, **late)
        trial["faults"] = [FAULT]
        trial["phases"] = {
            "injected_s": 2.0, "healed_s": 5.0, "caught_up_s": 6.5, "spans": {},
            "groups": dict.fromkeys(GROUPS, of_group()) | {"inventory": away},
        }  # fmt: skip
        path.write_text(json.dumps(trial))
    return folder


def test_each_group_has_a_row(run):
    (point,) = summarise(open_run(run))
    table = phases.table(point, point.results)
    (group,) = table.groups
    assert group.label.endswith(": away consumer.inventory")
    heads = [label for label, _ in table.head]
    rows = {row[0].text: dict(zip(heads, [cell.text for cell in row], strict=True)) for row in group.rows}
    assert set(rows) == set(GROUPS)
    away, live = rows["inventory"], rows["payment"]
    assert away["Most behind"] == f"6,002 (6,001{text.DASH}6,002)"
    assert away["Caught up after"] == "not in 1 of 2"
    assert away["Catching up /s"] == "4,100"
    assert (away["p99 before"], away["p99 during"], away["p99 during ÷ before"]) == ("3.00 ms", "n/a", "")
    assert (live["p99 before"], live["p99 during"], live["p99 during ÷ before"]) == ("3.00 ms", "4.50 ms", f"1.50{text.TIMES}")
    assert (live["Caught up after"], live["Catching up /s"], live["p50 catching up"]) == ("at once", "n/a", "n/a")
    assert (live["Lost"], live["Repeated"]) == ("0", "0")


def test_it_stands_in_the_page_and_in_the_markdown(run):
    files = write(run)
    for path in (files.html, files.markdown):
        page = path.read_text()
        assert "What the faults did over time" in page
        assert "away consumer.inventory" in page


def test_a_run_without_faults_has_no_word_of_them(tmp_path):
    kafka, *_ = five()
    folder = make(tmp_path / "run", [kafka], rounds=1, samples=1500, points=POINTS[1:])
    (point,) = summarise(open_run(folder))
    assert phases.table(point, point.results) is None
    files = write(folder)
    assert "What the faults did" not in files.html.read_text() + files.markdown.read_text()
