"""Kafka's sending side: a KafkaProducer with a window, which is replaced where it cannot go on.

kafka-python 3.0 ends an idempotent producer in two ways and says so nowhere: a batch that delivery_timeout_ms gives up after it
was tried takes the producer id with it, and no new one is asked for; an answer such as "message too large" puts it into a
state in which all else is aborted. Both would hold every later message back for good. So a producer that gave up a message
is closed (what it still has is then indeterminate) and another one connected, by a thread, as an application would; the
events say it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count, repeat
from typing import Any

from kafka import errors as kafka_errors

from adapters.base import Block, Event, Outcomes, Status, Wiring
from adapters.errors import Refused
from adapters.kafka_client import ANOTHER_MS, CLOSE_S, Connections, another, drained, shut

PAYLOAD_BYTES_MAX = 1_000_000  # both ends stop at 1 MiB, with key and overhead in it

# What the server refuses whole, however often it is tried: provably not written. All else may have been.
_NOT_WRITTEN = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.InvalidTopicError,
    kafka_errors.InvalidTimestampError,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
)


class Sender:
    """A KafkaProducer with at most ``window`` messages that are not resolved.

    ``connect`` makes a KafkaProducer and raises adapters.errors. ``explicit``: give the partition also where there are keys.
    ``confirms`` False (acks=0): what the client took is all there is to know, so only the window and the events use outcomes.
    """

    def __init__(
        self, connect: Callable[[], Any], wiring: Wiring, outcomes: Outcomes, *, window: int, explicit: bool, confirms: bool = True
    ) -> None:
        self._connect = connect
        self._client = connect()
        self._topic: str = wiring["topic"]
        self._partitions: int = wiring["partitions"]
        self._report = outcomes.run
        self._window = window
        self._explicit = explicit
        self._confirms = confirms
        self._idempotent = bool(self._client.config["enable_idempotence"])
        self._events: deque[Event] = deque()  # from several threads: append and popleft are atomic
        self._connections = Connections(self._client)
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        self._outstanding = 0
        self._waiting = False
        self._replacing = False
        self._blamed: BaseException | None = None  # the last refusal
        self._was_ready = False
        self._closed = False

    def ready(self, timeout_s: float) -> bool:
        """Whether the topic's partitions are known, waiting at most ``timeout_s`` seconds: later sends do not wait for it."""
        if self._closed or self._replacing:
            return False
        self._client.config["max_block_ms"] = timeout_s * 1000
        try:
            self._get_ready(self._client)
            known = self._client.partitions_for(self._topic)
        except kafka_errors.KafkaTimeoutError:
            return False
        except kafka_errors.KafkaError as error:
            self._events.append(Event("error", repr(error)))
            return False
        if len(known) < self._partitions:
            return False
        if not self._was_ready:
            self._was_ready = True
            self._events.append(Event("ready"))
        return True

    def _get_ready(self, client: Any) -> None:
        """What else a producer of this mode needs before its first message, within its max_block_ms."""

    def room(self) -> int:
        """What the window leaves."""
        return 0 if self._closed or self._replacing else max(0, self._window - self._outstanding)

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:  # noqa: ARG002  # one topic serves all groups
        """Hands rows lo..hi to the client as far as the window goes; waits at most ``timeout_s`` seconds for room of one.

        A row that the client itself refuses (over its max_request_size) is accepted and failed: provably not written; with
        acks=0, where nobody can be told that, it is Refused. Raises Refused for messages over the adapter's limit.
        """
        check_size(block)
        most = min(hi - lo, self._room_within(timeout_s))
        if most <= 0:
            return 0
        send, topic, done = self._client.send, self._topic, self._done
        # The client waits only for a topic's metadata that it lost.
        self._client.config["max_block_ms"] = timeout_s * 1000
        with self._lock:
            self._outstanding += most
        accepted = 0
        try:
            for ident, message, key, partition in self._rows(block, lo, most):
                try:
                    future = send(topic, message, key, None, partition)
                except (kafka_errors.KafkaTimeoutError, kafka_errors.IllegalStateError) as error:
                    self._events.append(Event("error", f"not sent: {error!r}"))
                    break
                except (kafka_errors.KafkaError, ValueError) as error:
                    if not self._confirms:
                        raise Refused(f"kafka-python refuses a message: {error}") from error
                    self._events.append(Event("error", f"not sent: {error!r}"))
                    self._resolve(ident, Status.FAILED)
                else:
                    outcome = partial(done, ident)
                    future.add_callback(outcome)
                    future.add_errback(outcome)
                accepted += 1
        finally:
            if accepted < most:
                with self._lock:
                    self._outstanding -= most - accepted
        return accepted

    def _rows(self, block: Block, lo: int, most: int) -> Iterable[tuple[int, bytes, bytes | None, int | None]]:
        """Id, payload, key and partition (None = Kafka's choice) of ``most`` rows."""
        keys: Iterable[bytes | None] = repeat(None) if block.keys is None else block.keys[lo : lo + most]
        chosen: Iterable[int | None] = repeat(None)
        if self._explicit or block.keys is None:
            chosen = block.partitions[lo : lo + most]
        return zip(count(block.first_id + lo), block.messages(lo, lo + most), keys, chosen, strict=False)

    def _room_within(self, timeout_s: float) -> int:
        if self._outstanding >= self._window and timeout_s > 0 and not self._closed:
            self._wait_below(self._window, timeout_s)
        return self.room()

    def _wait_below(self, bound: int, timeout_s: float) -> None:
        with self._change:
            self._waiting = True
            self._change.wait_for(lambda: self._outstanding < bound, timeout_s)
            self._waiting = False

    def _done(self, ident: int, result: Any) -> None:
        """The client's thread, once a message: what became of it."""
        if not isinstance(result, BaseException):
            self._resolve(ident, Status.CONFIRMED)
            return
        # A refusal is shared by what was aborted because of it, which may well have been written: it counts for the first.
        refused = isinstance(result, _NOT_WRITTEN) and result is not self._blamed
        self._blamed = result
        self._gave_up(result)
        self._resolve(ident, Status.FAILED if refused else Status.INDETERMINATE)

    def _resolve(self, ident: int, status: Status) -> None:
        if self._confirms:
            self._report(ident, 1, status)
        with self._lock:  # callbacks of futures that are done already run in the caller's thread
            self._outstanding -= 1
            if self._waiting:
                self._change.notify_all()

    def _gave_up(self, error: BaseException) -> None:
        """The client gave up a message; an idempotent one is replaced."""
        with self._lock:
            if self._closed or self._replacing:
                return
            self._replacing = self._idempotent
        if not self._idempotent:
            self._events.append(Event("error", f"given up: {error!r}"))
            return
        self._events.append(Event("error", f"given up, and the producer is replaced: {error!r}"))
        threading.Thread(target=self._replace, name="replace-kafka-producer", daemon=True).start()

    def _replace(self) -> None:
        """Closes the producer that cannot go on, and connects another, as often as that takes."""
        shut(self._client)

        def get_ready(client: Any) -> None:
            client.config["max_block_ms"] = ANOTHER_MS
            self._get_ready(client)
            client.partitions_for(self._topic)

        client = another(self._connect, get_ready, self._events, lambda: not self._closed)
        with self._change:
            if client is not None and not self._closed:
                self._client, self._connections = client, Connections(client)
                self._replacing = False
                self._events.append(Event("reconnected", "another producer"))
                self._change.notify_all()
                return
        if client is not None:
            shut(client)

    def pump(self, timeout_s: float) -> None:
        """A plain wait of ``timeout_s`` seconds: the client's threads do the work."""
        time.sleep(max(timeout_s, 0.0))

    def flush(self, timeout_s: float) -> int:
        """Waits at most ``timeout_s`` seconds until all is resolved (batches leave after linger_ms); what is not."""
        if self._outstanding:
            self._wait_below(1, timeout_s)
        return self._outstanding

    def events(self) -> Sequence[Event]:
        """What happened since the last call."""
        if not self._closed and not self._replacing:
            self._events += self._connections.changes()
        return drained(self._events)

    def close(self) -> None:
        """Ends the client, waiting at most 2 s for what is under way; the rest is indeterminate. Idempotent."""
        if self._closed:
            return
        self._closed = True  # _replace() closes what it connects after this
        if self._replacing:
            self._wait_below(1, 2 * CLOSE_S)  # until it has closed the old one
        else:
            shut(self._client)


def check_size(block: Block) -> None:
    """Raises Refused for messages over the limit."""
    if block.size > PAYLOAD_BYTES_MAX:
        raise Refused(f"Kafka takes messages of up to {PAYLOAD_BYTES_MAX} bytes here, not {block.size}")
