"""Loads that are not constant, through real endpoints: all that was planned is sent, nothing before its time, counts are exact."""

import pytest
from command import brokerbench, folder_of, read, trials

from bench import pacing, scenario, store
from bench.histogram import read_log

SCENARIO = """\
name: {name}
systems: [{systems}]
topology: {{producers: 2, groups: {{a: 1}}, partitions: 2, routing: {routing}}}
payload: {{size: 128 B}}
load: {load}
timing: {{warmup: 200 ms, measure: 1200 ms, drain: 20 s}}
rounds: 1
lanes: {{aa: false, floor: false}}
{keys}"""
LOADS = {
    "poisson": "{schedule: poisson, rate: 1.5 kHz}",
    "steps": "{schedule: steps, steps: [{rate: 200/s, for: 500 ms}, {rate: 0/s, for: 300 ms}, {rate: 3 kHz, for: 1 s}]}",
    "ramp": "{schedule: ramp, from: 100/s, to: 2 kHz}",
    "bursts": "{schedule: bursts, rate: 1 kHz, burst: 250}",
    "replay": "{schedule: replay, file: orders.csv}",
}


def run(folder, name, load, systems):
    (folder / "orders.csv").write_text("time_ms,key\n" + "".join(f"{1000 + (i * i) / 400:.6f},customer {i % 9}\n" for i in range(700)))
    routing, keys = ("key", "keys: {distribution: replay}\n") if name == "replay" else ("round-robin", "")
    (folder / f"{name}.yaml").write_text(SCENARIO.format(name=name, load=load, systems=systems, routing=routing, keys=keys))
    done = brokerbench("run", f"{name}.yaml", cwd=folder)
    return done, folder_of(folder / "results" / "runs")


@pytest.mark.parametrize("name", LOADS)
def test_what_was_planned_is_sent_and_never_before_its_time(tmp_path, name):
    done, folder = run(tmp_path, name, LOADS[name], "tcp")
    assert done.returncode == 0, done.stderr
    (trial,) = trials(folder)
    (point,) = scenario.load(folder / "scenario.yaml").points()  # the run's own copy, with its own copy of the CSV
    load = point.workload
    plans = [pacing.planned(load, index) for index in range(2)]
    assert [(one["planned"], one["sent"], one["confirmed"]) for one in trial["producers"]] == [(plan, plan, plan) for plan in plans]
    assert trial["audit"]["a"]["processed"] == sum(plans) > 0
    assert trial["workload"]["schedule"] == trial["point"]["schedule"] == name
    assert trial["rates"]["offered_per_s"] == pacing.offered_per_s(load)
    schedules = [pacing.of(load, index) for index in range(2)]
    seconds = [row["published"] for row in store.open_run(folder).series(1)]
    assert sum(seconds) == sum(plans)
    for second in range(len(seconds)):
        due = sum(schedule.due((second + 1) * 10**9 - 1) for schedule in schedules)
        assert sum(seconds[: second + 1]) <= due, "a message is not sent before it is due"
    late = trial["latency"]
    measured = round(trial["rates"]["offered_per_s"] * load.measure_s)
    assert late["lateness"]["n"] == late["lateness_woken"]["n"] == late["lateness_blocked"]["n"] == measured
    assert late["lateness"]["negative"] == late["lateness_woken"]["negative"] == 0
    assert read_log(folder / "trials" / "0001" / "latency.hlog")["e2e"].n == measured
    distribution = (folder / "charts" / "latency").glob("tcp-*-e2e.hgrm")
    assert f"Total count    = {measured:12d}]" in next(distribution).read_text()


@pytest.mark.server
def test_a_closed_loop_is_labelled_and_needs_confirmations(tmp_path, needs):
    needs("redis_pubsub")
    done, folder = run(tmp_path, "loop", "{schedule: closed, outstanding: 2}", "tcp, redis_pubsub")
    assert done.returncode == 0, done.stderr
    assert "closed loop (hides stalls)" in done.stdout
    by_system = {trial["variant"]["system"]: trial for trial in trials(folder)}
    assert by_system["tcp"]["status"] == "unsupported"
    assert "this client confirms none" in by_system["tcp"]["reason"]
    redis = by_system["redis_pubsub"]
    assert "closed-loop" in [finding["code"] for finding in redis["findings"]]
    assert redis["audit"]["a"]["processed"] == sum(one["sent"] for one in redis["producers"]) > 10
    assert redis["rates"]["offered_per_s"] is None
    assert redis["point"] == {"rate_per_s": None, "schedule": "closed", "size_b": 128}
    assert read(folder / "run.json")["status"] == "complete"
