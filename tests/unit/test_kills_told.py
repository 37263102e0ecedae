"""What a sitting of kills holds against what is said: a server's log and journals made by hand, and each lie told apart."""

import pytest

from adapters.base import Status
from bench.calibration import log
from bench.journal import Kind, Writer
from benchmarks.evidence import kills, truth

GROUPS = ("a", "b")
TRIAL = 3


def server_log(run, *, arrived=10, confirmed=10, delivered=(10, 10)):
    folder = run / "servers" / "calibration" / "log"
    folder.mkdir(parents=True)
    writer = log.Writer(folder, survives=True)
    for sequence in range(arrived):
        writer.add("arrivals", 1, 1, 1, sequence, TRIAL, 0, 0, 0)
    for sequence in range(confirmed):
        writer.add("answers", 1, sequence, TRIAL, 0, Status.CONFIRMED)
    for group, count in enumerate(delivered):
        for sequence in range(count):
            writer.add("deliveries", 1, 1, sequence, TRIAL, 0, group, 0, 1)
    # Nothing is closed: what was written has to be there.


def journals(run, *, attempted=10, acknowledged=10, processed=(range(10), range(10)), corrupted=0):
    folder = run / "evidence"
    folder.mkdir()
    producer = Writer(folder, "001-calibration-producer-0", segment_b=1 << 16)
    producer.span(Kind.ATTEMPT, trial=TRIAL, producer=0, first=0, count=attempted)
    if acknowledged:
        producer.span(Kind.OK, trial=TRIAL, producer=0, first=0, count=acknowledged)
    for index, group in enumerate(GROUPS):
        consumer = Writer(folder, f"001-calibration-consumer-{group}-0", segment_b=1 << 16)
        for sequence in processed[index]:
            consumer.span(Kind.PROCESSED, trial=TRIAL, producer=0, first=sequence, count=1, group=index)
        if corrupted:
            consumer.corrupt(trial=TRIAL, group=index, t=1, count=corrupted)


def whole(**counts):
    row = {"sent": 10, "acknowledged": 10, "processed": 10, "lost": 0, "late": 0, **dict.fromkeys(truth.NEVER, 0)} | counts
    return {"trial": TRIAL, "status": "ok", "variant": {"system": "calibration"}, "audit": dict.fromkeys(GROUPS, row)}


def test_what_happened_is_not_held_against_anybody(tmp_path):
    server_log(tmp_path)
    journals(tmp_path)
    assert truth.untrue(tmp_path, GROUPS, [whole()]) == []


def test_a_consumer_that_died_leaves_a_beginning_and_the_rest_is_lost(tmp_path):
    server_log(tmp_path, delivered=(10, 7))
    journals(tmp_path, acknowledged=9, processed=(range(10), range(4)))
    assert truth.untrue(tmp_path, GROUPS, []) == []


@pytest.mark.parametrize(
    ("did", "says", "wrong"),
    [
        ({"confirmed": 8}, {}, "2 acknowledged that were not answered"),
        ({}, {"attempted": 9, "acknowledged": 9}, "1 arrived that were never attempted"),
        ({"delivered": (10, 6)}, {}, "b: what was processed are not the first 10 of 6 deliveries"),
        ({}, {"processed": (range(10), [0, 2, 1, 3])}, "b: what was processed are not the first 4 of 10 deliveries"),
        ({}, {"processed": (range(10), [0, 1, 1])}, "b: duplicated 1, not 0"),
        ({}, {"processed": (range(10), [1, 0])}, "b: reordered 1, not 0"),
        ({}, {"corrupted": 2}, "a: corrupted 2, not 0"),
        ({"delivered": (10, 11)}, {"processed": (range(10), range(11))}, "b: unexpected 1, not 0"),
    ],
)
def test_each_lie_of_the_journals_is_told(tmp_path, did, says, wrong):
    server_log(tmp_path, **did)
    journals(tmp_path, **says)
    assert f"trial {TRIAL}: {wrong}" in truth.untrue(tmp_path, GROUPS, [])


@pytest.mark.parametrize("counts", [{"lost": 1}, {"duplicated": 1}, {"sent": 11}, {"processed": 9}, {"late": 1}])
def test_each_lie_of_a_whole_trial_is_told(tmp_path, counts):
    server_log(tmp_path)
    journals(tmp_path)
    ((name, count),) = counts.items()
    told = [f"trial {TRIAL}: {group}: {name} {count}, not {whole()['audit'][group][name]}" for group in GROUPS]
    assert truth.untrue(tmp_path, GROUPS, [whole(**counts)]) == told


def test_a_torn_end_of_a_killed_servers_log_is_no_record(tmp_path):
    server_log(tmp_path)
    journals(tmp_path)
    with (tmp_path / "servers" / "calibration" / "log" / "deliveries.log").open("ab") as file:
        file.write(b"\1" * 17)
    assert truth.untrue(tmp_path, GROUPS, [whole()]) == []


def test_a_process_is_known_by_its_command_line():
    lines = {
        "python -m bench.watchdog kills-20261122-1": ("watchdog", ""),
        "python -m bench.endpoint /tmp/x/evidence/007-redis-pubsub-consumer-a-0.spec.json": ("endpoint", "redis_pubsub"),
        "python -m bench.calibration.fake_server /tmp/x/servers/calibration/log/spec.json": ("server", "calibration"),
        "redis-server 127.0.0.1:7000": ("server", "redis_pubsub"),
        "sh -c true": ("", ""),
    }
    assert {line: (kills.role_of(line), kills.system_of(line)) for line in lines} == lines


def test_kills_are_spread_over_sittings_and_sum_up():
    assert kills.planned(1) == [1]
    for count in (20, 200, 201):
        assert sum(kills.planned(count)) == count
    assert kills.planned(200).count(1) >= 9, "the runner is met in its start-up too"


def test_a_failed_trial_needs_a_kill_and_a_whole_one_is_clean():
    def trial(status, reason=None, verdict="clean"):
        audit = {"a": {"verdict": verdict, "reasons": ["1 lost"]}}
        return {"trial": 1, "status": status, "reason": reason, "variant": {"system": "tcp", "id": "tcp"}, "audit": audit}

    met = [kills.Kill("endpoint", "tcp", 1.0)]
    assert kills._unexplained([trial("failed", "x"), trial("failed", "not tried: tcp")], met) == []
    assert kills._unexplained([trial("failed", "x")] * 2, met) == ["tcp: 2 trials failed, 1 were disturbed"]
    assert kills._unexplained([trial("failed", "x")], [kills.Kill("server", "redis_pubsub", 1.0)]) == [
        "tcp: 1 trials failed, 0 were disturbed"
    ]
    assert kills._odd(trial("failed", "x", "violated")) == []
    assert kills._odd(trial("ok", verdict="violated")) == ["trial 1, tcp: a: violated: 1 lost"]


def test_the_table_follows_from_the_sittings():
    runs = [
        {"run": 1, "kills": [{"victim": "server", "system": "tcp"}, {"victim": "runner", "system": ""}], "trials": {"ok": 2}, "wrong": []},
        {"run": 2, "kills": [{"victim": "runner", "system": ""}], "trials": {"ok": 1, "failed": 1}, "wrong": ["left behind: 7: sleep"]},
    ]
    assert kills.tables(runs) == {
        "kills": 3, "victims": {"runner": 2, "server of tcp": 1}, "trials": {"failed": 1, "ok": 3},
        "wrong": ["sitting 2: left behind: 7: sleep"],
    }  # fmt: skip
