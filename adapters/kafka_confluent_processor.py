"""Consume-process-produce through confluent-kafka: what a member processed goes to an output topic, in a transaction with its offsets.

The same as adapters/kafka_processor.py (KIP-98, KIP-447), by librdkafka's calls, which have time limits: ack() begins a transaction, writes
what was processed to the same partitions of the output topic, sends the offsets with this member's generation to it, and commits. What a
reader of committed messages finds in the output is what counts (capabilities.judged_on_outputs).

Whatever fails in that is aborted; where that fails too, another producer with the same transactional.id takes over, so that the
coordinator ends what was left open, one way or the other. Then the consumer goes back to its committed positions, wherever these are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from adapters.base import Batch, Event, Output
from adapters.errors import AdapterError
from adapters.kafka_confluent_client import ANSWER_S, Commits, Hears, said
from adapters.kafka_confluent_receiver import Receiver

COMMIT_S = 10.0  # how long a transaction is waited for: a broker that starts again is back by then
_ANOTHER_S = 1.0  # one try of a producer in place of another, or to learn the committed positions
_READ_S = 0.02  # of one look at an output topic: nothing within it, and it is taken for its end
_READ_MAX = 1000  # messages of one look
_READS = 20  # at most, in one read(): while the load goes on there is no end


class Stage:
    """A Producer with a transactional.id, replaced after whatever it could neither commit nor abort. ``connect`` makes one."""

    def __init__(self, connect: Callable[[], Any], topic: str) -> None:
        self._connect = connect
        self._topic = topic
        self._failed = ""
        self._coming: Any = None  # in place of a client that was given up
        self._client = connect()
        self._client.init_transactions(ANSWER_S)

    def commit(self, messages: Sequence[Any], offsets: Mapping[int, int], input_topic: str, member: Any) -> str:
        """Write ``messages`` and ``offsets`` in one transaction within COMMIT_S; return why not, "" = done. ``member``: group metadata."""
        self._failed = ""
        until = time.monotonic() + COMMIT_S
        places = [TopicPartition(input_topic, partition, offset) for partition, offset in offsets.items()]
        try:
            self._client.begin_transaction()
            for message in messages:
                self._client.produce(self._topic, message.value(), message.key(), message.partition(), self._delivered)
            self._tried(until, self._client.send_offsets_to_transaction, places, member)
            self._tried(until, self._client.commit_transaction)
        except (KafkaException, BufferError) as error:
            why = self._failed or said(error)
        else:
            return ""
        try:
            self._tried(until, self._client.abort_transaction)
        except KafkaException:
            self._client.purge()
            self._client = None
        return why

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self._failed = self._failed or error.str()

    def _tried(self, until: float, call: Callable[..., None], *about: Any) -> None:
        while True:
            left = until - time.monotonic()
            try:
                call(*about, max(left, _ANOTHER_S))
            except KafkaException as error:
                if not error.args[0].retriable() or left <= 0:
                    raise
            else:
                return

    def ready(self) -> bool:
        """Whether it can make transactions; tries once to get a producer where it has none. Raises KafkaException, AdapterError."""
        if self._client is None:
            self._coming = self._coming or self._connect()
            try:
                self._coming.init_transactions(_ANOTHER_S)
            except KafkaException as error:
                if not error.args[0].retriable():  # else the same goes on with it: a new one would begin with ending what this one began
                    self._coming = None
                raise
            self._client, self._coming = self._coming, None
        return True

    def close(self) -> None:
        """Idempotent."""
        if self._client is not None:
            self._client.purge()
            self._client = None


class Processor(Receiver):
    """A Consumer in its group whose acknowledgements are transactions; ``stage`` makes their producer, ``output`` is their topic."""

    keeps_messages = True

    def __init__(
        self, connect: Callable[[Hears, Commits], Any], topic: str, partitions: int, *, stage: Callable[[Hears], Any], output: str
    ) -> None:
        super().__init__(connect, topic, partitions, before=False)
        try:
            self._stage = Stage(partial(stage, self._links.error), output)
        except BaseException:
            self._client.close()
            raise
        self._back = False  # has to go back to the committed positions

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """As Receiver.poll(); nothing while the producer is being replaced and the committed positions are not known."""
        if self._back and not self._closed and not self._went_back():
            self._fetched(max_messages, timeout_s)  # rebalances go on meanwhile; what comes, comes again
            return None
        return super().poll(max_messages, timeout_s)

    def ack(self, batch: Batch, upto: int) -> bool:
        """Commit all polled before and ``upto`` messages of this batch with their outputs; waits up to COMMIT_S.

        False: nothing of it was committed, or nobody knows; all that was polled and is not committed comes again.
        """
        if self._closed:
            self._events.append(Event("ack-failed", "the consumer is closed"))
            return False
        member = self._client.consumer_group_metadata()
        messages: list[Any] = []
        offsets: dict[int, int] = {}
        lost: set[int] = set()
        for polled, many in self._acknowledged(batch, upto):
            for message in polled.messages[polled.done : many]:
                partition = message.partition()
                if self.holds(partition, polled.taken.get(partition, 0)):
                    messages.append(message)
                    offsets[partition] = message.offset() + 1
                else:
                    lost.add(partition)
            polled.done = max(polled.done, many)
        if not messages and not lost:
            return True
        why = f"partitions {sorted(lost)} were taken away, or an earlier transaction failed" if lost else ""
        why = why or self._stage.commit(messages, offsets, self._topic, member)
        if why:
            self._events.append(Event("ack-failed", f"{why}: what is not committed is delivered again"))
            self._taken = self._taken | {each: self._taken.get(each, 0) + 1 for each in self.owned}
            self._unacked.clear()
            self._back = True
        return not why

    def _went_back(self) -> bool:
        """Whether it stands at the committed positions, as far as its partitions are still its own."""
        try:
            self._stage.ready()
            places = [TopicPartition(self._topic, partition) for partition in sorted(self.owned)]
            found = self._client.committed(places, timeout=_ANOTHER_S) if places else []
        except (KafkaException, AdapterError) as error:
            self._events.append(Event("error", said(error)))
            return False
        self._go_back({place.partition: place.offset if place.offset >= 0 else OFFSET_BEGINNING for place in found})
        self._back = False
        return True

    def close(self) -> None:
        """Leaves the group and ends the producer; what was not acknowledged is not committed. Idempotent."""
        super().close()
        self._stage.close()


class OutputReader:
    """Reads a group's output topic from its first message on, what is committed of it: for the runner, in no group."""

    def __init__(self, client: Any, topic: str, partitions: int) -> None:
        self._client = client
        client.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(partitions)])

    def read(self) -> Sequence[Output]:
        """What came since the last call, or a part of it, each partition's in its order; nothing where no broker answers."""
        found: list[Output] = []
        for _ in range(_READS):
            messages = [message for message in self._client.consume(_READ_MAX, _READ_S) if not message.error()]
            if not messages:
                break
            found += [Output(message.value(), message.offset(), message.timestamp()[1] * 1_000_000) for message in messages]
        return found

    def close(self) -> None:
        """Idempotent."""
        self._client.close()
