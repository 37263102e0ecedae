"""Each finding from a trial in which exactly it was planted, and no other; and the edges on both sides of each limit."""

import copy

import pytest

from bench.analysis import findings

SUMMARY = {
    "n": 12_000,
    "min_ns": 1,
    "p50_ns": 1_000_000,
    "p90_ns": 2_000_000,
    "p99_ns": 9_000_000,
    "p999_ns": 1,
    "max_ns": 1,
    "negative": 0,
}
QUIET = {
    "status": "ok",
    "workload": {"schedule": "constant", "drain_s": 10.0, "tick_s": 0.0005},
    "window_s": 5.0,
    "drained_s": 0.1,
    "rates": {"offered_per_s": 2000.0, "slowest_group_per_s": 2000.0},
    "latency": {
        "end_to_end_intended": SUMMARY,
        "end_to_end_sent": SUMMARY,
        "publish": None,
        "lateness": {**SUMMARY, "p99_ns": 600_000},
    },
    "cost": {"machine_busy": 0.5},
    "producers": [{"index": 0, "cpu_ns": 1_000_000_000, "blocked_s": 0.0, "collections": 0}],
    "consumers": [{"group": "a", "member": 0, "cpu_ns": 1_000_000_000, "collections": 0}],
    "events": [],
}


def trial(**planted):
    """A quiet trial with values at paths: a__b=1 is ["a"]["b"]."""
    made = copy.deepcopy(QUIET)
    for path, value in planted.items():
        *parents, last = [int(key) if key.isdigit() else key for key in path.split("__")]
        at = made
        for key in parents:
            at = at[key]
        at[last] = value
    return made


def codes(made):
    return [finding["code"] for finding in findings.of_trial(made)]


def test_a_quiet_trial_has_none():
    assert findings.of_trial(trial()) == []


@pytest.mark.parametrize(
    ("planted", "code", "evidence"),
    [
        ({"rates__slowest_group_per_s": 1211.4}, "rate-not-reached", "the slowest group got 1,211/s of 2,000/s"),
        ({"drained_s": None}, "not-drained", "10 s after the load"),
        ({"latency__lateness__p99_ns": 4_000_000}, "sender-late", "p99 4.0 ms of 9.0 ms"),
        ({"latency__end_to_end_sent": {**SUMMARY, "negative": 1234}}, "clock-suspect", "1,234 latencies below zero"),
        ({"consumers__0__collections": 2}, "collections", "2 garbage collections"),
        ({"cost__machine_busy": 0.97}, "machine-busy", "97%"),
        ({"cost__others_cores": 0.8}, "not-alone", "0.8 cores"),
        ({"latency__end_to_end_intended": {**SUMMARY, "n": 999}}, "too-few-samples", "999 latencies"),
        ({"producers__0__cpu_ns": 4_900_000_000}, "client-bound", "producer 0 used 98% of a core"),
        ({"consumers__0__cpu_ns": 4_900_000_000}, "client-bound", "consumer a.0 used 98% of a core"),
        (
            {"events": [{"t_s": 1.0, "who": "consumer-a-0", "kind": "closed", "detail": "by peer"}]},
            "connection",
            "1 x closed; first: consumer-a-0 closed by peer",
        ),
        ({"workload__schedule": "max", "rates__offered_per_s": None}, "saturated", "as fast as the system took it"),
    ],
)
def test_each_is_found_alone(planted, code, evidence):
    found = findings.of_trial(trial(**planted))
    assert [finding["code"] for finding in found] == [code]
    assert evidence in found[0]["evidence"]
    assert len(found[0]["advice"]) > 20


@pytest.mark.parametrize(
    "planted",
    [
        {"rates__slowest_group_per_s": 1980.0},  # 99%
        {"rates__slowest_group_per_s": None},
        {"latency__lateness__p99_ns": 1_390_000},  # 10% of p99, beyond the tick
        {"latency__lateness__p99_ns": 2_400_000, "latency__end_to_end_intended__p99_ns": 3_000_000},  # below 2 ms of its own
        {"latency__lateness__p99_ns": 4_000_000, "producers__0__blocked_s": 1.0},  # the system's doing: it blocked
        {"latency__lateness": None},
        {"latency__lateness__p99_ns": None},
        {"cost__machine_busy": None},
        {"cost__machine_busy": 0.949},
        {"producers__0__collections": None},
        {"producers__0__cpu_ns": None},
        {"producers__0__cpu_ns": 4_700_000_000},
        {"events": [{"t_s": 0.0, "who": "producer-0", "kind": "ready", "detail": ""}]},
        {"events": [{"t_s": 0.0, "who": "consumer-a-0", "kind": "assigned", "detail": ""}]},
        {"latency__end_to_end_intended": {**SUMMARY, "n": 1000}},
    ],
)
def test_what_is_none(planted):
    assert codes(trial(**planted)) == []


def test_a_failed_trial_has_nothing_to_be_judged_by():
    failed = trial(
        status="failed", drained_s=None, latency=dict.fromkeys(QUIET["latency"]), producers=[], consumers=[], cost={"machine_busy": None},
        rates={"offered_per_s": 2000.0, "slowest_group_per_s": None},
    )  # fmt: skip
    assert codes(failed) == []


def test_several_stand_side_by_side_and_events_are_summed_up():
    events = [
        {"t_s": 1.0, "who": f"c{i}", "kind": kind, "detail": "x" * 500} for i, kind in enumerate(("reconnected", "ack-failed", "closed"))
    ]
    found = findings.of_trial(trial(events=events, drained_s=None, rates__slowest_group_per_s=10.0))
    assert [finding["code"] for finding in found] == ["rate-not-reached", "not-drained", "connection"]
    assert found[2]["evidence"].startswith("3 x ack-failed, closed, reconnected; first: c0 reconnected xxx")
    assert len(found[2]["evidence"]) < 250


def test_what_is_invalid_is_a_finding():
    known = {"rate-not-reached", "not-drained", "sender-late", "clock-suspect"}
    assert set(findings.INVALID) == known
