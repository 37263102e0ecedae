"""Each finding from a trial in which exactly it was planted, and no other; and the edges on both sides of each limit."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from bench import account
from bench.analysis import findings, steady

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
    "trial": 1,
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
        "lateness_woken": {**SUMMARY, "p99_ns": 600_000},
        "lateness_blocked": {**SUMMARY, "p99_ns": 0},
    },
    "cost": {"machine_busy": 0.5, "others_cores": 0.3},
    "machine": {"cores": 4, "steal": 0.001, "throttled_s": 0.0, "load_1m": 0.7, "idle_servers_cores": 0.2, "others_cores": 0.3},
    "steady": {"slices": {"a": [833] * 12}, "p50_thirds_ns": [1_000_000, 1_100_000, 900_000], "n_thirds": [3333, 3333, 3334]},
    "nodes": [{"name": "s.1", "role": "broker", "cpu_ns": 2_000_000_000, "thread_ns": 1_000_000_000, "rss_b": 1}],
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


SATURATED = {"workload__schedule": "max", "rates__offered_per_s": None}


def codes(made):
    return [finding["code"] for finding in findings.of_trial(made)]


def test_a_quiet_trial_has_none():
    assert findings.of_trial(trial()) == []


@pytest.mark.parametrize(
    ("planted", "code", "evidence"),
    [
        ({"rates__slowest_group_per_s": 1211.4}, "rate-not-reached", "the slowest group got 1,211/s of 2,000/s"),
        ({"drained_s": None}, "not-drained", "10 s after the load"),
        ({"latency__lateness_woken__p99_ns": 4_000_000}, "sender-late", "p99 4.0 ms of 9.0 ms"),
        ({"latency__end_to_end_sent": {**SUMMARY, "negative": 1234}}, "clock-suspect", "1,234 latencies below zero"),
        ({"consumers__0__collections": 2}, "collections", "2 garbage collections"),
        ({"cost__machine_busy": 0.97}, "machine-busy", "97%"),
        ({"cost__others_cores": 0.8}, "not-alone", "0.6 cores"),
        ({"cost__others_cores": 0.8, "machine": None}, "not-alone", "0.8 cores"),  # of a release that did not sample it
        ({"machine__steal": 0.034}, "stolen-time", "the hypervisor took 3.4% of the cores' time"),
        ({"machine__throttled_s": 0.06}, "stolen-time", "its CPU quota stopped this run for 60 ms of 5 s"),
        ({"steady__slices__a": [1000] * 4 + [833] * 4 + [500] * 4}, "not-steady", "a: delivered 4,000 in the first third and 2,000"),
        ({"steady__p50_thirds_ns": [1e6, 5e6, 9e6]}, "not-steady", "p50 was 1.0 ms in the first third and 9.0 ms in the last"),
        ({"window_s": 0.5, "producers__0__cpu_ns": 10, "consumers__0__cpu_ns": 10}, "quick", "measured for 0.5 s"),
        ({"latency__end_to_end_intended": {**SUMMARY, "n": 999}}, "too-few-samples", "999 latencies"),
        ({"producers__0__cpu_ns": 4_900_000_000}, "client-bound", "producer 0 used 98% of a core; its server 40%"),
        ({"consumers__0__cpu_ns": 4_900_000_000}, "client-bound", "consumer a.0 used 98% of a core"),
        (
            {"events": [{"t_s": 1.0, "who": "consumer-a-0", "kind": "closed", "detail": "by peer"}]},
            "connection",
            "1 x closed; first: consumer-a-0 closed by peer",
        ),
        (
            {"events": [{"t_s": 1.0, "who": "producer-0", "kind": "unannounced", "detail": "2 of its sockets were replaced"}]},
            "reconnect-unannounced",
            "producer-0: 2 of its sockets were replaced",
        ),
        (SATURATED, "saturated", "as fast as the system took it"),
        (
            {"workload__schedule": "closed", "workload__outstanding": 3, "rates__offered_per_s": None},
            "closed-loop",
            "when one of 3 was confirmed",
        ),
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
        {"latency__lateness_woken__p99_ns": 1_390_000},  # 10% of p99, beyond the tick
        {"latency__lateness_woken__p99_ns": 2_400_000, "latency__end_to_end_intended__p99_ns": 3_000_000},  # below 2 ms of its own
        {"latency__lateness__p99_ns": 4_000_000, "latency__lateness_blocked__p99_ns": 4_000_000},  # the system's doing: it blocked
        {"latency__lateness_woken": None},
        {"latency__lateness_woken__p99_ns": None},
        {"cost__machine_busy": None},
        {"cost__machine_busy": 0.949},
        {"producers__0__collections": None},
        {"producers__0__cpu_ns": None},
        {"producers__0__cpu_ns": 4_700_000_000},
        {"events": [{"t_s": 0.0, "who": "producer-0", "kind": "ready", "detail": ""}]},
        {"events": [{"t_s": 0.0, "who": "consumer-a-0", "kind": "assigned", "detail": ""}]},
        {"latency__end_to_end_intended": {**SUMMARY, "n": 1000}},
        {"cost__others_cores": 0.449},  # 0.2 of them are this run's own idle systems
        {"cost__others_cores": None},
        {"machine__steal": 0.02, "machine__throttled_s": 0.05},
        {"machine__steal": None, "machine__throttled_s": None},
        {"steady__slices__a": [833] * 4 + [800] * 4 + [760] * 4},
        {"steady": None},
        {"nodes__0__thread_ns": 4_900_000_000, "nodes__0__cpu_ns": 9_000_000_000},  # busy, and it kept up
        {"window_s": 1.0, "producers__0__cpu_ns": 10, "consumers__0__cpu_ns": 10},
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


def test_a_server_holds_back_only_where_more_was_asked_for_than_came():
    thread = {"nodes__0__thread_ns": 4_900_000_000, "nodes__0__cpu_ns": 5_000_000_000}
    assert codes(trial(**thread, **SATURATED)) == ["saturated", "server-bound"]
    found = findings.of_trial(trial(**thread, rates__slowest_group_per_s=1200.0))
    assert [finding["code"] for finding in found] == ["rate-not-reached", "server-bound"]
    assert found[1]["evidence"] == "a thread of s.1 used 98% of a core"
    assert codes(trial(**thread | {"nodes__0__thread_ns": None}, **SATURATED)) == ["saturated"]
    few = {"producers__0__cpu_ns": 1_000_000_000, "consumers__0__cpu_ns": 1_500_000_000, "nodes__0__cpu_ns": 17_000_000_000}
    found = findings.of_trial(trial(**few, **SATURATED))
    assert found[1]["evidence"] == "its server used 3.4 of the 3.5 cores that the clients left"
    many = {"producers__0__cpu_ns": 4_600_000_000, "consumers__0__cpu_ns": 4_600_000_000, "nodes__0__cpu_ns": 10_700_000_000}
    assert codes(trial(**many, **SATURATED)) == ["saturated"], "clients and server share what there is: the machine is the limit"


def test_a_backlog_is_not_called_unsteady_as_well():
    growing = {"steady__p50_thirds_ns": [1e6, 500e6, 900e6]}
    assert codes(trial(**growing, rates__slowest_group_per_s=1200.0)) == ["rate-not-reached"]
    assert codes(trial(**growing, **SATURATED)) == ["saturated"]


def in_lumps(random, *, rate, window_s, every_s, shards, keeps_up=1.0):
    """A trial in which each shard is read every so often, at a phase of its own: what came since the last read arrives at once."""
    counts = np.zeros(12)
    for _ in range(shards):
        reads = np.cumsum(random.uniform(0.9, 1.3, int(3 * window_s / every_s)) * every_s) - random.uniform(0, every_s)
        came = np.diff(reads, prepend=reads[0] - every_s) * rate / shards * keeps_up
        inside = (reads >= 0) & (reads < window_s)
        np.add.at(counts, (reads[inside] * 12 / window_s).astype(int), came[inside])
    delivered = float(counts.sum()) / window_s
    return trial(
        window_s=window_s, rates={"offered_per_s": rate, "slowest_group_per_s": delivered, "groups": {"a": delivered}},
        steady={"slices": {"a": counts.tolist()}, "p50_thirds_ns": [1e6, 1e6, 1e6], "n_thirds": [rate * window_s / 3] * 3},
    )  # fmt: skip


@pytest.mark.parametrize("window_s", [2.0, 3.5, 5.0])
@pytest.mark.parametrize("shards", [1, 4])
def test_deliveries_in_lumps_that_keep_up_reach_their_rate(window_s, shards):
    """Kinesis at 200/s: what lay between two reads at the window's end was told as a rate that was not reached."""
    random = np.random.default_rng(int(window_s * 100) + shards)
    some = [in_lumps(random, rate=200.0, window_s=window_s, every_s=0.2, shards=shards) for _ in range(200)]
    assert sum(findings.missed(200.0, one["rates"]["slowest_group_per_s"]) for one in some) > 50, "or there is nothing to tell apart"
    assert sum("rate-not-reached" in codes(one) for one in some) <= 16
    short = [in_lumps(random, rate=200.0, window_s=window_s, every_s=0.2, shards=shards, keeps_up=0.85) for _ in range(200)]
    assert sum("rate-not-reached" in codes(one) for one in short) >= 190


