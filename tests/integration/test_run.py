"""Whole runs by the command: the folder is complete, the counts are exact, reports come from files alone."""

import csv
import json
import os
import re
import shutil

import numpy as np
import psutil
import pytest
import yaml
from command import ROOT, SMALL, brokerbench, folder_of, line_of, read, small, started, trials, until

from bench import store
from bench.histogram import read_log
from bench.servers import names

SCENARIO = """\
name: whole
title: Two points, two rounds, three systems
systems: [tcp, zeromq, redis_pubsub]
topology: {producers: 2, groups: {a: 1, b: 1}, partitions: 4, routing: key}
keys: {count: 500, distribution: zipf, exponent: 1.1}
payload: {size: 128 B}
sweep: {rate: [200/s, 600/s]}
timing: {warmup: 500 ms, measure: 1 s, drain: 20 s}
rounds: 2
lanes: {aa: false, floor: false}
"""
SENT = {200: 300, 600: 900}  # by rate: both producers, warm-up included
MEASURED = {200: 200, 600: 600}
FILES = {
    ".lock",
    "run.json",
    "summary.csv",
    "summary.json",
    "scenario.yaml",
    "plan.json",
    "environment.json",
    "trials",
    "trials.csv",
    "evidence",
    "servers",
    "report.html",
    "report.md",
    "charts",
}
LATENESS = ("lateness", "lateness-woken", "lateness-blocked")
SUMMARY = {"n", "min_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns", "negative"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, needs):
    """(the command's end, the run's folder, its trials)."""
    needs("redis_pubsub")
    folder = tmp_path_factory.mktemp("whole")
    (folder / "mine.yaml").write_text(SCENARIO)
    done = brokerbench("run", "mine.yaml", cwd=folder)
    kept = folder_of(folder / "results" / "runs")
    return done, kept, trials(kept)


def documented(name):
    """Every word in quotes in a part of results/README.md: the keys it promises are among them."""
    text = (ROOT / "results" / "README.md").read_text()
    return set(re.findall(r'"([a-z_0-9]+)"', text.partition(f"## {name}")[2].partition("\n## ")[0]))


