"""The suite is tested itself: an adapter that breaks one promise on purpose must fail the checks, and say what broke.

Each is the memory adapter with one fault wrapped around it, and runs through the very functions of checks.py.
"""

import dataclasses
import time

import checks
import harness
import pytest
from checks import (
    CHECKS,
    closes_twice,
    delivers,
    describes_itself,
    failures,
    fans_out,
    honours_back_pressure,
    is_seen_by_a_witness,
    keeps_lanes,
    outlives_idling,
    redelivers_what_was_not_acknowledged,
    refuses_unknown_settings,
    refuses_what_is_too_large,
    returns_from_an_empty_poll,
    settles_one_by_one,
    shares_work,
    tells_its_depth,
    tells_when_it_is_ready,
)
from harness import Case
from witness import MemoryWitness

from adapters.base import Batch, Event, Status
from adapters.errors import AdapterError, Refused
from adapters.memory import Memory, MemoryConsumer, MemoryProducer, hub_of


class DroppingProducer(MemoryProducer):
    """Says that it took every 1,000th message, and does not."""

    def _append(self, block, lo, hi):
        rows = block.messages(lo, hi)
        for done, payload in enumerate(rows):
            self.seen = getattr(self, "seen", 0) + 1
            if self.seen % 1000 and not self._hub.append(block.partitions[lo + done], payload):
                self.seen -= 1
                return done
        return hi - lo


class RepeatingProducer(MemoryProducer):
    def _append(self, block, lo, hi):
        taken = super()._append(block, lo, hi)
        if taken:
            super()._append(block, lo, lo + 1)
        return taken


class CorruptingProducer(MemoryProducer):
    """As a client would that takes payloads for text."""

    def _append(self, block, lo, hi):
        for done, payload in enumerate(block.messages(lo, hi)):
            if not self._hub.append(block.partitions[lo + done], payload.decode("utf-8", "replace").encode()):
                return done
        return hi - lo


class BoastingProducer(MemoryProducer):
    """Reports more than was accepted: what back-pressure held back counts as sent."""

    def send(self, block, lo, hi, timeout_s, group=-1):
        super().send(block, lo, hi, timeout_s, group)
        return hi - lo


class LyingProducer(MemoryProducer):
    """Confirms every message twice."""

    def pump(self, timeout_s):
        again = list(self._unreported)
        super().pump(timeout_s)
        for first, count in again:
            self._outcomes.run(first, count, Status.CONFIRMED)


class SilentProducer(MemoryProducer):
    """Forgets the confirmation of each send's last message, and says that nothing is open."""

    def pump(self, timeout_s):
        self._unreported = type(self._unreported)((first, count - 1) for first, count in self._unreported)
        super().pump(timeout_s)


class WrongIdProducer(MemoryProducer):
    def pump(self, timeout_s):
        self._unreported = type(self._unreported)((first + 1, count) for first, count in self._unreported)
        super().pump(timeout_s)


class BlockingProducer(MemoryProducer):
    def send(self, block, lo, hi, timeout_s, group=-1):
        time.sleep(1.2)
        return super().send(block, lo, hi, timeout_s, group)


class SwallowingProducer(MemoryProducer):
    """Drops what is too large, and says that it took it."""

    def send(self, block, lo, hi, timeout_s, group=-1):
        try:
            return super().send(block, lo, hi, timeout_s, group)
        except Refused:
            return hi - lo


class LastRowFirstProducer(MemoryProducer):
    """Turns each send around: order within a lane is lost."""

    def _append(self, block, lo, hi):
        rows = list(block.messages(lo, hi))[::-1]
        for payload in rows:
            self._hub.append(block.partitions[lo], payload)
        return hi - lo


class EagerConsumer(MemoryConsumer):
    """Acknowledges on receipt: what was not processed is lost with it."""

    def poll(self, max_messages, timeout_s):
        batch = super().poll(max_messages, timeout_s)
        if batch is not None:
            super().ack(batch, batch.count)
        return batch


class ForgetfulConsumer(MemoryConsumer):
    """Acknowledges nothing."""

    def ack(self, batch, upto):
        pass


class WholeBatchConsumer(MemoryConsumer):
    """Acknowledges the whole batch when asked for a part of it."""

    def ack(self, batch, upto):
        super().ack(batch, batch.count)


class UnmarkedConsumer(MemoryConsumer):
    def poll(self, max_messages, timeout_s):
        batch = super().poll(max_messages, timeout_s)
        return batch and dataclasses.replace(batch, redelivered=[False] * batch.count)


class GreedyConsumer(MemoryConsumer):
    """Hands over more than was asked for."""

    def poll(self, max_messages, timeout_s):
        return super().poll(max_messages * 2, timeout_s)


class ReusingConsumer(MemoryConsumer):
    """Hands over the same buffer each time, overwritten."""

    buffer = bytearray(1 << 20)

    def poll(self, max_messages, timeout_s):
        batch = super().poll(1, timeout_s)
        if batch is None:
            return None
        payload = batch.payloads[0]
        self.buffer[: len(payload)] = payload
        return Batch(buffer=memoryview(self.buffer)[: len(payload)], size=len(payload), count=1, token=batch.token)


