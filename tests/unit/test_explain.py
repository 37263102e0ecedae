"""The life of a message, told from journals: every fate has its sentence, and what cannot be told is said clearly."""

from __future__ import annotations

import json

import make_results
import pytest

from bench import cli, store
from bench.errors import UsageError
from bench.explain import as_text, explain
from bench.journal import ALL, REDELIVERED, REFUSED, Kind, Writer

GO_NS = 1_000_000_000_000
MS = 1_000_000
NUMBER = 1


def write(folder, name, events):
    """A journal of (kind, ms after go, sequences, more)."""
    with Writer(folder, name, 1 << 16) as writer:
        writer.span(Kind.ATTEMPT, trial=NUMBER + 1, producer=0, first=0, count=100)  # another trial's
        for kind, ms, sequences, more in events:
            t = GO_NS + int(ms * MS)
            common = {"trial": NUMBER, "group": more.get("group", ALL)}
            if "position" in more:
                rows = [(0, 0, 0, more.get("attempt", 0), 0, s) for s in sequences]
                writer.placed(kind, rows, range(more["position"], more["position"] + len(rows)), t_first=t, t_last=t, **common)
            else:
                columns = {"sequence": list(sequences), "attempt": more.get("attempt", 0), "flags": more.get("flags", 0)}
                writer.batch(kind, columns, t_first=t, t_last=t, **common)
    return {"name": name, "from": 0, "to": None}


GROUP = {"group": 0}
SENT = [(Kind.ATTEMPT, 10, range(20), {}), (Kind.OK, 12, range(15), {}), (Kind.FAIL, 12, range(15, 17), {})]
CAME = [
    (Kind.RECEIVED, 14, range(12), GROUP),
    (Kind.PROCESSED, 15, [0, 2, 4, 6, 8, 1], GROUP),
    (Kind.PROCESSED, 16, [15, 17], GROUP),
    (Kind.PROCESSED, 20, [2, 99], GROUP | {"flags": REDELIVERED}),
    (Kind.PROCESSED, 21, [10, 11], GROUP | {"position": 70}),
    (Kind.PROCESSED, 25, [10], GROUP | {"position": 70}),
    (Kind.PROCESSED, 26, [11], GROUP | {"position": 90}),
    (Kind.PROCESSED, 27, [0], GROUP | {"attempt": 1}),
    (Kind.ACKED, 28, range(3), GROUP),
    (Kind.RECEIVED, 29, [12], GROUP | {"flags": REFUSED}),
]
DEAD = [(Kind.DEAD, 900, [7], GROUP)]
FAULTS = [
    {"fault": "kill", "target": "consumer.orders.0", "injected_s": 0.0145, "healed_s": 0.019},
    {"fault": "pause", "target": "server.1", "injected_s": 0.5, "healed_s": None},
    {"fault": "stop", "target": "server.1", "injected_s": None, "healed_s": None},
]


@pytest.fixture
def made(tmp_path):
    """A run whose first trial has journals of one producer, one consumer and the dead letters of its group."""
    folder = make_results.make(tmp_path / "run", rounds=1, samples=50)
    evidence = folder / "evidence"
    evidence.mkdir(exist_ok=True)
    path = folder / "trials" / "0001" / "trial.json"
    trial = json.loads(path.read_text())
    named = (("001-x-producer-0", SENT), ("001-x-consumer-orders-0-e1", CAME), ("001-x-dead-orders", DEAD))
    account = {"lost": 6, "persistence": "page cache", "copies": 3, "lost_ids": [[0, 0, 3]], "reordered_ids": [[0, 0, 1]]}
    trial |= {
        "evidence": [write(evidence, name, events) for name, events in named],
        "audit": {"orders": account},
        "workload": {"groups": {"orders": 1}},
        "go_ns": GO_NS,
        "faults": FAULTS,
        "events": [{"t_s": t_s, "who": "consumer-orders-0", "kind": "reconnected", "detail": ""} for t_s in (0.019, 60.0)],
    }
    path.write_text(json.dumps(trial))
    return folder


def said(folder, message):
    return explain(store.open_run(folder), NUMBER, message).said["orders"]


def test_a_lost_message_is_chosen_and_told(made):
    life = explain(store.open_run(made), NUMBER)
    assert (life.message, life.why) == ((0, 0, 3), "lost")
    assert life.said["orders"] == (
        "lost: acknowledged 2.0 ms after it was sent and never processed; consumer.orders.0 had received it 4.0 ms after it was sent; "
        "kill consumer.orders.0 came 500 us after that. Acknowledged means: page cache, copies: 3."
    )
    told = [(round(one.t_s, 4), one.who, one.what) for one in life.moments]
    assert told == [
        (0.01, "producer.0", "attempted"), (0.012, "producer.0", "acknowledged"), (0.014, "consumer.orders.0", "received"),
        (0.0145, "consumer.orders.0", "fault kill injected"), (0.019, "consumer.orders.0", "fault kill healed"),
        (0.019, "consumer-orders-0", "reconnected"), (0.5, "server.1", "fault pause injected"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (4, "processed once by consumer.orders.0, 5.0 ms after it was sent: nothing odd."),
        (1, "out of order: processed once by consumer.orders.0, 5.0 ms after it was sent, when consumer.orders.0 had had later ones"),
        (2, "processed 2 times: first by consumer.orders.0, at last by consumer.orders.0 5.0 ms later (1 x from one write, delivered"),
        (2, "; kill consumer.orders.0 came 5.5 ms before that."),
        (10, "(1 x from one write, delivered again by the broker)"),
        (11, "(1 x from another write, at a position of its own)"),
        (0, "(1 x because the application sent it again)"),
        (7, "given up by the broker, found among the dead letters 890.0 ms after it was sent; not a loss."),
        (15, "processed once by consumer.orders.0, 6.0 ms after it was sent, though the producer was told that it had failed."),
        (16, "refused, and never processed: nothing odd."),
        (17, "recovered: nobody said what became of it, yet it was processed once by consumer.orders.0, 6.0 ms after it was sent"),
        (18, "unknown: nobody said what became of it, and it was never processed; kill consumer.orders.0 came 4.5 ms after that."),
        (12, "given back on purpose by consumer.orders.0 (poison), and never processed; not a loss by the system."),
        (99, "unexpected: delivered, and nobody in this trial attempted it."),
    ],
)
def test_every_fate_has_its_sentence(made, message, sentence):
    assert sentence in said(made, f"0:0:{message}")


