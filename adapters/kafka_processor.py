"""Kafka's consume-process-produce: what a member of a group processed goes to the group's output topic, in a transaction with its offsets.

ack() begins a transaction, writes the messages that were processed to the same partitions of the output topic, sends the offsets
after them to it (KIP-98), with the generation and member id of this consumer (KIP-447: the coordinator refuses those of a member whose
partitions went to others while it stood still), and commits. What a reader of committed messages finds in the output is what counts:
work on a message may be repeated, its output is not (capabilities.judged_on_outputs).

Whatever fails in that, or takes longer than COMMIT_S, is given up: the producer is closed and another connected, which has the same
transactional_id, so that the coordinator ends what was left open, one way or the other; and the consumer goes back to its committed
position, wherever that is then. Nobody has to know whether the transaction was committed. Reading goes on only after both.

It goes back after every rebalance, too. kafka-python 3.0 keeps the position of a partition that stays with its member (Kafka's own
client forgets it): what was read there and not committed in the generation that is over would never be read again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors

from adapters.base import Batch, Event, Output
from adapters.kafka_client import AGAIN_S, ANOTHER_MS, BOOTSTRAP_MS, another, shut
from adapters.kafka_receiver import Polled, Receiver
from adapters.kafka_shared import acknowledged, within

COMMIT_S = 10.0  # how long a transaction is waited for: a broker that starts again is back by then
_BACK_MS = 1000  # of one poll(), to learn the committed positions
_READ_S = 0.02  # of one look at an output topic: nothing within it, and it is taken for its end
READ_MAX = 1000  # messages of one look
_READS = 20  # at most, in one read(): while the load goes on there is no end


class Stage:
    """A KafkaProducer with a transactional_id, replaced after whatever it could not commit.

    ``connect`` makes one and raises adapters.errors; kafka-python's own errors come from its first init_transactions().
    """

    def __init__(self, connect: Callable[[], Any], topic: str, events: deque[Event]) -> None:
        self._connect = connect
        self._topic = topic
        self._events = events
        self._change = threading.Lock()
        self._closed = False
        self._client: Any = connect()  # None while it is being replaced
        try:
            _begun(self._client, BOOTSTRAP_MS)
        except BaseException:
            shut(self._client)
            raise

    @property
    def ready(self) -> bool:
        """Whether it can make transactions now."""
        return self._client is not None

    def commit(self, records: Sequence[Any], offsets: Mapping[TopicPartition, OffsetAndMetadata], member: Any) -> str:
        """Write ``records`` and ``offsets`` in one transaction within COMMIT_S; return why not, "" = done. ``member``: group_metadata()."""
        client = self._client

        def work() -> str:
            try:
                _transaction(client, self._topic, records, offsets, member)
            except (kafka_errors.KafkaError, ValueError) as error:
                return repr(error)
            return ""

        why = within(COMMIT_S, work)
        if why is None:
            why = f"no answer within {COMMIT_S:.0f} s"
        if why:
            self._client = None
            threading.Thread(target=self._replace, args=(client,), name="replace-kafka-stage", daemon=True).start()
        return why

    def _replace(self, old: Any) -> None:
        """Close what could not commit, and connect another, as often as that takes."""
        shut(old)
        client = another(self._connect, _begun, self._events, lambda: not self._closed)
        with self._change:
            if client is not None and not self._closed:
                self._client = client
                self._events.append(Event("reconnected", "another producer of outputs"))
                return
        if client is not None:
            shut(client)

    def close(self) -> None:
        """End it, within about 4 s. Idempotent."""
        with self._change:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            shut(client)


def _begun(client: Any, within_ms: int = ANOTHER_MS) -> None:
    """Take over the transactional_id: what a predecessor left open is aborted, or its commit finished, when this returns."""
    client.config["max_block_ms"] = within_ms
    client.init_transactions()


def _transaction(
    client: Any, topic: str, records: Sequence[Any], offsets: Mapping[TopicPartition, OffsetAndMetadata], member: Any
) -> None:  # fmt: skip
    """One transaction; raises KafkaError, or ValueError, where it was not committed or nobody knows."""
    client.begin_transaction()
    futures = [client.send(topic, record.value, record.key, None, record.partition) for record in records]
    client.flush()
    # By its source kafka-python 3.0 also commits what lacks messages that it has given up.
    for future in futures:
        if not future.succeeded():
            raise future.exception or kafka_errors.KafkaError("a message of the transaction was not written")
    client.send_offsets_to_transaction(dict(offsets), member)
    client.commit_transaction()


class Processor(Receiver):
    """A KafkaConsumer in its group whose acknowledgements are transactions; ``connect`` makes their producer, as in Stage."""

    keeps_records = True

    def __init__(self, client: Any, topic: str, output: str, connect: Callable[[], Any], *, spare: bool = False) -> None:
        super().__init__(client, topic, before=False, spare=spare)
        self._stage = Stage(connect, output, self._events)
        self._back = False  # has to go back to the committed positions
        self._changes = 0  # of the assignment, that it knows

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """As Receiver.poll(); nothing while the stage is being replaced and the committed positions are not known."""
        if self._back and not self._closed:
            if not self._stage.ready:
                time.sleep(timeout_s)
                return None
            if not self._went_back():
                return None
        batch = super().poll(max_messages, timeout_s)
        if self._changes != self._listener.changes:
            self._changes = self._listener.changes
            self._give_up()  # what has just come stands behind what was given up
            return None
        return batch

    def ack(self, batch: Batch, upto: int) -> bool:
        """Commit all polled before and ``upto`` messages of this batch with their outputs; waits up to COMMIT_S.

        False: nothing of it was committed, or nobody knows; all that was polled and is not committed comes again.
        """
        if self._closed:
            self._events.append(Event("ack-failed", "the consumer is closed"))
            return False
        # Before it is seen what is still held: where a rebalance comes between the two, the coordinator refuses this generation.
        member = self._client.group_metadata()
        records: list[Any] = []
        offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        lost: set[int] = set()
        for polled, many in acknowledged(self._unacked, batch, upto):
            self._add(polled, many, records, offsets, lost)
        if not records and not lost:
            return True
        if lost:
            why = f"partitions {sorted(lost)} were taken away, or an earlier transaction failed"
        elif member.generation_id < 0 or not member.member_id:
            why = "this member is out of its group"  # its heartbeats know; the coordinator takes offsets of nobody's generation
        else:
            why = self._stage.commit(records, offsets, member)
        if why:
            self._events.append(Event("ack-failed", f"{why}: what is not committed is delivered again"))
            self._give_up()
        return not why

    def _add(
        self, polled: Polled, upto: int, records: list[Any], offsets: dict[TopicPartition, OffsetAndMetadata], lost: set[int]
    ) -> None:  # fmt: skip
        """Add what of a batch is not committed yet, up to message ``upto``."""
        for partition, start, end, taken in polled.segments:
            lo, hi = max(start, polled.done), min(end, upto)
            if lo >= hi:
                continue
            if self._listener.holds(partition, taken):
                records += polled.records[partition][lo - start : hi - start]
                offsets[partition] = OffsetAndMetadata(polled.positions[hi - 1] + 1, "", -1)
            else:
                lost.add(partition.partition)
        polled.done = max(polled.done, upto)

    def _give_up(self) -> None:
        """All that was polled and is not committed comes again: none of it may be committed now."""
        for partition in self._listener.owned:
            self._listener.taken[partition] = self._listener.taken.get(partition, 0) + 1
        self._unacked.clear()
        self._back = True

    def _went_back(self) -> bool:
        """Whether it stands at the committed positions, as far as its partitions are still its own."""
        try:
            for partition in sorted(self._listener.owned):
                offset = self._client.committed(partition, timeout_ms=_BACK_MS)
                if offset is None:
                    self._client.seek_to_beginning(partition)
                else:
                    self._client.seek(partition, offset)
        except kafka_errors.KafkaTimeoutError:
            return False
        except (kafka_errors.KafkaError, AssertionError) as error:  # AssertionError: taken away meanwhile
            self._events.append(Event("error", f"committed positions: {error!r}"))
            time.sleep(AGAIN_S)
            return False
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
        client.assign([TopicPartition(topic, partition) for partition in range(partitions)])

    def read(self) -> Sequence[Output]:
        """What came since the last call, or a part of it, each partition's in its order; nothing where no broker answers."""
        found: list[Output] = []
        with contextlib.suppress(kafka_errors.KafkaError):
            for _ in range(_READS):
                polled = self._client.poll(_READ_S * 1000)
                if not polled:
                    break
                for records in polled.values():
                    found += [Output(record.value, record.offset, record.timestamp * 1_000_000) for record in records]
        return found

    def close(self) -> None:
        """Idempotent."""
        self._client.close(autocommit=False)