class SleepingConsumer(MemoryConsumer):
    def poll(self, max_messages, timeout_s):
        batch = super().poll(max_messages, timeout_s)
        if batch is None and timeout_s == 0:
            time.sleep(1.2)
        return batch


class ChattyConsumer(MemoryConsumer):
    """Tells of each event again and again."""

    def events(self):
        super().events()
        return [Event("ready"), Event("assigned", partitions=self._mine)]


class HastyConsumer(MemoryConsumer):
    def idle(self, seconds):
        pass


class FragileConsumer(MemoryConsumer):
    def close(self):
        self._hub.members[self._group].remove(self)
        self._hub.share_out(self._group)


class EverythingConsumer(MemoryConsumer):
    """Each member reads all partitions: work is done twice."""

    def _take(self, max_messages):
        self._mine = tuple(range(len(self._cursors)))
        self._cursors = [dataclasses.replace(cursor) for cursor in self._cursors] if not hasattr(self, "own") else self._cursors
        self.own = True
        return super()._take(max_messages)


def broken(producer=MemoryProducer, consumer=MemoryConsumer, **capabilities):
    """The memory adapter with one part exchanged."""

    class Broken(Memory):
        def producer(self, wiring, index, outcomes):
            return producer(hub_of(wiring), outcomes)

        def consumer(self, wiring, group, member):
            return consumer(hub_of(wiring), group)

    Broken.capabilities = dataclasses.replace(Memory.capabilities, **capabilities)
    return Broken


class Lenient(Memory):
    """Takes any setting without a word."""

    def __init__(self, options):
        super().__init__(dataclasses.replace(options, settings={}))


class Hoarding(Memory):
    """Counts what was acknowledged as held still."""

    def depth(self, wiring, group):
        return sum(log.base + len(log.messages) for log in hub_of(wiring).logs)


class Absent(Memory):
    """Says that nothing is held, whatever lies there."""

    def depth(self, wiring, group):
        return 0


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """What never comes need not be waited for as long as on a real server."""
    monkeypatch.setattr(checks, "REDELIVERY_S", 2.0)
    monkeypatch.setattr(checks, "COUNTED_S", 0.2)
    monkeypatch.setattr(harness, "ARRIVE_S", 2.0)


FAULTS = [
    (broken(DroppingProducer), fans_out, "are missing"),
    (broken(DroppingProducer), honours_back_pressure, "were accepted"),
    (broken(RepeatingProducer), delivers, "more than once"),
    (broken(RepeatingProducer), is_seen_by_a_witness, "the witness sees"),
    (broken(CorruptingProducer), delivers, "not as it was sent"),
    (broken(BoastingProducer), honours_back_pressure, "were accepted"),
    (broken(LyingProducer), fans_out, "not one CONFIRMED"),
    (broken(SilentProducer), fans_out, "have no outcome"),
    (broken(WrongIdProducer), fans_out, "no outcome"),
    (broken(BlockingProducer), honours_back_pressure, "blocked"),
    (broken(SwallowingProducer), refuses_what_is_too_large, "came to None"),
    (broken(LastRowFirstProducer), keeps_lanes, "after"),
    (broken(consumer=EagerConsumer), redelivers_what_was_not_acknowledged, "then came"),
    (broken(consumer=ForgetfulConsumer), redelivers_what_was_not_acknowledged, "then came"),
    (broken(consumer=WholeBatchConsumer), redelivers_what_was_not_acknowledged, "then came"),
    (broken(consumer=UnmarkedConsumer), redelivers_what_was_not_acknowledged, "not marked"),
    (broken(consumer=GreedyConsumer), honours_back_pressure, "handed over"),
    (broken(consumer=ReusingConsumer), delivers, "missing|not as it was sent"),
    (broken(consumer=SleepingConsumer), returns_from_an_empty_poll, "took"),
    (broken(consumer=ChattyConsumer), tells_when_it_is_ready, "ready twice"),
    (broken(consumer=HastyConsumer), outlives_idling, "idle"),
    (broken(consumer=EverythingConsumer), shares_work, "more than once"),
    (broken(send_per_group=True), describes_itself, "emulated"),
    (broken(stores=False), describes_itself, "stored"),
    (broken(settle=True), settles_one_by_one, "log is acknowledged"),
    (Lenient, refuses_unknown_settings, "DID NOT RAISE"),
    (Hoarding, tells_its_depth, "all 30 were acknowledged"),
    (Absent, tells_its_depth, "nobody has received one"),
]


@pytest.mark.parametrize(("adapter", "check", "says"), FAULTS)
def test_the_suite_catches(adapter, check, says):
    with pytest.raises((AssertionError, AdapterError, pytest.fail.Exception), match=says):
        check(Case("memory", adapter, [], MemoryWitness))


def test_the_suite_passes_what_is_whole():
    assert failures(Case("memory", broken(), [], MemoryWitness), CHECKS) == {}


def test_a_consumer_that_cannot_be_closed_twice_is_caught():
    with pytest.raises(ValueError, match="not in list"):
        closes_twice(Case("memory", broken(consumer=FragileConsumer), [], MemoryWitness))


def test_a_system_without_a_witness_is_caught():
    with pytest.raises(AssertionError, match="has no witness"):
        is_seen_by_a_witness(Case("memory", Memory, []))