def test_of_a_stage_the_output_is_judged_and_the_work_is_told(made):
    """Message 2 was worked on twice and written once, message 6 worked on and never written."""
    path = made / "trials" / "0001" / "trial.json"
    trial = json.loads(path.read_text())
    written = [(Kind.PROCESSED, 30, [2], GROUP | {"position": 5})]
    trial["evidence"].append(write(made / "evidence", "001-x-out-orders", written))
    path.write_text(json.dumps(trial))
    assert said(made, "0:0:2").startswith("processed once by out.orders, 20.0 ms after it was sent")
    assert said(made, "0:0:6").startswith("lost: acknowledged 2.0 ms after it was sent and never processed; consumer.orders.0 had")
    told = [(one.who, one.what) for one in explain(store.open_run(made), NUMBER, "0:0:2").moments if one.group]
    assert told == [
        ("consumer.orders.0", "received"), ("consumer.orders.0", "processed"), ("consumer.orders.0", "processed"),
        ("consumer.orders.0", "acknowledged to the broker"), ("out.orders", "found in the output, written at this time"),
    ]  # fmt: skip


def test_what_was_sent_while_a_fault_was_on_is_told_so(made):
    path = made / "trials" / "0001" / "trial.json"
    trial = json.loads(path.read_text())
    trial["faults"][0] |= {"injected_s": 0.004}
    path.write_text(json.dumps(trial))
    assert "; at that time kill consumer.orders.0 was on, for 6.0 ms" in said(made, "0:0:18")


def test_the_verb_prints_text_or_data(made, capsys):
    assert cli.main(["explain", str(made), "1", "--message", "0:0:11"]) == 0
    text = capsys.readouterr().out
    assert "consumer.orders.0" in text
    assert "processed (group orders, position 71)" in text
    assert text == as_text(explain(store.open_run(made), 1, "0:0:11")) + "\n"
    assert cli.main(["explain", str(made), "1", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["message"] == {"producer": 0, "epoch": 0, "sequence": 3}
    assert data["moments"][0] == {
        "t_s": 0.01, "who": "producer.0", "what": "attempted", "group": None, "attempt": 0, "position": None, "redelivered": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["99"], "no trial 99; its trials are 1 to "),
        (["1", "--message", "0:499"], "should be PRODUCER:EPOCH:SEQUENCE, such as 0:0:499"),
        (["1", "--message", "3:0:4"], "message 3:0:4: nobody in trial 1 attempted or received it"),
        (["2"], "trial 2"),
    ],
)
def test_what_cannot_be_told_is_said(made, capsys, words, told):
    assert cli.main(["explain", str(made), *words]) == 2
    assert told in capsys.readouterr().err


def test_a_committed_run_has_no_journals(made, capsys):
    for path in (made / "evidence").iterdir():
        path.unlink()
    (made / "evidence").rmdir()
    assert cli.main(["explain", str(made), "1"]) == 2
    assert "committed references leave the journals out" in capsys.readouterr().err


def test_nothing_odd_is_no_message(made):
    path = made / "trials" / "0001" / "trial.json"
    trial = json.loads(path.read_text())
    trial["audit"] = {"orders": {"lost": 0, "lost_ids": []}}
    path.write_text(json.dumps(trial))
    with pytest.raises(UsageError, match="nothing in it is lost, repeated, out of order or unknown; name a message"):
        explain(store.open_run(made), 1)
    trial["audit"] = {"orders": {"lost": None, "undelivered": 1, "lost_ids": [[0, 0, 3]]}}
    path.write_text(json.dumps(trial))
    life = explain(store.open_run(made), 1)
    assert life.why == "not delivered when the drain ended"
    assert life.said["orders"].startswith("not there when the drain's deadline passed: acknowledged 2.0 ms")
    path.write_text(json.dumps(trial | {"depth": {"orders": [4, 4]}}))
    life = explain(store.open_run(made), 1)
    held = "held by the broker still, which had 4 messages for this group: acknowledged 2.0 ms"
    assert life.said["orders"].startswith(f"not lost and not delivered: {held}")
    trial["audit"]["orders"]["lost"] = 1
    path.write_text(json.dumps(trial | {"depth": {"orders": [4, 4]}}))
    assert explain(store.open_run(made), 1).said["orders"].startswith(f"lost or, as others of its group are, {held}")


def test_a_guarantees_run_removes_what_surprised_nobody(made, capsys):
    path = made / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kind": "guarantees"}))
    assert cli.main(["explain", str(made), "1"]) == 0  # this trial's are there
    for journal in (made / "evidence").glob("001-*"):
        journal.unlink()
    capsys.readouterr()
    assert cli.main(["explain", str(made), "1"]) == 2
    told = capsys.readouterr().err
    assert "the journals of trial 1 were removed, as nothing in it surprised" in told
    assert "--keep-evidence keeps all" in told
