"""The sending side through confluent-kafka: a Producer with a window, and what became of the messages of each send().

Messages are handed over one by one by ``produce()`` in a loop that is C from end to end (``map``): 0.82 us a message where
``produce_batch()``, which looks up six keys of a dictionary for each, takes 0.90 (100 B, idle broker, client's threads included), and which
has no partition of its own for each. A delivery report is a call for each message, too: it counts down what is left of the send()
that the message came with, so nothing has to be looked up. What one send() took is told when its last report is there; where
reports come in order (one partition, and retries cannot overtake), also what came until now.

librdkafka retries by itself, and an idempotent producer that gave up a message (delivery.timeout.ms) goes on with a new
epoch. One that says it is *fatal* takes nothing more: it is closed, what it still has is indeterminate, and another takes its place.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from operator import length_hint
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from adapters.base import Block, Event, Outcomes, Status, Wiring
from adapters.errors import AdapterError, Refused
from adapters.kafka_confluent_client import CLOSE_S, Hears, Links, let_go, partitions_of, said

PAYLOAD_BYTES_MAX = 990_000  # message.max.bytes is 1,000,000 with key and overhead in it

# What the server, or the client itself, refuses however often it is tried: provably not written. All else may have been.
_NOT_WRITTEN = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001  # see kafka_confluent_client
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
}
_ANY = -1  # RD_KAFKA_PARTITION_UA: the partitioner's choice
_MS = 0.001


class Part:
    """What one send() took: ids first, first + 1, ... (count of them), how many have no report yet, and what failed of it."""

    __slots__ = ("count", "ended", "failed", "first", "left", "told")

    def __init__(self, first: int, count: int, ended: deque[Part]) -> None:
        self.first = first
        self.count = self.left = count
        self.told = 0  # the first so many were told of already
        self.failed: list[tuple[bytes, KafkaError]] = []
        self.ended = ended

    def delivered(self, error: KafkaError | None, message: Any) -> None:
        """Librdkafka's delivery report: once a message, from within poll()."""
        self.left -= 1
        if error is not None:
            self.failed.append((message.value(), error))
        if not self.left:
            self.ended.append(self)