def keys_of(value, *, told=("settings", "groups", "slices", "point")):
    """All keys of nested data but those that are values of the user's (names of groups, of settings)."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(keys_of(inner) for name, inner in value.items() if name not in told))


@pytest.mark.server
def test_the_run_ends_well_and_says_where_the_report_is(whole):
    done, folder, _ = whole
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("whole at ")
    assert f"report: {folder}/report.html" in done.stdout
    # Plain lines, not a terminal's: one for each trial, with its place and what is left.
    assert re.search(r"\] 12/12 \S+ · (200|600)/s, 128 B · round 2 · about \d+ s left\n", done.stderr)
    assert "\x1b" not in done.stderr


@pytest.mark.server
def test_the_folder_is_complete(whole):
    _, folder, _ = whole
    assert {path.name for path in folder.iterdir()} == FILES
    run = read(folder / "run.json")
    assert {
        "format": 1,
        "kind": "run",
        "scenario": "whole",
        "status": "complete",
        "not_run": [],
        "id": folder.name,
        "seed": 1,
    }.items() <= run.items()
    assert run["command"] == "brokerbench run mine.yaml"
    assert run["started"] < run["ended"]
    assert yaml.safe_load((folder / "scenario.yaml").read_text())["sweep"] == {"rate": ["200/s", "600/s"]}
    assert {path.name for path in (folder / "trials").iterdir()} == {f"{number:04d}" for number in range(1, 13)}
    for trial in (folder / "trials").iterdir():
        assert {path.name for path in trial.iterdir()} == {"trial.json", "latency.hlog", "series.csv"}
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    assert [row["trial"] for row in rows] == [str(number) for number in range(1, 13)]
    assert "Ready to accept connections" in (folder / "servers" / "redis_pubsub" / "redis_pubsub.1.log").read_text()
    assert not list(folder.rglob("*.new"))


@pytest.mark.server
def test_trials_have_the_keys_of_results_readme_and_no_others(whole):
    keys = documented("trial.json")
    for trial in whole[2]:
        audits = {name: trial["audit"].pop(name) for name in list(trial["audit"])}
        found = keys_of(trial) | keys_of(list(audits.values()))
        trial["audit"] |= audits
        assert found - keys == set(), "not in results/README.md"
        assert set(trial) >= {
            "format",
            "trial",
            "point",
            "workload",
            "variant",
            "server",
            "producers",
            "consumers",
            "rates",
            "latency",
            "cost",
        }
        for summary in trial["latency"].values():
            assert summary is None or set(summary) == SUMMARY


@pytest.mark.server
def test_trials_stand_in_the_order_of_the_plan(whole):
    _, folder, done = whole
    plan = read(folder / "plan.json")
    assert len(plan) == len(done) == 12
    for planned, trial in zip(plan, done, strict=True):
        assert planned == {
            "trial": trial["trial"], "point": trial["point"], "variant": trial["variant"]["id"],
            "series": trial["series"], "round": trial["round"], "position": trial["position"], "lane": trial["lane"],
        }  # fmt: skip
    assert [trial["started"] for trial in done] == sorted(trial["started"] for trial in done)
    assert sorted((entry["round"], entry["point"]["rate_per_s"], entry["variant"]) for entry in plan) == [
        (turn, rate, variant) for turn in (0, 1) for rate in (200, 600) for variant in ("redis_pubsub", "tcp", "zeromq")
    ]


@pytest.mark.server
def test_counts_are_exact(whole):
    for trial in whole[2]:
        sent = SENT[trial["point"]["rate_per_s"]]
        assert (trial["status"], trial["reason"]) == ("ok", None)
        assert [(one["index"], one["planned"], one["sent"], one["confirmed"]) for one in trial["producers"]] == [
            (index, sent // 2, sent // 2, sent // 2) for index in (0, 1)
        ]
        assert [(one["group"], one["member"], one["received"]) for one in trial["consumers"]] == [("a", 0, sent), ("b", 0, sent)]
        assert trial["drained_s"] is not None
        for row in trial["audit"].values():
            assert (row["sent"], row["acknowledged"], row["processed"], row["verdict"]) == (sent, sent, sent, "clean")
            assert not any(row[name] for name in ("lost", "duplicated", "reordered", "corrupted", "unexpected", "unknown", "late"))


@pytest.mark.server
def test_histograms_hold_each_latency_that_was_due_in_the_window(whole):
    _, folder, done = whole
    for trial in done:
        rate = trial["point"]["rate_per_s"]
        tags = read_log(folder / "trials" / f"{trial['trial']:04d}" / "latency.hlog")
        confirms = trial["variant"]["confirms"]
        assert set(tags) == {"e2e", "e2e-a", "e2e-b", "e2e-sent", *LATENESS, *(["publish"] if confirms else [])}
        counted = {name: one.summary()["n"] for name, one in tags.items()}
        wanted = {"e2e": 2 * MEASURED[rate], "e2e-a": MEASURED[rate], "e2e-b": MEASURED[rate], "e2e-sent": 2 * MEASURED[rate]}
        wanted |= dict.fromkeys(LATENESS, MEASURED[rate]) | ({"publish": MEASURED[rate]} if confirms else {})
        assert counted == wanted
        for name, tag in (
            ("end_to_end_intended", "e2e"),
            ("end_to_end_sent", "e2e-sent"),
            ("lateness", "lateness"),
            ("lateness_woken", "lateness-woken"),
            ("lateness_blocked", "lateness-blocked"),
            ("publish", "publish"),
        ):
            assert trial["latency"][name] == (tags[tag].summary() if tag in tags else None)
        lines = (folder / "trials" / f"{trial['trial']:04d}" / "latency.hlog").read_text().splitlines()
        starts = [float(line.split(",")[1]) for line in lines if line.startswith("Tag=e2e,")]
        assert len(starts) >= 2, "a line for each second in which something arrived, 0.5 s of the first being the warm-up"
        assert np.diff(starts).tolist() == pytest.approx([round(gap) for gap in np.diff(starts)], abs=0.002)
        assert trial["latency"]["end_to_end_intended"]["negative"] == 0
        assert trial["latency"]["end_to_end_intended"]["min_ns"] > 0


@pytest.mark.server
def test_the_series_sums_up_to_what_was_sent(whole):
    run = store.open_run(whole[1])
    for trial in whole[2]:
        rows = run.series(trial["trial"])
        sent = SENT[trial["point"]["rate_per_s"]]
        assert [row["second"] for row in rows] == list(range(len(rows)))
        assert [sum(row[name] for row in rows) for name in ("published", "a", "b")] == [sent, sent, sent]


@pytest.mark.server
def test_the_cost_is_of_those_who_worked(whole):
    for trial in whole[2]:
        cost = trial["cost"]
        assert cost["deliveries"] == sum(one["in_window"] for one in trial["consumers"]) > 0
        nodes = sum(node["cpu_ns"] for node in trial["nodes"])
        assert cost["intermediary_ns"] == (nodes / cost["deliveries"] if trial["server"] else None)
        parts = cost["producers_ns"] + cost["consumers_ns"] + (cost["intermediary_ns"] or 0)
        assert cost["total_ns"] == pytest.approx(parts)
        assert all(one["cpu_ns"] > 0 and one["rss_b"] > 1_000_000 for one in (*trial["producers"], *trial["consumers"], *trial["nodes"]))
        assert [node["name"] for node in trial["nodes"]] == (["redis_pubsub.1"] if trial["variant"]["id"] == "redis_pubsub" else [])


@pytest.mark.server
def test_the_report_is_made_again_from_the_files_alone(whole, tmp_path):
    _, folder, done = whole
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("evidence", "servers", "report.*", "charts", ".lock"))
    again = brokerbench("report", copy, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[0] == whole[0].stdout.splitlines()[0]
    assert (copy / "report.html").read_text() == (folder / "report.html").read_text()
    told = json.loads(brokerbench("report", copy, "--out", tmp_path / "out", "--json", cwd=tmp_path).stdout)
    assert told["html"] == str(tmp_path / "out" / "report.html")
    assert (tmp_path / "out" / "report.md").read_text() == (folder / "report.md").read_text()
    assert len(done) == 12


def test_json_parses_and_the_second_run_has_a_folder_of_its_own(tmp_path):
    small(tmp_path)
    runs = [json.loads(brokerbench("run", "small.yaml", "--json", "--results", "kept", cwd=tmp_path).stdout) for _ in range(2)]
    assert runs[0]["folder"] != runs[1]["folder"]
    assert all((tmp_path / "kept" / run["folder"] / "run.json").is_file() for run in runs)  # an absolute path wins over what is before it
    assert [[trial["status"] for trial in run["trials"]] for run in runs] == [["ok"], ["ok"]]
    latest = json.loads(brokerbench("report", "--json", "--results", "kept", cwd=tmp_path).stdout)
    assert str(tmp_path / latest["folder"]) == runs[1]["folder"]


def test_the_results_folder_comes_from_the_environment_too(tmp_path):
    small(tmp_path)
    done = brokerbench("run", "small.yaml", "--quiet", cwd=tmp_path, BROKERBENCH_RESULTS=str(tmp_path / "there"))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(trials(folder_of(tmp_path / "there"))) == 1


@pytest.mark.server
def test_a_group_that_shares_and_one_that_cannot(tmp_path, needs):
    needs("redis_pubsub")
    words = (
        "--systems",
        "zeromq",
        "tcp",
        "redis_pubsub",
        "--set",
        "members=1,2",
        "--rounds",
        "1",
        "--set",
        "rate=500/s",
        "--measure",
        "600ms",
        "--no-lanes",
    )
    done = brokerbench("run", "work-queue", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {(trial["variant"]["id"], trial["point"]["members"]): trial for trial in trials(folder_of(tmp_path / "results" / "runs"))}
    assert {at: trial["status"] for at, trial in found.items()} == {
        ("zeromq", 1): "ok", ("tcp", 1): "ok", ("redis_pubsub", 1): "ok",
        ("zeromq", 2): "ok", ("tcp", 2): "ok", ("redis_pubsub", 2): "unsupported",
    }  # fmt: skip
    unsupported = found["redis_pubsub", 2]
    assert "every subscriber" in unsupported["reason"] or "share" in unsupported["reason"]
    assert (unsupported["audit"], unsupported["latency"]["end_to_end_intended"]) == ({}, None)
    assert unsupported["variant"]["work_sharing"] == "unsupported"
    for system in ("zeromq", "tcp"):
        row = found[system, 2]["audit"]["workers"]
        assert (row["sent"], row["processed"], row["lost"], row["duplicated"]) == (800, 800, 0, 0)
        shares = [one["received"] for one in found[system, 2]["consumers"]]
        assert sum(shares) == 800
        assert min(shares) > 100, "one member did it all"
    assert "unsupported" in (folder_of(tmp_path / "results" / "runs") / "report.md").read_text()


def test_axes_that_need_new_connections(tmp_path):
    path = tmp_path / "axes.yaml"
    path.write_text(
        SMALL.format(systems="tcp, zeromq", measure="400 ms", rounds=1).replace(", groups: {a: 1, b: 1}, partitions: 2", "")
        + "sweep: {groups: [1, 3], partitions: [1, 4]}\n"
    )
    done = brokerbench("run", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = trials(folder_of(tmp_path / "results" / "runs"))
    assert sorted((one["variant"]["id"], one["point"]["groups"], one["point"]["partitions"]) for one in found) == [
        (system, groups, partitions) for system in ("tcp", "zeromq") for groups in (1, 3) for partitions in (1, 4)
    ]
    for trial in found:
        assert [row["verdict"] for row in trial["audit"].values()] == ["clean"] * trial["point"]["groups"]
        assert {row["processed"] for row in trial["audit"].values()} == {180}
        assert trial["workload"]["partitions"] == trial["point"]["partitions"]


def test_series_restart_what_they_measure_and_the_lanes_beside_it(tmp_path):
    path = small(tmp_path, "zeromq")
    path.write_text(path.read_text().partition("lanes:")[0])
    done = brokerbench("run", path, "--series", "2", "--seed", "7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = folder_of(tmp_path / "results" / "runs")
    found = trials(folder)
    assert [trial["series"] for trial in found] == [0, 0, 0, 1, 1, 1]
    wanted = [("tcp", "floor"), ("zeromq", ""), ("zeromq", "aa")]
    assert [sorted((trial["variant"]["id"], trial["lane"]) for trial in some) for some in (found[:3], found[3:])] == [wanted] * 2
    assert [row["verdict"] for trial in found for row in trial["audit"].values()] == ["clean"] * 12
    assert read(folder / "run.json")["seed"] == 7
    names = {(trial["variant"]["id"], trial["evidence"][0]["name"]) for trial in found}
    assert len(names) == 4, "a series has endpoints of its own, and the A/A lane its variant's"
    assert done.stdout.count("Noise floor: the same system measured twice differed by up to") == 1
    report = (folder / "report.md").read_text()
    assert "| reference | TCP" in report
    assert [row["rounds"] for row in csv.DictReader((folder / "summary.csv").open())] == ["2", "2"]


# ---- the other verbs


def test_scenarios(tmp_path):
    shipped = sorted(path.stem for path in (ROOT / "scenarios").glob("*.yaml"))
    listed = brokerbench("scenarios", cwd=tmp_path)
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()[::2]] == shipped
    assert [one["name"] for one in json.loads(brokerbench("scenarios", "--json", cwd=tmp_path).stdout)] == shipped
    one = brokerbench("scenarios", "order-events", cwd=tmp_path)
    assert one.stdout == (ROOT / "scenarios" / "order-events.yaml").read_text()
    explained = brokerbench("scenarios", "--explain", cwd=tmp_path).stdout
    for field in ("topology.groups", "load.rate", "batch.ack_interval", "sweep.members"):
        assert f"\n{field} " in explained
    assert all(row["description"] for row in json.loads(brokerbench("scenarios", "--explain", "--json", cwd=tmp_path).stdout))


def test_what_systems_promise(tmp_path):
    told = brokerbench("systems", "kafka", "zeromq", "--promises", cwd=tmp_path)
    assert told.returncode == 0
    assert "Apache Kafka through kafka-python\n    not tried" in told.stdout
    assert "at-least-once" in told.stdout
    assert "https://" in told.stdout
    rows = json.loads(brokerbench("systems", "--promises", "--json", cwd=tmp_path).stdout)
    assert {row["system"] for row in rows} >= {"kafka", "rabbitmq", "sqs", "zeromq", "redis_pubsub", "tcp"}
    assert "memory" not in {row["system"] for row in rows}
    assert all(row["capabilities"]["modes"] for row in rows)


def test_what_works_here_was_tried(tmp_path):
    told = brokerbench("systems", "tcp", "zeromq,mode=pub-sub", cwd=tmp_path)
    assert told.returncode == 0
    assert len(re.findall(r"works here: 110 messages there and audited, p50 [\d.]+ ms · no server", told.stdout)) == 2
    assert told.stdout.count("zeromq,mode=pub-sub ") == 1


def test_doctor(tmp_path):
    told = brokerbench("doctor", "--json", cwd=tmp_path)
    assert told.returncode in (0, 3)
    checks = json.loads(told.stdout)
    assert all(check["ok"] in ("ok", "warn", "bad") and check["found"] for check in checks)
    assert told.returncode == (3 if any(check["ok"] == "bad" for check in checks) else 0)
    assert len(brokerbench("doctor", cwd=tmp_path).stdout.splitlines()) >= len(checks)


def test_servers_list(tmp_path):
    rows = json.loads(brokerbench("servers", "list", "--json", cwd=tmp_path, BROKERBENCH_HOME=str(tmp_path)).stdout)
    assert {row["system"] for row in rows} == set(names())
    assert all(row["running"] is None and row["kinds"] for row in rows)
    assert {row["system"]: row["options"] for row in rows}["redis_streams"] == {"appendfsync": ["off", "no", "everysec", "always"]}
    told = brokerbench("servers", "list", "redis_pubsub", cwd=tmp_path)
    assert told.stdout.startswith("redis_pubsub\n    ")


@pytest.mark.server
def test_a_kept_server_outlives_its_command_is_used_and_stopped(tmp_path, needs):
    needs("redis_pubsub")
    home = {"BROKERBENCH_HOME": str(tmp_path / "home")}
    kept = json.loads(brokerbench("servers", "start", "redis_pubsub", "--json", cwd=tmp_path, **home).stdout)
    try:
        address = kept[0]["addresses"][0]
        again = json.loads(brokerbench("servers", "start", "redis_pubsub", "--json", cwd=tmp_path, **home).stdout)
        assert again[0]["pid"] == kept[0]["pid"]
        assert f"running   {kept[0]['product']}" in brokerbench("servers", cwd=tmp_path, **home).stdout
        done = brokerbench("run", small(tmp_path, "tcp"), "--systems", f"redis_pubsub,server=external:{address}", cwd=tmp_path, **home)
        assert done.returncode == 0, done.stderr
        (trial,) = trials(folder_of(tmp_path / "results" / "runs"))
        assert (trial["server"]["kind"], trial["nodes"][0]["cpu_ns"], trial["cost"]["intermediary_ns"]) == ("external", None, None)
    finally:
        stopped = brokerbench("servers", "stop", "redis_pubsub", cwd=tmp_path, **home)
    assert stopped.stdout == "stopped: redis_pubsub\n"
    assert brokerbench("servers", "stop", "redis_pubsub", cwd=tmp_path, **home).stdout == "none was running\n"


def test_pinned_endpoints_run_where_the_trial_says(tmp_path):
    process = started("run", small(tmp_path, rounds=2), "--pin", "on", cwd=tmp_path)
    until(lambda: "1/2 tcp" in process.err(), process, what="its first trial")
    names = [f"tcp-{side}.spec.json" for side in ("producer-0", "consumer-a-0", "consumer-b-0")]
    children = psutil.Process(process.pid).children(recursive=True)
    pids = [next(one.pid for one in children if name in line_of(one)) for name in names]
    seen = [{frozenset(os.sched_getaffinity(thread.id)) for thread in psutil.Process(pid).threads()} for pid in pids]
    assert process.wait(60) == 0, process.err()
    folder = folder_of(tmp_path / "results" / "runs")
    told = trials(folder)[0]["placement"]
    assert seen == [{frozenset({core})} for core in (*told["producers"], *told["consumers"])], "every thread of each, and no other core"
    assert (told["pinned"], told["nodes"]) == (True, [])
    assert read(folder / "environment.json")["placement"]["pin"] == "on"
    assert "pinned: asked for" in process.err()
