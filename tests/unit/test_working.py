"""A consumer that works: received, worked on, processed, acknowledged, each in the journal in this order and at the cadence."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from test_consuming import CAPABILITIES, LOAD

from adapters.base import Batch
from bench import journal
from bench.faults.model import Fault
from bench.journal import CANARY, Kind, Writer
from bench.keys import Router
from bench.payload import Block, Pool
from bench.working import WorkingLoop, heads_of, wanted

WORK = replace(LOAD, processing_s=(0.001,), ack_every=4)


class Client:
    """Hands out what it was given in polls; keeps, at each acknowledgement, what the journal held."""

    def __init__(self, folder, *, buffers):
        self.inbox = deque()
        self.folder, self.buffers = folder, buffers
        self.idled_s = 0.0
        self.acked = []
        self.takes = [True] * 100  # what ack() answers

    def poll(self, max_messages, timeout_s):
        if not self.inbox:
            time.sleep(timeout_s)
            return None
        payloads = [self.inbox.popleft() for _ in range(min(max_messages, len(self.inbox)))]
        if self.buffers:
            return Batch(buffer=memoryview(b"".join(payloads)), size=len(payloads[0]), count=len(payloads), token=payloads[0])
        return Batch(payloads=payloads, count=len(payloads), redelivered=[False] * len(payloads), token=payloads[0])

    def idle(self, seconds):
        self.idled_s += seconds

    def ack(self, batch, upto):
        self.acked.append((batch.token, upto, self.counts()))
        return self.takes.pop()

    def counts(self):
        rows = journal.read(self.folder, "w").rows
        return {kind.name: int(rows["count"][rows["kind"] == kind].sum()) for kind in (Kind.RECEIVED, Kind.PROCESSED, Kind.ACKED)}


@pytest.fixture
def stage(tmp_path):
    def make(capabilities=CAPABILITIES, load=WORK, n=10, buffers=False, flags=0):
        client = Client(tmp_path, buffers=buffers)
        loop = WorkingLoop(client, capabilities, Writer(tmp_path, "w"), load, run=7, group=0, name="a", member=0)
        loop.prepare(load, 1)
        block = Block(Pool(1, 100), Router("round-robin", 1), 100, run=7, trial=1, producer=0, flags=flags)
        block.fill(0, np.zeros(block.count, dtype=np.int64))
        block.stamp(0, block.count, 1)
        client.inbox.extend(block.messages(0, n))
        return client, loop

    return make


def turned(loop, turns=4):
    for _ in range(turns):
        loop.turn(0.001)


@pytest.mark.parametrize("buffers", [False, True])
def test_acknowledged_is_what_was_processed(stage, buffers):
    client, loop = stage(buffers=buffers)
    turned(loop)
    # Chunks of 5 messages (5 ms of work), an acknowledgement as soon as there are 4: within the batch of 10, by `upto`.
    assert [(upto, held["PROCESSED"]) for _, upto, held in client.acked] == [(5, 5), (10, 10)]
    assert [held["RECEIVED"] for *_, held in client.acked] == [10, 10]
    assert client.counts() == {"RECEIVED": 10, "PROCESSED": 10, "ACKED": 10}
    assert loop.account.received == 10
    assert client.idled_s >= 0.009


def test_acknowledged_before_it_is_processed_where_the_mode_says_so(stage):
    client, loop = stage(capabilities=replace(CAPABILITIES, ack_first=True))
    loop.turn(0.0)
    assert [(upto, held) for _, upto, held in client.acked] == [(10, {"RECEIVED": 10, "PROCESSED": 0, "ACKED": 0})]
    turned(loop)
    assert client.counts() == {"RECEIVED": 10, "PROCESSED": 10, "ACKED": 10}
    assert len(client.acked) == 1


def test_what_could_not_be_acknowledged_before_it_was_processed_is_not_processed(stage):
    """A member that is out of its group: the batch comes again, to it or to another."""
    client, loop = stage(capabilities=replace(CAPABILITIES, ack_first=True))
    again = list(client.inbox)
    client.takes.append(False)
    turned(loop)
    assert client.counts() == {"RECEIVED": 10, "PROCESSED": 0, "ACKED": 0}
    client.inbox.extend(again)
    turned(loop)
    assert client.counts() == {"RECEIVED": 20, "PROCESSED": 10, "ACKED": 10}


def test_without_acknowledgements_received_and_processed_are_told_apart(stage):
    client, loop = stage(capabilities=replace(CAPABILITIES, acks=False))
    turned(loop)
    assert client.counts() == {"RECEIVED": 10, "PROCESSED": 10, "ACKED": 0}
    assert client.acked == []


def test_what_is_left_is_acknowledged_when_it_is_old_enough(stage):
    client, loop = stage(load=replace(WORK, ack_every=1000, ack_interval_s=0.001), n=3)
    turned(loop)
    assert client.acked[-1][1] == 3
    assert client.counts()["ACKED"] == 3


def test_one_that_leaves_finishes_what_it_has_and_polls_no_more(stage):
    client, loop = stage(load=replace(WORK, ack_every=1000, ack_interval_s=3600.0), n=15)
    loop.turn(0.0)  # has a poll of 10
    while not loop.finish():
        pass
    assert client.counts() == {"RECEIVED": 10, "PROCESSED": 10, "ACKED": 10}
    assert len(client.inbox) == 5


def test_slow_takes_effect_at_the_next_chunk(stage):
    client, loop = stage(load=replace(WORK, processing_s=()), n=10)
    assert loop.processing_s == 0.0
    loop.processing_s = 0.004
    turned(loop)
    assert client.idled_s >= 0.04 * 0.9


def test_canaries_are_no_work_and_no_evidence(stage):
    client, loop = stage(flags=CANARY)
    turned(loop)
    assert client.counts() == {"RECEIVED": 0, "PROCESSED": 0, "ACKED": 0}
    assert loop.account.canaries == {(0, 0)}


def test_damage_is_counted_and_trusted_nowhere(stage):
    client, loop = stage(n=3, load=replace(WORK, ack_every=1))
    client.inbox[1] = client.inbox[1][:30]
    client.inbox[2] = client.inbox[2][:24] + b"\xff" + client.inbox[2][25:]
    turned(loop)
    assert (loop.account.received, loop.account.corrupted) == (1, 2)
    assert client.counts() == {"RECEIVED": 3, "PROCESSED": 1, "ACKED": 1}  # the two damaged: RECEIVED, without an id


def test_heads_are_rows_of_the_header():
    assert heads_of([b"", b"x" * 63]).tolist() == [heads_of([b""])[0].item()] * 2
    assert len(heads_of([])) == 0


def test_who_works():
    assert not wanted(LOAD, CAPABILITIES)
    assert wanted(WORK, CAPABILITIES)
    assert wanted(LOAD, replace(CAPABILITIES, ack_first=True))
    assert not wanted(LOAD, replace(CAPABILITIES, ack_first=True, acks=False))
    assert wanted(replace(LOAD, faults=(Fault("slow", "consumer.a", at_s=0.0, processing_s=1.0),)), CAPABILITIES)
