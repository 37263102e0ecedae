"""The gate's evidence: its tables follow from what was recorded, and say what was not shown."""

from benchmarks.evidence import common, gate

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


def test_gates_beside_other_work_are_counted_apart_but_their_false_alarms_with_the_others():
    equal = gate.CASES[0]
    runs = [recorded(equal, "tcp", "passed")] * 2 + [recorded(equal, "tcp", "failed") | {"others_cores": 1.0}] * 2
    made = gate.tables(runs)
    assert [(row["system"], row["gates"], row["failed"]) for row in made["cases"]] == [("tcp", 2, 0), ("all", 2, 0)]
    assert [(row["system"], row["gates"], row["failed"]) for row in made["beside"]] == [("tcp", 2, 2), ("all", 2, 2)]
    assert gate.wanted(made)["false alarms: 2 of 4, at most 1"] is False
    page = gate.page({"tables": made, "runs": runs, "machine": "m", "environment": {"machine": MACHINE}})
    assert (
        page.index("| equal sides | tcp | 2 | 2 | 0 |")
        < page.index("Gates beside other work")
        < page.index("| equal sides | tcp | 2 | 0 | 2 |")
    )


def test_a_run_that_is_set_aside_is_measured_again_and_kept(tmp_path):
    with common.Work(tmp_path, {}) as work:
        for others in (1.0, 2.0):
            work.save(3, {"others_cores": others})
            work.set_aside(3)
            assert work.load(3) is None
        assert [one["others_cores"] for one in work.aside()] == [1.0, 2.0]
