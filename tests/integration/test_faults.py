"""Faults through the command, on real processes and servers: what they cost is what the modes promise, and a trial survives all of it.

The runs are few and short, with several systems and several faults each; the figures that are checked do not depend on speed.
"""

import pytest
from command import ran, read

from bench import journal
from bench.journal import Kind

SAFE = "redis_streams+min_idle_time=500"

KILLED = """\
name: killed
systems: [zeromq, redis_pubsub, "redis_streams,min_idle_time=500"]
topology: {producers: 1, groups: {a: 1}, partitions: 1, routing: round-robin}
payload: {size: 128 B}
load: {rate: 400/s}
batch: {send: 20, ack_every: 20}
timing: {warmup: 200 ms, measure: 1 s, drain: 10 s}
processing: 4 ms
rounds: 1
lanes: {aa: false, floor: false}
faults:
  - {fault: kill, target: consumer.a.0, at: 500 ms, for: 100 ms}
"""

ALL = """\
name: all
systems: [redis_pubsub, zeromq]
topology: {producers: 2, groups: {a: 1, b: 1}, partitions: 1, routing: round-robin}
payload: {size: 128 B}
load: {rate: 400/s}
timing: {warmup: 200 ms, measure: 3 s, drain: 10 s}
rounds: 1
lanes: {aa: false, floor: false}
faults:
  - {fault: kill, target: producer.1, after: 150 sent, for: 100 ms}
  - {fault: pause, target: consumer.a.0, at: 300 ms, for: 300 ms}
  - {fault: away, target: consumer.b, at: 400 ms, for: 200 ms}
  - {fault: slow, target: consumer.a, processing: 1 ms, at: 1500 ms, for: 200 ms}
  - {fault: pause, target: producer.0, at: 1500 ms, for: 200 ms}
  - {fault: kill, target: producer.0, after: "1,000,000 acknowledged"}
SERVER
"""
SERVER = "  - {fault: kill, target: server.1, at: 2 s, for: 200 ms}"


def test_a_killed_consumer_costs_what_the_mode_says(tmp_path):
    done, folder, by = ran(tmp_path, KILLED)
    assert done.returncode == 0, done.stderr
    for record in by.values():
        assert record["status"] == "ok", record["reason"]
        (fault,) = record["faults"]
        assert (fault["fault"], fault["target"], fault["detail"]) == ("kill", "consumer.a.0", "")
        assert fault["injected_s"] < fault["healed_s"]
        assert fault["recovered_s"] is None or fault["healed_s"] <= fault["recovered_s"]  # None: it came back when all was over
        assert fault["in_flight"]["a"] > 0
        assert [part["of"] for part in record["evidence"]] == ["producer.0", "consumer.a.0", "consumer.a.0"]
        assert [part["epoch"] for part in record["evidence"]] == [0, 0, 1]
        assert record["consumers"][0]["cpu_ns"] is None
        assert any(event["kind"] == "killed" for event in record["events"])
        assert record["audit"]["a"]["verdict"] in ("clean", "as promised")
        assert sum(record["steady"]["slices"]["a"]) == record["consumers"][0]["in_window"] > 0
    for lossy in ("zeromq", "redis_pubsub"):
        audit, (fault,) = by[lossy]["audit"]["a"], by[lossy]["faults"]
        assert audit["lost"] > 0
        assert audit["duplicated"] == 0
        assert fault["counts"]["a"]["lost"] == audit["lost"]
        assert by[lossy]["drained_s"] is None
    safe = by[SAFE]
    assert (safe["audit"]["a"]["lost"], safe["audit"]["a"]["acknowledged"]) == (0, safe["producers"][0]["sent"])
    assert safe["drained_s"] is not None
    assert safe["faults"][0]["recovered_s"] is not None
    assert safe["redelivery_s"] == 0.75
    held = journal.read(folder / "evidence", safe["evidence"][1]["name"]).rows
    assert held[held["kind"] == Kind.RECEIVED]["count"].sum() >= held[held["kind"] == Kind.PROCESSED]["count"].sum() > 0


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return ran(tmp_path_factory.mktemp("all"), ALL.replace("SERVER", SERVER))


def test_a_system_without_a_server_says_so(everything):
    record = everything[2]["zeromq"]
    assert record["status"] == "unsupported"
    assert "no server to break" in record["reason"]
    assert record["faults"] == []


def test_all_kinds_at_once_fail_nothing_and_are_healed(everything):
    done, _, by = everything
    record = by["redis_pubsub"]
    assert record["status"] == "ok", record["reason"]
    assert done.returncode == 0, done.stderr + str(record["audit"])
    rows = {(row["fault"], row["target"]): row for row in record["faults"]}
    never = rows.pop(("kill", "producer.0"))
    assert (never["injected_s"], never["counts"]) == (None, {})
    assert never["detail"].startswith("not injected: ")
    for row in rows.values():
        assert row["healed_s"] > row["injected_s"] >= row["asked_s"], row
    assert rows["kill", "server.1"]["counts"]["a"]["unavailable_to_producers_s"] >= 0.2
    assert all(row["lost"] + row["unknown"] > 0 for row in record["audit"].values())


def test_a_killed_producer_comes_back_with_the_next_epoch(everything):
    _, folder, by = everything
    record = by["redis_pubsub"]
    again = next(part for part in record["evidence"] if (part["of"], part["epoch"]) == ("producer.1", 1))
    rows = journal.read(folder / "evidence", again["name"], again["from"], again["to"]).rows
    assert (rows["epoch"] == 1).all()
    first = next(part for part in record["evidence"] if (part["of"], part["epoch"]) == ("producer.1", 0))
    before = journal.read(folder / "evidence", first["name"], first["from"], first["to"]).rows
    before = before[before["kind"] == Kind.ATTEMPT]
    assert rows["first"].min() >= (before["first"] + before["count"]).max()
    producers = record["producers"]
    assert [row["index"] for row in producers] == [0, 1]
    assert producers[0]["sent"] == producers[0]["planned"] == 640
    assert producers[1]["sent"] < producers[1]["planned"]


def test_the_runner_marks_what_it_did(everything):
    folder = everything[1]
    (marks,) = (folder / "evidence").glob("*redis_pubsub-faults-*.rec.0000")
    records = journal.read(folder / "evidence", marks.name.removesuffix(".rec.0000"))
    said = [records.text(i) for i in range(len(records.rows))]
    assert "kill server.1: 1 of 1" in said
    assert "healed: kill server.1: 1 of 1" in said
    assert read(folder / "run.json")["status"] == "complete"
