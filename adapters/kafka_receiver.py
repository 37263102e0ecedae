"""Kafka's receiving side: a KafkaConsumer in its group, and its commits, after processing or before it.

After: offsets are committed with ``commit_async``, as brokers' own benchmarks do. One commit is in flight at a time, and what is
acknowledged meanwhile goes with the next one, at the next ack() or poll(); one that failed because no broker answered goes
again; close() commits the rest and waits for it. A commit can only lag behind what was processed, so a crash repeats
messages and never skips one.

Before: ack() commits and waits for the answer. Where it fails, what it was to acknowledge must not be processed: ack() returns
False, and the consumer goes back to its first message, so that it comes again.

A commit that fails, and the ack of a batch whose partition went to another member, is the event "ack-failed"; one a cause,
not one a try.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors

from adapters.base import Batch, Event
from adapters.errors import Unsupported
from adapters.kafka_client import CLOSE_S, Connections, drained
from adapters.kafka_shared import BEFORE_S, Done, acknowledged

AGAIN_S = 0.1  # between two tries to commit while no broker answers
ASK_S = 0.5  # between two looks at a topic of which this member has got nothing
JOIN_S = 2.0  # how long it has nothing before it joins anew


@dataclass
class Polled:
    """What one poll() gave: rows start..end of each partition, and how often that partition had been taken away by then."""

    serial: int
    segments: list[tuple[TopicPartition, int, int, int]]
    positions: Sequence[int]
    records: Mapping[TopicPartition, Sequence[Any]]  # where Receiver.keeps_records, else none
    done: int = 0  # the first messages that are committed: of a Processor


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python ships no types
    """Keeps the whole assignment; runs in the client's thread."""

    def __init__(self, events: deque[Event]) -> None:
        self._events = events
        self.owned: frozenset[TopicPartition] = frozenset()
        self.taken: dict[TopicPartition, int] = {}  # how often each was taken away
        self.bare = False  # the last rebalance that is over left this member with nothing
        self.changes = 0  # of the assignment

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """A rebalance begins: these may go to another member."""
        for partition in revoked:
            self.taken[partition] = self.taken.get(partition, 0) + 1
        if self.owned:
            self._now(self.owned.difference(revoked))

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """This member was dropped from its group."""
        self.on_partitions_revoked(lost)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """A rebalance is over."""
        self._now(self.owned.union(assigned))
        self.bare = not self.owned

    def _now(self, owned: frozenset[TopicPartition]) -> None:
        self.owned = owned
        self.changes += 1
        self._events.append(Event("assigned", partitions=tuple(sorted(each.partition for each in owned))))

    def holds(self, partition: TopicPartition, taken: int) -> bool:
        """Whether the partition is this member's and was not taken away since."""
        return partition in self.owned and self.taken.get(partition, 0) == taken


