"""Consume-process-produce through confluent-kafka: what a member processed goes to an output topic, in a transaction with its offsets.

The same as adapters/kafka_processor.py (KIP-98, KIP-447): ack() begins a transaction, writes what was processed to the same partitions of
the output topic, sends the offsets with this member's generation to it, and commits. What a reader of committed messages finds in the
output is what counts (capabilities.judged_on_outputs).

A thread does that, since send_offsets_to_transaction() of librdkafka 2.16 does not keep to its time limit: while a broker stood still it
took socket.timeout.ms (60 s by default). By then the session was over too, and the consumer, as a new member, waited for another session
(docs/kafka-clients.md).

After whatever was not committed, or nobody knows, another producer with the same transactional.id takes over, so that the coordinator
ends what was left open, one way or the other. That takes the coordinator a while, above all after it stood still; init_transactions() that
had no answer in time is called again *on the same producer*: each new one would have the coordinator end its predecessor first. Only then
the consumer goes back to its committed positions, wherever these are, and reads on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from adapters.base import Batch, Event, Output
from adapters.errors import AdapterError
from adapters.kafka_confluent_client import ANSWER_S, Commits, Hears, let_go, said
from adapters.kafka_confluent_receiver import Receiver
from adapters.kafka_shared import acknowledged, within

COMMIT_S = 10.0  # how long a transaction is waited for: a broker that starts again is back by then
_ANOTHER_S = 1.0  # one try of a producer in place of another, or to learn the committed positions
_NO_ANSWER = f"no answer within {COMMIT_S:.0f} s"
_READ_S = 0.02  # of one look at an output topic: nothing within it, and it is taken for its end
_READ_MAX = 1000  # messages of one look
_READS = 20  # at most, in one read(): while the load goes on there is no end


class Stage:
    """A Producer with a transactional.id, replaced after whatever it did not commit. ``connect`` makes one, without asking a broker."""

    def __init__(self, connect: Callable[[], Any], topic: str) -> None:
        self._connect = connect
        self._topic = topic
        self._client: Any = None
        self._begun = False  # init_transactions() is done
        try:
            self.ready(ANSWER_S)
        except BaseException:
            self.close()
            raise

    def ready(self, timeout_s: float = _ANOTHER_S) -> bool:
        """Returns when it can make transactions, whether by another producer; raises KafkaException, AdapterError where it cannot yet."""
        if self._client is None:
            self._client = self._connect()
        if self._begun:
            return False
        try:
            self._client.init_transactions(timeout_s)
        except KafkaException as error:
            if not error.args[0].retriable():
                self.close()
            raise
        self._begun = True
        return True

    def commit(self, messages: Sequence[Any], places: list[TopicPartition], member: Any) -> str:
        """Write ``messages`` and the positions ``places`` in one transaction within COMMIT_S; return why not, "" = done.

        ``member``: group metadata.
        """
        why = within(COMMIT_S, partial(_transaction, self._client, self._topic, messages, places, member))
        why = _NO_ANSWER if why is None else why
        if why:
            self.close()
        return why

    def close(self) -> None:
        """Ends the producer; ready() makes another. Idempotent."""
        held, self._client, self._begun = [self._client], None, False
        let_go(held)


def _transaction(client: Any, topic: str, messages: Sequence[Any], places: list[TopicPartition], member: Any) -> str:
    """One transaction; return why it was not committed, or nobody knows, "" = done."""
    failed: list[str] = []

    def delivered(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            failed.append(error.str())

    until = time.monotonic() + COMMIT_S
    try:
        client.begin_transaction()
        for message in messages:
            client.produce(topic, message.value(), message.key(), message.partition(), delivered)
        _tried(until, client.send_offsets_to_transaction, places, member)
        if time.monotonic() > until:  # given up: another producer takes over
            return _NO_ANSWER
        _tried(until, client.commit_transaction)
    except (KafkaException, BufferError) as error:
        return failed[0] if failed else said(error)
    return ""


def _tried(until: float, call: Callable[..., None], *about: Any) -> None:
    """A call for a transaction, again while it may be. Raises KafkaException."""
    while True:
        try:
            call(*about, COMMIT_S)
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > until:
                raise
        else:
            return


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
        """As Receiver.poll(); nothing while the producer is being replaced and the committed positions are not known.

        Each try of that may take some seconds, whatever ``timeout_s``.
        """
        if self._back and not self._closed and not self._went_back():
            self._fetched(max_messages, timeout_s)  # rebalances go on meanwhile; what comes, comes again
            return None
        return super().poll(max_messages, timeout_s)

    def ack(self, batch: Batch, upto: int) -> bool:
        """Commit all polled before and ``upto`` messages of this batch with their outputs; waits up to COMMIT_S, and 2 s where it fails.

        False: nothing of it was committed, or nobody knows; all that was polled and is not committed comes again.
        """
        if self._closed:
            self._events.append(Event("ack-failed", "the consumer is closed"))
            return False
        # Before it is seen what is still held, and by whom: who is out of the group now comes back only by a rebalance, in poll().
        member = self._client.consumer_group_metadata()
        messages: list[Any] = []
        offsets: dict[int, int] = {}
        lost: set[int] = set()
        for polled, many in acknowledged(self._unacked, batch, upto):
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
        if lost:
            why = f"partitions {sorted(lost)} were taken away, or an earlier transaction failed"
        elif not self._client.memberid():
            why = "this member is out of its group"  # heartbeats know; the coordinator takes offsets of nobody's generation
        else:
            places = [TopicPartition(self._topic, partition, offset) for partition, offset in offsets.items()]
            why = self._stage.commit(messages, places, member)
        if why:
            self._events.append(Event("ack-failed", f"{why}: what is not committed is delivered again"))
            self._taken = self._taken | {each: self._taken.get(each, 0) + 1 for each in self.owned}
            self._unacked.clear()
            self._back = True
        return not why

    def _went_back(self) -> bool:
        """Whether it stands at the committed positions, as far as its partitions are still its own."""
        try:
            if self._stage.ready():
                self._events.append(Event("reconnected", "another producer of outputs"))
            positions = self._positions()
        except (KafkaException, AdapterError) as error:
            self._events.append(Event("error", said(error)))
            return False
        self._back = not self._go_back(positions)
        return not self._back

    def _positions(self) -> dict[int, int]:
        """The committed position of each partition that it has. Raises KafkaException."""
        places = [TopicPartition(self._topic, partition) for partition in sorted(self.owned)]
        found = self._client.committed(places, timeout=_ANOTHER_S) if places else []
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
        return {place.partition: place.offset if place.offset >= 0 else OFFSET_BEGINNING for place in found}

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
