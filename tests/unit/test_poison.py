"""Poison is given back and journalled, the loop sees all else; dead letters are journalled until all that was given back is there."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_consuming import LOAD

from adapters.base import Batch
from bench import header, journal
from bench.clock import now_ns
from bench.dead_letters import MEMBER, Letters
from bench.journal import CORRUPT, REDELIVERED, REFUSED, Kind, Writer
from bench.keys import Router
from bench.payload import Block, Pool
from bench.poison import Sifter, row_of

RUN, TRIAL = 7, 3


def messages(count, *, first=0, run=RUN, flags=0):
    block = Block(Pool(1, 100), Router("round-robin", 1), 100, run=run, trial=TRIAL, producer=2, flags=flags)
    block.fill(first, np.zeros(block.count, dtype=np.int64))
    block.stamp(0, block.count, 1)
    return list(block.messages(0, count))


class Queue:
    """A consumer as the contract has it; what is requeued comes again, marked."""

    def __init__(self, payloads):
        self.inbox = deque((payload, False) for payload in payloads)
        self.settled = []
        self.acked = []

    def poll(self, max_messages, timeout_s):
        taken = [self.inbox.popleft() for _ in range(min(max_messages, len(self.inbox)))]
        if not taken:
            return None
        payloads, redelivered = zip(*taken, strict=True)
        return Batch(payloads=payloads, count=len(taken), redelivered=redelivered, token="whole")

    def settle(self, batch, index, how):
        self.settled.append((header.sequence_of(batch.payloads[index]), how))
        if how == "requeue":
            self.inbox.append((batch.payloads[index], True))

    def ack(self, batch, upto):
        self.acked.append((batch.token, upto))


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.integers(2, 9), st.sampled_from(["requeue", "reject"]))
def test_what_passes_and_what_goes_back_is_everything_once(tmp_path_factory, polls, every, how):
    folder = tmp_path_factory.mktemp("poison")
    load = LOAD.__class__(**{**LOAD.__dict__, "poison_every": every, "poison_how": how})
    inner = Queue(messages(sum(polls)))
    with Writer(folder, "w", segment_b=1 << 16) as writer:
        sifter = Sifter(inner, writer, load, run=RUN, group=1)
        passed = []
        for size in polls:
            batch = sifter.poll(size, 0)
            if batch is None:
                continue
            passed += [header.sequence_of(payload) for payload in batch.payloads]
            assert batch.count == len(batch.payloads) == len(batch.redelivered)
            sifter.ack(batch, batch.count)
            whole, upto = inner.acked[-1]
            assert whole == "whole"
            assert upto >= batch.count
    poison = [number for number in range(sum(polls)) if number % every == every - 1]
    given_back = [number for number, _ in inner.settled]
    assert set(given_back) <= set(poison)
    assert not set(passed) & set(poison)
    if how == "reject":
        assert sorted(passed + given_back) == list(range(sum(polls)))
    assert {each for _, each in inner.settled} <= {how}
    rows = journal.read(folder, "w").rows
    assert rows["count"].sum() == len(given_back) == sifter.deliveries(TRIAL)
    assert sifter.messages(TRIAL) == len(set(given_back))
    assert (rows["kind"] == Kind.RECEIVED).all()
    assert (rows["flags"] & REFUSED != 0).all()
    assert (rows["group"] == 1).all()
    assert (rows["trial"] == TRIAL).all()


def test_the_second_time_is_marked_and_a_poll_of_poison_alone_is_none(tmp_path):
    load = LOAD.__class__(**{**LOAD.__dict__, "poison_every": 2})
    inner = Queue(messages(2))
    with Writer(tmp_path, "w", segment_b=1 << 16) as writer:
        sifter = Sifter(inner, writer, load, run=RUN, group=0)
        assert len(sifter.poll(10, 0).payloads) == 1
        assert sifter.poll(10, 0) is None
        assert sifter.report(TRIAL) == {"messages": 1, "deliveries": 2}
        assert sifter.report(TRIAL + 1) == {"messages": 0, "deliveries": 0}
    assert journal.read(tmp_path, "w").rows["flags"].tolist() == [REFUSED, REFUSED | REDELIVERED]


@pytest.mark.parametrize(
    "payload",
    [b"", b"short", messages(2, run=RUN + 1)[1], messages(2, flags=header.CANARY)[1], messages(2)[1][:63] + b"\0"],
    ids=["empty", "short", "another run's", "canary", "damaged"],
)
def test_what_is_not_ours_to_refuse_passes(tmp_path, payload):
    load = LOAD.__class__(**{**LOAD.__dict__, "poison_every": 2})
    assert row_of(payload, RUN) is None
    with Writer(tmp_path, "w", segment_b=1 << 16) as writer:
        assert Sifter(Queue([payload]), writer, load, run=RUN, group=0).poll(1, 0).payloads == [payload]


class DeadLetterQueue:
    """Hands out what it is scripted to: a list a call, then nothing."""

    def __init__(self, *calls):
        self.calls = deque(calls)

    def dead_letters(self, wiring, group):
        return self.calls.popleft() if self.calls else []


def test_letters_are_waited_for_and_journalled_for_their_own_trial(tmp_path):
    one, two, damaged = messages(1), messages(2)[1:], messages(1)[0][:70]
    queue = DeadLetterQueue([], one, [*two, damaged[:40]])
    letters = Letters(queue, {}, ["g"], run=RUN, evidence=tmp_path, prefix="001")
    (source,) = letters.collect(TRIAL, {"g": 2}, now_ns() + 30_000_000_000, lambda: None)
    letters.close()
    assert (source.name, source.group, source.member, source.start, source.stop) == ("001-dead-g", 0, MEMBER, 0, 3)
    rows = journal.read(tmp_path, source.name).rows
    assert rows["kind"].tolist() == [Kind.DEAD, Kind.DEAD, Kind.RECEIVED]
    assert rows["first"][:2].tolist() == [0, 1]
    assert rows["flags"].tolist() == [0, 0, CORRUPT]


def test_without_poison_the_queue_is_read_once_and_at_the_deadline_the_wait_is_over(tmp_path):
    queue = DeadLetterQueue(messages(1), messages(1))
    letters = Letters(queue, {}, ["g"], run=RUN, evidence=tmp_path, prefix="001")
    letters.collect(TRIAL, {"g": 0}, now_ns() + 30_000_000_000, lambda: None)
    assert len(queue.calls) == 1
    (source,) = letters.collect(TRIAL, {"g": 5}, now_ns(), lambda: None)
    assert (source.start, source.stop) == (1, 2)
    letters.close()
