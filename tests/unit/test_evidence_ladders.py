"""The evidence of ladders, its pure parts: which runs there are, what they come to, and that the page in docs has that table."""

import json
from pathlib import Path

import pytest

from bench import scenario, spec
from bench.report import text
from benchmarks.evidence import common, ladders
from benchmarks.evidence.ladders import BEGIN, CAPACITY, DOC, END, FULL, KILL, QUICK, SPEED, Extent

RESULTS = Path(__file__).parents[2] / "results"
LIMIT_S = 40 * 60


def test_each_ladder_is_run_once_and_each_step_searched_and_killed_once():
    todo = ladders.tasks(FULL)
    specs = {step.system for name in FULL.ladders for step in scenario.load(name).ladder}
    assert [task.ladder for task in todo if task.kind == SPEED] == list(FULL.ladders)
    for kind in (CAPACITY, KILL):
        assert sorted(task.spec for task in todo if task.kind == kind) == sorted(specs)
    assert len({task.label for task in todo}) == len(todo)
    assert set(FULL.ladders) <= set(scenario.names())
    assert sum(ladders.expected_s(FULL, task) for task in todo) < LIMIT_S
    assert sum(ladders.expected_s(QUICK, task) for task in ladders.tasks(QUICK)) < LIMIT_S / 10


def test_a_server_is_killed_where_there_is_one_else_a_consumer():
    found = {name: ladders.fault_of(name) for name in ("zeromq,mode=pub-sub", "zeromq,mode=proxy", "kafka,nodes=3")}
    assert found == {"zeromq,mode=pub-sub": "consumer-kill", "zeromq,mode=proxy": "server-kill", "kafka,nodes=3": "server-kill"}


ANSWER = {"kind": "found", "rate_per_s": 20_000.0, "low_per_s": 19_000.0, "high_per_s": 21_000.0, "probes": 9}
SPECS = ("redis_streams,mode=noack", "redis_streams,mode=group")


def speed():
    """Six rounds: the second step takes twice the CPU, and its server has half of it."""
    ids = [spec.parse(one).id for one in SPECS]
    base = [1e5, 2e5, 3e5, 4e5, 5e5, 6e5]
    figures = {name: {ids[0]: base, ids[1]: [2 * value for value in base]} for name in ladders.FIGURES}
    figures["cpu of servers"][ids[1]] = [None] * 6
    steps = [
        {"step": f"step {i}", "spec": name, "id": one, "changes": ["delivery"] * i, "after": "step 0" * i}
        for i, (name, one) in enumerate(zip(SPECS, ids, strict=True))
    ]
    return told({"kind": SPEED, "ladder": "ladder-redis", "spec": ""}) | {
        "title": "A ladder", "rate_per_s": 2000.0, "steps": steps, "figures": figures,
    }  # fmt: skip


def told(task):
    return {
        "task": task, "started": "2026-11-23T07:00:00Z", "seconds": 9.0, "steal": 0.001, "revision": {"revision": "abcdef"},
        "others_cores": 0.1, "audit": {"clean": 2}, "not_ok": [],
    }  # fmt: skip


def alone(name, search, found, reason=""):
    cell = {"fault": "server-kill", "status": "complete" if found else "failed", "reason": reason, "judged": found}
    return [
        told({"kind": CAPACITY, "ladder": "ladder-redis", "spec": name}) | {"search": search},
        told({"kind": KILL, "ladder": "ladder-redis", "spec": name}) | {"cell": cell},
    ]


def judged(lost, repeated):
    share = {name: {"events": events, "n": 5, "low": 0.0, "high": 0.5} for name, events in (("lost", lost), ("duplicated", repeated))}
    return {"n": 5, "verdict": "violated", "shares": share, "counts": {"lost": 1200 * lost, "duplicated": 7}}