class Sender:
    """A Producer with at most ``window`` messages that are not resolved.

    ``connect`` makes one, given what is to hear its errors. ``explicit``: give the partition also where there are keys. ``ordered``:
    reports of a partition come in the order of its messages. ``confirms`` False (acks=0): what the client took is all there is to know.
    """

    def __init__(
        self, connect: Callable[[Hears], Any], wiring: Wiring, outcomes: Outcomes, *, window: int, explicit: bool,
        ordered: bool, confirms: bool = True,
    ) -> None:  # fmt: skip
        self._connect = connect
        self._topic: str = wiring["topic"]
        self._partitions: int = wiring["partitions"]
        self._outcomes = outcomes
        self._window = window
        self._explicit = explicit
        self._confirms = confirms
        self._follows = ordered and self._partitions == 1
        self._events: deque[Event] = deque()
        self._links = Links(self._events)
        self._client = connect(self._links.error)
        self._ended: deque[Part] = deque()
        self._open: deque[Part] = deque()
        self._outstanding = 0
        self._known = False  # the topic's partitions have leaders
        self._was_ready = False
        self._closed = False

    def ready(self, timeout_s: float) -> bool:
        """Whether the topic's partitions are known, waiting at most ``timeout_s`` seconds, or one for an answer that is on its way."""
        if self._closed or self._links.fatal:
            return False
        if not self._known:
            try:
                self._get_ready(max(timeout_s, 1.0))
                self._known = partitions_of(self._client, self._topic, max(timeout_s, 1.0)) >= self._partitions
            except KafkaException as error:
                self._events.append(Event("error", said(error)))
        if self._known and not self._was_ready:
            self._was_ready = True
            self._events.append(Event("ready"))
        return self._known

    def _get_ready(self, timeout_s: float) -> None:
        """What else a producer of this mode needs before its first message."""

    def room(self) -> int:
        """What the window leaves."""
        return 0 if self._closed or self._links.fatal else max(0, self._window - self._outstanding)

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:  # noqa: ARG002  # one topic serves all groups
        """Hands rows lo..hi to the client as far as the window goes; waits at most ``timeout_s`` seconds for room of one.

        A row that the client itself refuses (over its message.max.bytes) is accepted and failed: provably not written; with
        acks=0, where nobody can be told that, it is Refused. Raises Refused for messages over the adapter's limit.
        """
        check_size(block)
        if timeout_s > 0 and not self.room():
            self._wait_below(self._window, timeout_s)
        end = lo + min(hi - lo, self.room())
        if end <= lo or not (self._known or self.ready(timeout_s)):
            return 0
        at = lo
        while at < end:
            taken, error = self._hand_over(block, at, end)
            at += taken
            if error is None:
                break
            if isinstance(error, BufferError) or self._links.fatal:  # its own queue is full, or it takes nothing any more
                self._events.append(Event("error", f"not sent: {said(error)}"))
                break
            if not self._confirms:
                raise Refused(f"confluent-kafka refuses a message: {said(error)}") from error
            self._events.append(Event("error", f"not sent: {said(error)}"))
            self._outcomes.run(block.first_id + at, 1, Status.FAILED)
            at += 1
        return at - lo

    def _hand_over(self, block: Block, lo: int, hi: int) -> tuple[int, Exception | None]:
        """How many rows from ``lo`` on the client took, and why not the next."""
        part = Part(block.first_id + lo, hi - lo, self._ended)
        taken, why = self._produce(block, lo, hi, part.delivered)
        if taken:
            part.left -= part.count - taken
            part.count = taken
            self._outstanding += taken
            if self._follows:
                self._open.append(part)
        return taken, why

    def _produce(self, block: Block, lo: int, hi: int, delivered: Callable[..., None]) -> tuple[int, Exception | None]:
        """Librdkafka's produce() for rows lo..hi, up to the first that it refuses: how many it took, and why not that one."""
        rows = iter(block.messages(lo, hi))
        keys: Iterable[bytes | None] = repeat(None) if block.keys is None else block.keys[lo:hi]
        chosen: Iterable[int] = repeat(_ANY)
        if self._explicit or block.keys is None:
            chosen = repeat(0) if self._partitions == 1 else block.partitions[lo:hi]
        try:
            deque(map(self._client.produce, repeat(self._topic), rows, keys, chosen, repeat(delivered)), maxlen=0)
        except (BufferError, KafkaException) as error:
            if isinstance(error, KafkaException) and error.args[0].fatal():
                self._links.fatal = said(error)
            return hi - lo - length_hint(rows) - 1, error
        return hi - lo, None

    def _wait_below(self, bound: int, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while self._outstanding >= bound and (left := until - time.monotonic()) > 0:
            self.pump(left)

    def pump(self, timeout_s: float) -> None:
        """Serve delivery reports: of what is there, or else of what comes first within ``timeout_s`` seconds."""
        if self._closed:
            return
        if self._links.fatal:
            self._replace()
            return
        if 0 < timeout_s < _MS:  # poll() waits whole milliseconds
            time.sleep(timeout_s)
            timeout_s = 0.0
        self._client.poll(timeout_s)
        self._collect()

    def _collect(self) -> None:
        """Tell what has become of messages since the last call, neighbours together."""
        first = count = 0
        ended, follows = self._ended, self._follows
        while ended:
            part = ended.popleft()
            if follows:
                self._open.remove(part)  # the first, but where a broker was away: what waits in the client is given up before what was sent
            self._outstanding -= part.count - part.told
            if part.failed:
                self._tell_apart(part)
            elif first + count == part.first + part.told:
                count += part.count - part.told
            else:
                self._tell(first, count)
                first, count = part.first + part.told, part.count - part.told
        if follows and self._open:
            part = self._open[0]
            came = part.count - part.left - part.told
            if came and not part.failed:
                self._outstanding -= came
                if first + count != part.first + part.told:
                    self._tell(first, count)
                    first, count = part.first + part.told, 0
                count += came
                part.told += came
        self._tell(first, count)

    def _tell(self, first: int, count: int) -> None:
        if count:
            if self._links.lost:
                self._links.back()
            if self._confirms:
                self._outcomes.run(first, count, Status.CONFIRMED)

    def _tell_apart(self, part: Part) -> None:
        """Tell of a part of which some failed."""
        outcomes = self._outcomes
        why: dict[str, int] = {}
        left = set(range(part.first + part.told, part.first + part.count))
        for payload, error in part.failed:
            ident = outcomes.id_of(payload)
            left.discard(ident)
            why[error.str()] = why.get(error.str(), 0) + 1
            if self._confirms:
                outcomes.run(ident, 1, Status.FAILED if error.code() in _NOT_WRITTEN else Status.INDETERMINATE)
        self._events.extend(Event("error", f"{many} given up: {what}") for what, many in why.items())
        if left and self._confirms:
            outcomes.some(sorted(left), Status.CONFIRMED)

    def _replace(self) -> None:
        """Close a producer that takes nothing more, and try once to connect another; it is asked for the topic at the next send()."""
        if self._client is not None:
            self._events.append(Event("error", f"the producer is replaced: {self._links.fatal}"))
            self._give_up()
            self._known = False
        try:
            self._client = self._connect(self._links.error)
        except AdapterError as error:
            self._events.append(Event("error", str(error)))
        else:
            self._links.fatal = ""
            self._events.append(Event("reconnected", "another producer"))

    def _give_up(self) -> None:
        """End the client: what it has not delivered is told as indeterminate."""
        self._client.purge()
        self._client.flush(CLOSE_S)  # serves the reports of what was purged
        self._collect()
        self._drop()

    def _drop(self) -> None:
        held, self._client = [self._client], None
        let_go(held)

    def flush(self, timeout_s: float) -> int:
        """Wait at most ``timeout_s`` seconds until all is resolved, without lingering; what is not."""
        until = time.monotonic() + timeout_s
        while self._outstanding and not self._closed and (left := until - time.monotonic()) > 0:
            if self._links.fatal:
                self._replace()
            else:
                self._client.flush(min(left, 1.0))
                self._collect()
        return self._outstanding

    def events(self) -> Sequence[Event]:
        """What happened since the last call."""
        return [self._events.popleft() for _ in range(len(self._events))]

    def close(self) -> None:
        """Ends the client, waiting at most 2 s for what is under way; the rest is indeterminate. Idempotent."""
        if self._closed:
            return
        self.flush(CLOSE_S)
        self._closed = True
        if self._client is not None:
            self._give_up()


def check_size(block: Block) -> None:
    """Raises Refused for messages over the limit."""
    if block.size > PAYLOAD_BYTES_MAX:
        raise Refused(f"Kafka takes messages of up to {PAYLOAD_BYTES_MAX} bytes here, not {block.size}")
