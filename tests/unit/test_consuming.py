"""The consumer's loop: what is acknowledged is in the journal, at the scenario's cadence; an idle consumer costs one poll."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
import pytest

from adapters.base import Batch
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from bench import journal
from bench.consuming import ConsumerLoop
from bench.journal import Kind, Writer
from bench.keys import Router
from bench.payload import Block, Pool
from bench.workload import Workload

MODE = Mode("m", Delivery.AT_LEAST_ONCE, "queue", Persistence.MEMORY, 1, "", "", "")
CAPABILITIES = Capabilities(
    system="S", client="", architecture="broker", intermediary=True, stores=True, fan_out=Support.NATIVE, work_sharing=Support.NATIVE,
    partitions=Support.UNSUPPORTED, modes=(MODE,), confirms=True, acks=True, assignment=Assignment.SHARED, payload_bytes_max=1 << 20,
)  # fmt: skip
LOAD = Workload(
    rate_per_s=100.0, size_b=100, warmup_s=0.0, measure_s=1.0, drain_s=1.0, tick_s=0.0005, batch=10,
    ack_every=25, ack_interval_s=3600.0, window=100, producers=1, groups=(("a", 1),), partitions=1,
    routing="round-robin", key_count=0, key_zipf=0.0, seed=1,
)  # fmt: skip


class Scripted:
    """A consumer that hands out what it was given, and notes polls, acknowledgements and what the journal held at each."""

    def __init__(self, folder):
        self.inbox = deque()
        self.polls = 0
        self.acked = []
        self.journalled = []
        self.folder = folder

    def poll(self, max_messages, timeout_s):
        self.polls += 1
        if not self.inbox:
            return None
        payloads = [self.inbox.popleft() for _ in range(min(max_messages, len(self.inbox)))]
        return Batch(payloads=payloads, count=len(payloads))

    def ack(self, batch, upto):
        self.acked.append(upto)
        rows = journal.read(self.folder, "w").rows
        self.journalled.append(int(rows["count"][rows["kind"] == Kind.PROCESSED].sum()))


@pytest.fixture
def stage(tmp_path):
    def make(capabilities=CAPABILITIES, load=LOAD):
        consumer = Scripted(tmp_path)
        loop = ConsumerLoop(consumer, capabilities, Writer(tmp_path, "w"), load, run=7, group=0, name="a", member=0)
        loop.prepare(load, 1)
        block = Block(Pool(1, 100), Router("round-robin", 1), 100, run=7, trial=1, producer=0)
        block.fill(0, np.zeros(block.count, dtype=np.int64))
        block.stamp(0, block.count, 1)
        consumer.inbox.extend(block.messages(0, 60))
        return consumer, loop

    return make


def test_an_idle_turn_polls_once(stage):
    consumer, loop = stage()
    consumer.inbox.clear()
    loop.turn(0.0)
    assert consumer.polls == 1


def test_acknowledged_means_journalled_and_at_the_cadence(stage):
    consumer, loop = stage()
    for _ in range(6):
        loop.turn(0.001)
    assert consumer.journalled == [30, 60]  # batches of 10, an acknowledgement after at least 25
    assert consumer.acked == [10, 10]  # cumulative: the last batch, whole
    assert loop.account.received == 60


def test_what_is_left_is_acknowledged_when_it_is_old_enough(stage):
    consumer, loop = stage(load=replace(LOAD, ack_every=1000, ack_interval_s=0.002))
    for _ in range(3):
        loop.turn(0.001)
    assert consumer.journalled[-1] == 60


def test_without_acknowledgements_nothing_waits(stage):
    consumer, loop = stage(capabilities=replace(CAPABILITIES, acks=False))
    for _ in range(3):
        loop.turn(0.001)
    assert loop.account.received == 60
    assert consumer.acked == []


def test_a_flush_accounts_the_rest(stage):
    consumer, loop = stage()
    loop.turn(0.0)
    assert loop.account.received == 0
    loop.flush()
    assert loop.account.received == 10
    assert consumer.journalled == [10]