@pytest.fixture
def recorded():
    search = {"status": "complete", "reason": None, "saturated_per_s": 30_000.0, "answer": ANSWER, "limit": {"by": "client"}, "probes": 9}
    none = search | {"status": "failed", "reason": "it broke", "answer": None}
    return [speed(), *alone(SPECS[0], search, judged(2, 0)), *alone(SPECS[1], none, None, "no server")]


def test_a_row_has_medians_ratios_capacity_and_what_a_kill_left(recorded):
    (found,) = ladders.tables(recorded)["ladders"]
    first, second = found["steps"]
    assert (first["medians"]["p50"], first["against"]) == (3.5e5, {})
    assert second["medians"]["cpu of servers"] is None
    assert {name: ratio["ratio"] for name, ratio in second["against"].items()} == pytest.approx({"p50": 2, "p99": 2, "cpu at a rate": 2})
    page = ladders.page(made(recorded))
    assert "| **A ladder**, 2,000/s |" in page
    assert "| step 0 (`redis_streams,mode=noack`) |  | 0.350 | 0.350 | 350 + 350 |" in page
    assert "| >= 20,000/s (19,000-21,000) | server: lost in 2 of 5 (2,400 messages) |" in page
    ratio = text.ratio(2, 2, 2)
    assert f"| step 1 (`redis_streams,mode=group`) | delivery | 0.700 | 0.700 | 700 | step 0 | {ratio} | {ratio} |" in page
    search = {"reason": None, "answer": ANSWER | {"kind": "inconclusive", "low_per_s": None}}
    assert ladders._searched(search) == "no answer after 9 probes"
    assert "| it broke | server: no server |" in page


def made(recorded, rounds=6):
    kept = [{"format": 1, "run": i, **one} for i, one in enumerate(recorded, 1)]
    return common.summary("evidence-ladders", {"rounds": rounds}, kept, ladders.tables(recorded))


def test_nothing_lost_is_said_with_its_number(recorded):
    recorded[2]["cell"]["judged"] = judged(0, 3)
    assert "server: none lost in 5, repeated in 3 of 5 (7 messages)" in ladders.steps(made(recorded))


@pytest.mark.parametrize(("rounds", "written"), [(FULL.rounds, True), (1, False)])
def test_recomputing_puts_the_table_of_a_full_measurement_into_the_page(rounds, written, recorded, tmp_path, capsys):
    doc, file = tmp_path / "page.md", tmp_path / "ladders.json"
    doc.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    common.save_summary(tmp_path, "ladders", made(recorded, rounds), "page")
    assert ladders.recompute(file, doc) == 0
    assert ("lost in 2 of 5" in doc.read_text()) is written
    assert doc.read_text().startswith("before\n")
    assert doc.read_text().endswith(f"{END}\nafter\n")
    wrong = json.loads(file.read_text())
    wrong["tables"]["ladders"][0]["rate_per_s"] = 1.0
    file.write_text(json.dumps(wrong))
    before = doc.read_text()
    assert ladders.recompute(file, doc) == 1
    assert doc.read_text() == before
    assert "do not follow" in capsys.readouterr().err


def test_the_page_in_docs_has_the_committed_table():
    page = DOC.read_text(encoding="utf-8")
    assert page.count(BEGIN) == page.count(END) == 1
    kept = [common.read(path, "evidence-ladders") for path in RESULTS.glob("reference/*/evidence-ladders/ladders.json")]
    for one in kept:
        assert json.loads(json.dumps(ladders.tables(one["runs"]))) == one["tables"]
    assert any(ladders.shown(one) in page for one in kept) or (not kept and "Not measured yet" in page)


def test_settings_name_every_run_so_that_another_ladder_is_another_evidence():
    small = Extent(("ladder-zeromq",), 1, "1 s", "1 s", 5, 1.0, 1)
    assert ladders.settings_of(small) != ladders.settings_of(Extent(("ladder-redis",), 1, "1 s", "1 s", 5, 1.0, 1))
    assert json.loads(json.dumps(ladders.settings_of(FULL))) == ladders.settings_of(FULL)