class Receiver:
    """A KafkaConsumer in its group, by subscription."""

    keeps_records = False  # kafka-python's own, until they are acknowledged

    def __init__(self, client: Any, topic: str, *, before: bool, spare: bool = False) -> None:
        """``spare``: the group has more members than partitions, so that one may well be left with nothing."""
        self._client = client
        self._spare = spare
        self._ask_s = self._join_s = 0.0
        self._topic = topic
        self._before = before
        self._events: deque[Event] = deque()
        self._listener = _Listener(self._events)
        self._connections = Connections(client)
        self._serial = 0
        self._unacked: deque[Polled] = deque()
        self._pending: dict[TopicPartition, Done] = {}  # acknowledged, not committed
        self._flying: dict[TopicPartition, Done] = {}  # in the commit that is under way
        self._again_s = 0.0  # no commit before it: the last one found no broker
        self._was_ready = False
        self._closed = False
        client.subscribe([topic], listener=self._listener)

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """Up to ``max_messages``, waiting at most ``timeout_s`` seconds for the first. The group is joined in here."""
        if self._closed:
            return None
        self._commit()
        try:
            if self._listener.bare:
                self._ask_again()
            elif self._ask_s:
                self._ask_s = 0.0
            polled = self._client.poll(timeout_s * 1000, max_messages)
        except kafka_errors.KafkaError as error:
            self._events.append(Event("error", repr(error)))
            return None
        if not polled:
            return None
        payloads: list[bytes] = []
        positions: list[int] = []
        segments = []
        taken = self._listener.taken
        for partition, records in polled.items():
            segments.append((partition, len(payloads), len(payloads) + len(records), taken.get(partition, 0)))
            payloads += [record.value for record in records]
            positions += [record.offset for record in records]
        self._serial += 1
        token = Polled(self._serial, segments, positions, polled if self.keeps_records else {})
        self._unacked.append(token)
        return Batch(payloads=payloads, count=len(payloads), positions=positions, token=token)

    def _ask_again(self) -> None:
        """Look for the topic, and where it is known and this member has nothing all the same, leave the group and join anew.

        A leader that shares out before it has heard of the topic gives nobody anything. kafka-python (3.0.12) asks for it no more then;
        and where the topic became known while it shared out, it takes what it gave for what there is (seen on a busy machine,
        for as long as it was watched: 40 s).
        """
        now = time.monotonic()
        if now < self._ask_s:
            return
        if not self._ask_s:
            self._join_s = now + JOIN_S
        self._ask_s = now + ASK_S
        known = self._client.partitions_for_topic(self._topic)
        if known and now >= self._join_s and not self._spare:
            self._join_s = now + 5 * JOIN_S  # joining is not to be disturbed
            self._events.append(Event("error", "nothing was assigned, though the topic is known: joins anew"))
            self._client.unsubscribe()
            self._client.subscribe([self._topic], listener=self._listener)

    def ack(self, batch: Batch, upto: int) -> bool:
        """Commits the offsets of all polled before and of ``upto`` messages of this batch.

        After processing it goes on in the background; before processing it waits, and False means: process none of it.
        """
        if self._closed:
            self._events.append(Event("ack-failed", "the consumer is closed"))
            return False
        lost: set[int] = set()
        for polled, many in acknowledged(self._unacked, batch, upto):
            self._take(polled, many, lost)
        if lost:
            self._events.append(Event("ack-failed", f"partitions {sorted(lost)} went to another member: they are delivered again"))
        if self._before:
            return self._commit_and_wait(refused=bool(lost))
        self._commit()
        return not lost

    def _take(self, polled: Polled, upto: int, lost: set[int]) -> None:
        positions = polled.positions
        for partition, start, end, taken in polled.segments:
            if start >= upto:
                break
            if self._listener.holds(partition, taken):
                earlier = self._pending.get(partition)
                first = positions[start] if earlier is None else earlier.first
                self._pending[partition] = Done(first, positions[min(end, upto) - 1], taken)
            else:
                lost.add(partition.partition)

    def _mine(self, offsets: dict[TopicPartition, Done]) -> dict[TopicPartition, Done]:
        """Those of partitions that are still this member's: a broker would take the others too, and set their new owner back."""
        return {partition: done for partition, done in offsets.items() if self._listener.holds(partition, done.taken)}

    def _commit(self) -> None:
        """Sends what is pending unless a commit is under way."""
        if not self._pending or self._flying or (self._again_s and time.monotonic() < self._again_s):
            return
        pending, self._pending = self._pending, {}
        self._flying = self._mine(pending)
        if len(self._flying) < len(pending):
            gone = sorted(each.partition for each in pending.keys() - self._flying.keys())
            self._events.append(Event("ack-failed", f"partitions {gone} went to another member: they are delivered again"))
        if not self._flying:
            return
        try:
            self._client.commit_async(_offsets(self._flying), self._committed)
        except kafka_errors.KafkaError as error:
            self._committed(None, error)

    def _committed(self, _offsets: Any, result: Any) -> None:
        """kafka-python calls it from within poll() and commit()."""
        sent, self._flying = self._flying, {}
        if not isinstance(result, BaseException):
            self._again_s = 0.0
            return
        if not isinstance(result, kafka_errors.RetriableError):  # this member is out of its group
            self._events.append(Event("ack-failed", repr(result)))
            return
        self._pending = sent | self._pending
        if not self._again_s:
            self._events.append(Event("ack-failed", f"{result!r}: it goes again"))
        self._again_s = time.monotonic() + AGAIN_S

    def _commit_and_wait(self, *, refused: bool) -> bool:
        """Commits what is pending, all of it or, where some of it was ``refused`` already, nothing."""
        pending, self._pending = self._mine(self._pending), {}
        if not refused:
            if not pending:
                return True
            try:
                self._client.commit(_offsets(pending), BEFORE_S * 1000)
            except kafka_errors.KafkaError as error:
                self._events.append(Event("ack-failed", repr(error)))
            else:
                return True
        for partition, done in pending.items():
            self._listener.taken[partition] = done.taken + 1  # what was polled of it and not acknowledged comes again, too
            with contextlib.suppress(kafka_errors.KafkaError, AssertionError):  # taken away meanwhile
                self._client.seek(partition, done.first)
        return False

    def settle(self, batch: Batch, index: int, how: str) -> None:  # noqa: ARG002  # the contract's
        """Not there: a log has offsets, no single messages to settle (capabilities.settle is False)."""
        raise Unsupported("Kafka commits offsets: it cannot settle a single message")

    def idle(self, seconds: float) -> None:
        """A plain wait: kafka-python's own thread sends the heartbeats (up to max_poll_interval_ms between two polls)."""
        time.sleep(max(seconds, 0.0))

    def events(self) -> Sequence[Event]:
        """What happened since the last call."""
        if not self._was_ready and any(event.kind == "assigned" for event in tuple(self._events)):
            self._was_ready = True
            self._events.appendleft(Event("ready"))
        if not self._closed:
            self._events += self._connections.changes()
        return drained(self._events)

    def close(self) -> None:
        """Commits what was acknowledged (at most 2 s), leaves the group. Idempotent."""
        if self._closed:
            return
        self._closed = True
        left = self._mine(self._flying | self._pending)
        if left:
            try:
                self._client.commit(_offsets(left), CLOSE_S * 1000)
            except kafka_errors.KafkaError as error:
                self._events.append(Event("ack-failed", f"at close: {error!r}"))
        try:
            self._client.close(autocommit=False, timeout_ms=CLOSE_S * 1000)
        except kafka_errors.KafkaError as error:
            self._events.append(Event("error", f"at close: {error!r}"))


def _offsets(done: dict[TopicPartition, Done]) -> dict[TopicPartition, OffsetAndMetadata]:
    """As Kafka wants them: the next message to read."""
    return {partition: OffsetAndMetadata(each.last + 1, "", -1) for partition, each in done.items()}
