"""The receiving side through confluent-kafka: a Consumer in its group, and its commits, after processing or before it.

What is there is taken whole with ``consume(n, 0)``; only where nothing is there it waits, with ``poll()``, for the first message
(``consume(n, t)`` alone would wait for n or for t). No offset is stored by the client (enable.auto.offset.store=false).

After processing: offsets are committed without waiting (``commit(asynchronous=True)``), one commit under way at a time; what is
acknowledged meanwhile goes with the next one. One that failed because no broker answered goes again. Before processing: ack()
commits and waits; where that fails, the consumer goes back, so that what was not processed comes again. A commit can only lag behind
what was processed.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from adapters.base import Batch, Event
from adapters.errors import Unsupported
from adapters.kafka_confluent_client import AGAIN_S, CLOSE_S, Commits, Hears, Links, said
from adapters.kafka_shared import BEFORE_S, Done, acknowledged, within

_WAIT_S = 0.01  # of one look while something is waited for

# Answers after which the same commit is of no use: others have the partitions.
_OUT = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.FENCED_MEMBER_EPOCH,
    KafkaError.STALE_MEMBER_EPOCH,
}

_value: Callable[[Any], bytes] = Message.value  # type: ignore[assignment]  # None for what nobody here writes
_offset: Callable[[Any], int] = Message.offset  # type: ignore[assignment]
_partition: Callable[[Any], int] = Message.partition  # type: ignore[assignment]
_error = Message.error


@dataclass(slots=True)
class Polled:
    """What one poll() gave: the partition and offset of each, and how often each partition had been taken away by then."""

    serial: int
    partitions: Sequence[int] | None  # None: all of partition 0
    positions: Sequence[int]
    taken: dict[int, int]
    messages: Sequence[Any]  # where Receiver.keeps_messages, else none
    done: int = 0  # the first messages that are committed: of a Processor

    def last(self, upto: int) -> dict[int, int]:
        """The last offset of each partition among the first ``upto`` messages."""
        if not upto:
            return {}
        if self.partitions is None:
            return {0: self.positions[upto - 1]}
        return dict(zip(self.partitions[:upto], self.positions[:upto], strict=True))

    def first(self, partition: int) -> int:
        """The first offset of a partition that is in it."""
        return self.positions[0 if self.partitions is None else self.partitions.index(partition)]


class Receiver:
    """A Consumer in its group, by subscription. ``connect`` makes it, given what is to hear errors and commits."""

    keeps_messages = False

    def __init__(self, connect: Callable[[Hears, Commits], Any], topic: str, partitions: int, *, before: bool) -> None:
        self._topic = topic
        self._partitions = partitions
        self._before = before
        self._events: deque[Event] = deque()
        self._links = Links(self._events)
        self.owned: frozenset[int] = frozenset()
        self._taken: dict[int, int] = {}  # how often each was taken away; replaced, never changed
        self.changes = 0  # of the assignment
        self._serial = 0
        self._unacked: deque[Polled] = deque()
        self._pending: dict[int, Done] = {}  # acknowledged, not committed
        self._flying: dict[int, Done] = {}  # in the commit that is under way
        self._again_s = 0.0  # no commit before it: the last one found no broker
        self._failed = ""  # why the last commit that was waited for failed,
        self._refused: dict[int, Done] = {}  # and what was in it
        self._more = False  # the last look at what is there did not take all
        self._ahead: list[Any] = []  # came while something else was waited for
        self._was_ready = False
        self._closed = False
        self._client = connect(self._links.error, self._committed)
        self._client.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked)

    # ---- the group

    def _assigned(self, _client: Any, partitions: Sequence[TopicPartition]) -> None:
        self._now(self.owned.union(each.partition for each in partitions))

    def _revoked(self, _client: Any, partitions: Sequence[TopicPartition]) -> None:
        """Also of partitions that are lost: the group has dropped this member."""
        gone = {each.partition for each in partitions}
        self._taken = self._taken | {each: self._taken.get(each, 0) + 1 for each in gone}
        self._ahead = [message for message in self._ahead if message.partition() not in gone]
        if self.owned:
            self._now(self.owned.difference(gone))

    def _now(self, owned: frozenset[int]) -> None:
        self.owned = owned
        self.changes += 1
        self._events.append(Event("assigned", partitions=tuple(sorted(owned))))

    def holds(self, partition: int, taken: int) -> bool:
        """Whether the partition is this member's and was not taken away since."""
        return partition in self.owned and self._taken.get(partition, 0) == taken

    # ---- messages

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """Up to ``max_messages``, waiting at most ``timeout_s`` seconds (whole milliseconds) for the first. The group is joined in here."""
        if self._closed:
            return None
        if self._pending:
            self._commit()
        messages = self._fetched(max_messages, timeout_s)
        if not messages:
            return None
        payloads: list[bytes] = [*map(_value, messages)]
        partitions: list[int] | None = None
        first, last = messages[0].offset(), messages[-1].offset()
        positions: Sequence[int] = range(first, last + 1)
        if self._partitions > 1:
            partitions = [*map(_partition, messages)]
        if partitions is not None or len(positions) != len(messages):  # several partitions, or gaps where transactions ended
            positions = [*map(_offset, messages)]
        self._serial += 1
        token = Polled(self._serial, partitions, positions, self._taken, messages if self.keeps_messages else ())
        self._unacked.append(token)
        return Batch(payloads=payloads, count=len(payloads), positions=positions, token=token)

    def _fetched(self, most: int, timeout_s: float) -> list[Any]:
        """Messages, without the errors that come between them."""
        if self._ahead:
            messages, self._ahead = self._ahead[:most], self._ahead[most:]
            return messages
        client = self._client
        try:
            # Where the last look took all that was there, this one will have to wait.
            messages = client.consume(most, 0) if self._more or timeout_s <= 0 else []
            if not messages and timeout_s > 0:
                first = client.poll(math.ceil(timeout_s * 1000) / 1000)
                messages = [] if first is None else [first, *client.consume(most - 1, 0)] if most > 1 else [first]
            self._more = len(messages) == most
        except KafkaException as error:
            self._events.append(Event("error", said(error)))
            return []
        if not messages:
            return messages
        if any(map(_error, messages)):
            self._events.extend(Event("error", message.error().str()) for message in messages if message.error())
            messages = [message for message in messages if not message.error()]
        if self._links.lost and messages:
            self._links.back()
        return messages

    # ---- acknowledgements

    def ack(self, batch: Batch, upto: int) -> bool:
        """Commits the offsets of all polled before and of ``upto`` messages of this batch.

        After processing it goes on in the background; before processing it waits, and False means: process none of it.
        """
        if self._closed:
            self._events.append(Event("ack-failed", "the consumer is closed"))
            return False
        lost: set[int] = set()
        for polled, many in acknowledged(self._unacked, batch, upto):
            for partition, last in polled.last(many).items():
                taken = polled.taken.get(partition, 0)
                if self.holds(partition, taken):
                    earlier = self._pending.get(partition)
                    first = polled.first(partition) if earlier is None else earlier.first
                    self._pending[partition] = Done(first, last, taken)
                else:
                    lost.add(partition)
        if lost:
            self._events.append(Event("ack-failed", f"partitions {sorted(lost)} went to another member: they are delivered again"))
        if self._before:
            return self._commit_and_wait(refused=bool(lost))
        self._commit()
        return not lost

    def _commit(self) -> None:
        """Sends what is pending unless a commit is under way."""
        if not self._pending or self._flying or (self._again_s and time.monotonic() < self._again_s):
            return
        pending, self._pending = self._pending, {}
        self._flying = self._mine(pending)
        if len(self._flying) < len(pending):
            gone = sorted(pending.keys() - self._flying.keys())
            self._events.append(Event("ack-failed", f"partitions {gone} went to another member: they are delivered again"))
        if not self._flying:
            return
        try:
            self._client.commit(offsets=self._offsets(self._flying), asynchronous=True)
        except KafkaException as error:
            self._committed(error.args[0], [])

    def _mine(self, offsets: dict[int, Done]) -> dict[int, Done]:
        """Those of partitions that are still this member's: a broker would take the others too, and set their new owner back."""
        return {partition: done for partition, done in offsets.items() if self.holds(partition, done.taken)}

    def _offsets(self, done: dict[int, Done]) -> list[TopicPartition]:
        """As Kafka wants them: the next message to read."""
        return [TopicPartition(self._topic, partition, each.last + 1) for partition, each in done.items()]

    def _committed(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        """Librdkafka's answer to a commit: from within poll() and consume()."""
        about = {each.partition: each.offset for each in partitions}
        if about and about != {partition: done.last + 1 for partition, done in self._flying.items()}:
            return  # of one that was given up
        sent, self._flying = self._flying, {}
        error = error or next((each.error for each in partitions if each.error is not None), None)
        if error is None:
            self._again_s, self._failed = 0.0, ""
            return
        self._failed = error.str()
        if self._before:
            self._refused = sent
            return
        if error.code() in _OUT:  # this member is out of its group, or soon will be
            self._events.append(Event("ack-failed", error.str()))
            return
        self._pending = sent | self._pending
        if not self._again_s:
            self._events.append(Event("ack-failed", f"{error.str()}: it goes again"))
        self._again_s = time.monotonic() + AGAIN_S

    def _commit_and_wait(self, *, refused: bool) -> bool:
        """Commits what is pending, all of it or, where some of it was ``refused`` already, nothing; else it comes again."""
        if not refused:
            if not self._pending:
                return True
            self._failed = f"no answer within {BEFORE_S:.0f} s"
            self._commit()
            if self._answered(BEFORE_S) and not self._failed:
                return True
            self._events.append(Event("ack-failed", self._failed))
        back = {partition: done.first for partition, done in self._mine(self._flying | self._pending | self._refused).items()}
        self._pending, self._flying, self._refused = {}, {}, {}
        self._go_back(back)
        return False

    def _answered(self, seconds: float) -> bool:
        """Wait for the commit that is under way; what comes meanwhile is kept for the next poll()."""
        until = time.monotonic() + seconds
        while self._flying and time.monotonic() < until:
            with contextlib.suppress(KafkaException):
                self._ahead += [message for message in self._client.consume(1, _WAIT_S) if not message.error()]
        return not self._flying

    def _go_back(self, offsets: dict[int, int]) -> bool:
        """To these offsets: what was polled of their partitions from there on comes again, and none of it can be committed as it is.

        Whether it stands there, in each of them.
        """
        there = True
        self._taken = self._taken | {each: self._taken.get(each, 0) + 1 for each in offsets}
        self._ahead = [message for message in self._ahead if message.partition() not in offsets]
        for partition, offset in offsets.items():
            try:
                self._client.seek(TopicPartition(self._topic, partition, offset))
            except KafkaException as error:  # taken away meanwhile
                self._events.append(Event("error", f"partition {partition}: {said(error)}"))
                there = False
        return there

    def settle(self, batch: Batch, index: int, how: str) -> None:  # noqa: ARG002  # the contract's
        """Not there: a log has offsets, no single messages to settle (capabilities.settle is False)."""
        raise Unsupported("Kafka commits offsets: it cannot settle a single message")

    def idle(self, seconds: float) -> None:
        """A plain wait: librdkafka's own thread sends the heartbeats (up to max.poll.interval.ms between two polls)."""
        time.sleep(max(seconds, 0.0))

    def events(self) -> Sequence[Event]:
        """What happened since the last call."""
        events = [self._events.popleft() for _ in range(len(self._events))]
        if not self._was_ready and any(event.kind == "assigned" for event in events):
            self._was_ready = True
            events.insert(0, Event("ready"))
        return events

    def close(self) -> None:
        """Commits what was acknowledged (at most 2 s), leaves the group. Idempotent."""
        if self._closed:
            return
        if self._flying:
            self._answered(CLOSE_S)
        self._commit()
        if self._flying and not self._answered(CLOSE_S):
            self._events.append(Event("ack-failed", "at close: no answer to a commit"))
        self._closed = True
        within(CLOSE_S, self._client.close)