LUMPS = {
    "rates": {"offered_per_s": 2000.0, "slowest_group_per_s": 1950.0, "groups": {"a": 1950.0}},
    "steady__slices": {"a": [500, 1100, 500, 1233] * 2 + [834, 833, 833, 584]},
}


def test_a_lump_excuses_only_what_is_under_way():
    assert codes(trial(**LUMPS)) == []
    for not_so in (
        {"rates__groups": {"a": 1950.0, "b": 1500.0}},
        {"steady__n_thirds": [3333, 3300, 3200]},  # so many never came
        {"workload__schedule": "ramp"},
        {"faults": [{"fault": "kill"}]},
        {"steady__slices": {"a": [812, 813] * 6}},
        {
            "rates__slowest_group_per_s": 1700.0,
            "rates__groups": {"a": 1700.0},
            "steady__slices": {"a": [0, 2500, 0, 2500, 0, 2500, 0, *[200] * 5]},
        },
    ):
        assert codes(trial(**LUMPS | not_so)) == ["rate-not-reached"], not_so


def test_what_is_invalid_is_a_finding():
    known = {"rate-not-reached", "not-drained", "sender-late", "clock-suspect"}
    assert set(findings.INVALID) == known


def test_recorded_trials_have_the_findings_that_they_had():
    """Those of committed runs, also of releases that sampled less: what was added since does not fire on them."""
    reference = Path(findings.__file__).parents[2] / "results" / "reference"
    seen = 0
    for path in reference.glob("*/*/trials/*/trial.json"):
        recorded = json.loads(path.read_text())
        if recorded["status"] == "ok" and "steady" not in recorded:
            late = recorded["latency"].get("lateness_woken")
            expected = {one["code"] for one in recorded["findings"]} - ({"sender-late"} if late is None else set())
            assert set(codes(recorded)) == expected, path
            seen += 1
    assert seen >= 30


def test_the_set_is_closed_and_the_method_says_the_same():
    names = [one.code for one in findings.CODES]
    assert len(names) == len(set(names))
    assert not findings.NOTES & set(findings.INVALID)
    assert findings.NOTES | set(findings.INVALID) == set(names)
    text = (Path(findings.__file__).parents[2] / "docs" / "method.md").read_text()
    table = text.partition("| finding | when | ranked |\n")[2].partition("\n\n")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in table.splitlines()[1:]]
    assert rows == [(f"`{one.code}`", one.means, "no" if one.invalid else "yes") for one in findings.CODES]
    assert steady.SLICES == account.SLICES
