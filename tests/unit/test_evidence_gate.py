"""The gate's evidence: its tables follow from what was recorded, and say what was not shown."""

from benchmarks.evidence import gate

RECORD = {
    "reasons": [], "rounds": 14, "seconds": 30.0, "started": "2026-11-23T04:00:00Z", "steal": 0.0, "others_cores": 0.02,
    "revision": {"revision": "0123456789abcdef"}, "audit": {"clean": 56}, "not_ok": [],
}  # fmt: skip


MACHINE = {"cpu": "c", "cores": 2, "os": "o", "kernel": "k"}


def recorded(case, system, verdict, per_s=1000.0, **standings):
    rows = [{"metric": "rate", "ratio": 0.8, "visible_from": 1.13}]
    figures = {metric: {"base": [per_s, None, per_s], "head": [per_s] * 3} for metric in gate.STORED_METRICS}
    return RECORD | {
        "case": case.name, "system": system, "verdict": verdict, "standings": {"rate": "passes", "cpu": "passes"} | standings,
        "measurements": [{"why": "first", "rows": rows, "figures": figures}],
    }  # fmt: skip


def test_sixty_gates_are_on_equal_sides_and_twenty_on_a_quarter_less():
    planned = gate.plan()
    assert sum(not case.slower for case, _ in planned) == 60
    assert sum(case.slower == 25 for case, _ in planned) == 20
    assert len({system for _, system in planned}) == 2


def test_what_is_false_and_what_is_found_is_counted():
    equal, slower = gate.CASES[:2]
    runs = [recorded(equal, "tcp", "passed")] * 7 + [recorded(equal, "zeromq", "failed", p50="fails")] * 2
    runs += [recorded(equal, "tcp", "inconclusive")] * 3
    runs += [recorded(slower, "tcp", "failed", rate="fails")] * 8 + [recorded(slower, "tcp", "failed", p50="fails")]
    runs += [recorded(slower, "tcp", "passed")]
    made = gate.tables(runs)
    counted = {(row["case"], row["system"]): row for row in made["cases"]}
    assert (counted[equal.name, "all"]["gates"], counted[equal.name, "all"]["failed"]) == (12, 2)
    assert counted[equal.name, "zeromq"]["failed"] == 2
    assert counted[slower.name, "all"]["found"] == 8, "one failed by what was not slowed"
    assert list(gate.wanted(made).values()) == [False, False, False]
    assert all(gate.wanted(gate.tables([recorded(equal, "tcp", "passed")])).values())


def test_a_stored_run_is_compared_by_time():
    equal = gate.CASES[0]
    made = gate.tables([recorded(equal, "tcp", "passed", per_s) for per_s in (1000.0, 1050.0, 880.0)])
    by_metric = {row["metric"]: row for row in made["stored"] if row["system"] == "tcp"}
    assert (by_metric["rate"]["compared"], by_metric["rate"]["alarms"]) == (2, 1), "a lower rate is more time a message"
    assert by_metric["p50"]["alarms"] == 0
    page = gate.page({"tables": made, "runs": [RECORD], "machine": "m", "environment": {"machine": MACHINE}})
    assert "| tcp | delivered rate | 2 | 1 | 0.952x | 1.136x |" in page
