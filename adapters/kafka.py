"""Apache Kafka through kafka-python: idempotent producer, acks=all, commit after processing.

``defaults`` sends as the documentation teaches: ``send(topic, value, key=...)``, and Kafka's own partitioner (murmur2 of
the key) chooses the partition, which is also how the harness routes by key. Without keys the harness goes round-robin, so
the partition is given. ``tuned`` always gives the partition and lingers for batches of up to 512 KiB.

Offsets are committed with ``commit_async``, as brokers' own benchmarks do: one commit is in flight at a time, and what is
acknowledged meanwhile goes with the next one, at the next ack() or poll(); close() commits the rest and waits for it. A
commit can only lag behind what was processed, so a crash repeats messages and never skips one. A commit that fails, and
the ack of a batch whose partition went to another member, is the event "ack-failed".

kafka-python serves its connections in threads of its own: outcomes come from there, pump() is a plain wait, and it
reconnects by itself, silently. A lost connection is seen here as a fall of its metric ``connection-count`` between two
calls of events(); one that comes back faster is not. While no broker answers, delivery_timeout_ms resolves the batches that
were on their way; those behind them wait for a new producer id, so flush() may count them until close() gives them up.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, repeat
from typing import Any

from kafka import (
    ConsumerRebalanceListener,
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka import errors as kafka_errors

from adapters.base import Batch, Block, Event, Options, Outcomes, Status, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import AdapterError, BadSetting, Refused, Unreachable, Unsupported
from adapters.options import check_profile, choose_mode

BOOTSTRAP_MS = 9000
CLOSE_S = 2.0
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

# Ours, beside the client's own names.
_OURS: dict[str, int] = {"window": 10_000, "replication_factor": 1}
# What the harness or the mode decides.
_FIXED: dict[str, str] = {
    "bootstrap_servers": "the server is named by server=",
    "acks": "the mode decides it",
    "enable_auto_commit": "the mode decides it: offsets are committed after processing",
    "group_id": "each consumer group of the scenario has its own",
    "transactional_id": "there is no transactional mode",
    "auto_offset_reset": "a new group must read from the first message",
    "max_poll_records": "the scenario's batch decides it",
}
_BASE_PRODUCER: dict[str, Any] = {"acks": "all", "bootstrap_timeout_ms": BOOTSTRAP_MS, "allow_auto_create_topics": False}
_BASE_CONSUMER: dict[str, Any] = {
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "bootstrap_timeout_ms": BOOTSTRAP_MS,
    "allow_auto_create_topics": False,
}
_TUNED_PRODUCER: dict[str, Any] = {"linger_ms": 5, "batch_size": 512 * 1024}

_ACKS_ALL = Mode(
    name="acks-all",
    delivery=Delivery.AT_LEAST_ONCE,
    ordering="partition",
    persistence=Persistence.PAGE_CACHE,
    copies=1,
    late_subscriber="the whole log, from the first message that retention keeps",
    slow_consumer="reads later: the log keeps what retention allows",
    source="https://kafka.apache.org/documentation/#producerconfigs_acks",
)


def _translate(error: Exception, servers: Sequence[str]) -> AdapterError:
    """The one place where kafka-python's errors become ours."""
    where = ", ".join(servers)
    if isinstance(error, kafka_errors.InvalidReplicationFactorError):
        return BadSetting(f"Kafka at {where} has too few brokers for this replication_factor")
    if isinstance(error, kafka_errors.KafkaConfigurationError | ValueError | TypeError | AssertionError):
        return BadSetting(f"kafka-python refuses its settings: {error}")
    if isinstance(error, kafka_errors.RetriableError | OSError):
        return Unreachable(f"no Kafka answers at {where} within {BOOTSTRAP_MS // 1000} s: {error}")
    return Refused(f"Kafka at {where} says: {error!r}")


@contextlib.contextmanager
def _translated(servers: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except (kafka_errors.KafkaError, OSError, ValueError, TypeError, AssertionError) as error:
        raise _translate(error, servers) from error


class _Connections:
    """Watches the client's count of open connections, for the events that kafka-python does not give."""

    def __init__(self, client: Any) -> None:
        metrics = client.metrics(raw=True) or {}  # none with metrics_enabled=false: then nothing is seen
        self._metric = next((metric for name, metric in metrics.items() if name.name == "connection-count"), None)
        self._most = 0
        self._lost = False

    def changes(self) -> list[Event]:
        if self._metric is None:
            return []
        now = int(self._metric.value())
        if now < self._most and not self._lost:
            self._lost = True
            return [Event("closed", f"{self._most - now} of {self._most} connections to brokers were lost")]
        if self._lost and now >= self._most:
            self._lost = False
            return [Event("reconnected", f"{now} connections to brokers")]
        self._most = max(self._most, now)
        return []


class Sender:
    """A KafkaProducer with at most ``window`` messages that are not resolved."""

    def __init__(self, client: Any, wiring: Wiring, outcomes: Outcomes, *, window: int, explicit: bool) -> None:
        self._client = client
        self._topic: str = wiring["topic"]
        self._partitions: int = wiring["partitions"]
        self._report = outcomes.run
        self._window = window
        self._explicit = explicit  # give the partition also where there are keys
        self._events: deque[Event] = deque()  # from two threads: append and popleft are atomic
        self._connections = _Connections(client)
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        self._outstanding = 0
        self._waiting = False
        self._was_ready = False
        self._closed = False

    def ready(self, timeout_s: float) -> bool:
        """Whether the topic's partitions are known, waiting at most ``timeout_s`` seconds: later sends do not wait for it."""
        if self._closed:
            return False
        self._client.config["max_block_ms"] = timeout_s * 1000
        try:
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

    def room(self) -> int:
        """What the window leaves."""
        return 0 if self._closed else max(0, self._window - self._outstanding)

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:  # noqa: ARG002  # one topic serves all groups
        """Hands rows lo..hi to the client as far as the window goes; waits at most ``timeout_s`` seconds for room of one.

        A row that the client itself refuses (over its max_request_size) is accepted and failed: provably not written.
        Raises Refused for messages over the adapter's limit.
        """
        if block.size > PAYLOAD_BYTES_MAX:
            raise Refused(f"Kafka takes messages of up to {PAYLOAD_BYTES_MAX} bytes here, not {block.size}")
        most = min(hi - lo, self._room_within(timeout_s))
        if most <= 0:
            return 0
        send, topic, done = self._client.send, self._topic, self._done
        keys: Iterable[bytes | None] = repeat(None) if block.keys is None else block.keys[lo : lo + most]
        chosen: Iterable[int | None] = repeat(None)
        if self._explicit or block.keys is None:
            chosen = block.partitions[lo : lo + most]
        # The client waits only for a topic's metadata that it lost.
        self._client.config["max_block_ms"] = timeout_s * 1000
        with self._lock:
            self._outstanding += most
        accepted = 0
        for ident, message, key, partition in zip(count(block.first_id + lo), block.messages(lo, lo + most), keys, chosen, strict=False):
            try:
                future = send(topic, message, key, None, partition)
            except (kafka_errors.KafkaTimeoutError, kafka_errors.IllegalStateError) as error:
                self._events.append(Event("error", f"not sent: {error!r}"))
                break
            except (kafka_errors.KafkaError, ValueError) as error:
                self._events.append(Event("error", f"not sent: {error!r}"))
                self._resolve(ident, Status.FAILED)
            else:
                outcome = partial(done, ident)
                future.add_callback(outcome)
                future.add_errback(outcome)
            accepted += 1
        if accepted < most:
            with self._lock:
                self._outstanding -= most - accepted
        return accepted

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
        elif isinstance(result, _NOT_WRITTEN):
            self._resolve(ident, Status.FAILED)
        else:
            self._resolve(ident, Status.INDETERMINATE)

    def _resolve(self, ident: int, status: Status) -> None:
        self._report(ident, 1, status)
        with self._lock:  # callbacks of futures that are done already run in the caller's thread
            self._outstanding -= 1
            if self._waiting:
                self._change.notify()

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
        if not self._closed:
            self._events += self._connections.changes()
        return _drained(self._events)

    def close(self) -> None:
        """Ends the client, waiting at most 2 s for what is under way; the rest is indeterminate. Idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            self._client.close(timeout=CLOSE_S)
        except kafka_errors.KafkaError:
            # KafkaProducer.close() flushes first and, where that times out, leaves its thread and its futures behind:
            # kafka-python 3.0 has no public way to give them up.
            thread = self._client._sender  # noqa: SLF001  # see above; held by tests/integration/test_kafka_adapter.py
            thread.force_close()
            thread.join(CLOSE_S)
            with contextlib.suppress(kafka_errors.KafkaError):  # what it cannot flush was given up above
                self._client.close(timeout=0)


@dataclass
class _Polled:
    """What one poll() gave: rows start..end of each partition, and how often that partition had been taken away by then."""

    serial: int
    segments: list[tuple[TopicPartition, int, int, int]]
    positions: Sequence[int]


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python ships no types
    """Keeps the whole assignment; runs in the client's thread."""

    def __init__(self, events: deque[Event]) -> None:
        self._events = events
        self.owned: frozenset[TopicPartition] = frozenset()
        self.taken: dict[TopicPartition, int] = {}  # how often each was taken away

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

    def _now(self, owned: frozenset[TopicPartition]) -> None:
        self.owned = owned
        self._events.append(Event("assigned", partitions=tuple(sorted(each.partition for each in owned))))


class Receiver:
    """A KafkaConsumer in its group, by subscription."""

    def __init__(self, client: Any, topic: str) -> None:
        self._client = client
        self._events: deque[Event] = deque()
        self._listener = _Listener(self._events)
        self._connections = _Connections(client)
        self._serial = 0
        self._unacked: deque[_Polled] = deque()
        self._pending: dict[TopicPartition, OffsetAndMetadata] = {}  # acknowledged, not committed
        self._flying: dict[TopicPartition, OffsetAndMetadata] = {}  # in the commit that is under way
        self._was_ready = False
        self._closed = False
        client.subscribe([topic], listener=self._listener)

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """Up to ``max_messages``, waiting at most ``timeout_s`` seconds for the first. The group is joined in here."""
        if self._closed:
            return None
        self._commit()
        try:
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
        token = _Polled(self._serial, segments, positions)
        self._unacked.append(token)
        return Batch(payloads=payloads, count=len(payloads), positions=positions, token=token)

    def ack(self, batch: Batch, upto: int) -> None:
        """Commits, in the background, the offsets of all polled before and of ``upto`` messages of this batch."""
        if self._closed:
            self._events.append(Event("ack-failed", "the consumer is closed"))
            return
        token: _Polled = batch.token
        lost: set[int] = set()
        while self._unacked and self._unacked[0].serial < token.serial:
            older = self._unacked.popleft()
            self._take(older, len(older.positions), lost)
        self._take(token, upto, lost)
        if upto >= batch.count and self._unacked and self._unacked[0] is token:
            self._unacked.popleft()
        if lost:
            self._events.append(Event("ack-failed", f"partitions {sorted(lost)} went to another member: they are delivered again"))
        self._commit()

    def _take(self, polled: _Polled, upto: int, lost: set[int]) -> None:
        listener = self._listener
        for partition, start, end, taken in polled.segments:
            if start >= upto:
                break
            if partition in listener.owned and listener.taken.get(partition, 0) == taken:
                self._pending[partition] = OffsetAndMetadata(polled.positions[min(end, upto) - 1] + 1, "", -1)
            else:
                lost.add(partition.partition)

    def _commit(self) -> None:
        """Sends what is pending unless a commit is under way."""
        if not self._pending or self._flying:
            return
        self._flying, self._pending = self._pending, {}
        try:
            self._client.commit_async(self._flying, self._committed)
        except kafka_errors.KafkaError as error:
            self._committed(self._flying, error)

    def _committed(self, _offsets: Any, result: Any) -> None:
        """kafka-python calls it from within poll() and commit()."""
        self._flying = {}
        if isinstance(result, BaseException):
            self._events.append(Event("ack-failed", repr(result)))

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
        return _drained(self._events)

    def close(self) -> None:
        """Commits what was acknowledged (at most 2 s), leaves the group. Idempotent."""
        if self._closed:
            return
        self._closed = True
        left = self._flying | self._pending
        if left:
            try:
                self._client.commit(left, CLOSE_S * 1000)
            except kafka_errors.KafkaError as error:
                self._events.append(Event("ack-failed", f"at close: {error!r}"))
        try:
            self._client.close(autocommit=False, timeout_ms=CLOSE_S * 1000)
        except kafka_errors.KafkaError as error:
            self._events.append(Event("error", f"at close: {error!r}"))


class KafkaAdapter:
    """Apache Kafka by kafka-python."""

    capabilities = Capabilities(
        system="Apache Kafka",
        client="kafka-python",
        architecture="broker",
        intermediary=True,
        stores=True,
        fan_out=Support.NATIVE,
        work_sharing=Support.NATIVE,
        partitions=Support.NATIVE,
        modes=(_ACKS_ALL,),
        confirms=True,
        acks=True,
        assignment=Assignment.PARTITIONS,
        payload_bytes_max=PAYLOAD_BYTES_MAX,
        threads=True,
        quotas="max.message.bytes and max_request_size: 1 MiB with the record's overhead; no more members than partitions have work",
    )

    def __init__(self, options: Options) -> None:
        self.options = options
        tuned = check_profile("kafka", options) == "tuned"
        self._explicit = tuned
        ours, producer, consumer = _settings(options)
        self._window: int = ours["window"]
        self._copies: int = ours["replication_factor"]
        self._producer = _BASE_PRODUCER | (_TUNED_PRODUCER if tuned else {}) | producer
        self._consumer = _BASE_CONSUMER | {"max_poll_records": options.batch} | consumer
        self.mode = replace(choose_mode(self.capabilities, options), copies=self._copies)

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """Names of the topic and of the consumer groups, unique to this call."""
        topic = f"brokerbench.{run_id}.{uuid.uuid4().hex[:8]}"
        groups = {group.name: f"{topic}.{group.name}" for group in topology.groups}
        return {"topic": topic, "partitions": topology.partitions, "groups": groups}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Creates the topic and waits until each partition has a leader; one that is there already is left as it is."""
        about = {"num_partitions": wiring["partitions"], "replication_factor": self._copies}
        with self._admin(wiring) as admin:
            try:
                admin.create_topics({wiring["topic"]: about}, wait_for_metadata=True)
            except kafka_errors.TopicAlreadyExistsError:
                admin.wait_for_topics([wiring["topic"]])
        return wiring

    def cleanup(self, wiring: Wiring) -> None:
        """Deletes this wiring's topic and consumer groups; what is gone already is fine."""
        with self._admin(wiring) as admin:
            with contextlib.suppress(kafka_errors.UnknownTopicOrPartitionError):
                admin.delete_topics([wiring["topic"]])
            for group in wiring["groups"].values():
                # A group that never committed does not exist; one with a member that was killed goes when its session ends.
                with contextlib.suppress(kafka_errors.BrokerResponseError):
                    admin.delete_groups([group])

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> Sender:  # noqa: ARG002  # producers are alike
        """Connects; raises Unreachable within 10 s, BadSetting for settings that contradict each other."""
        with _translated(wiring["servers"]):
            client = KafkaProducer(bootstrap_servers=list(wiring["servers"]), **self._producer)
        return Sender(client, wiring, outcomes, window=self._window, explicit=self._explicit)

    def consumer(self, wiring: Wiring, group: str, member: int) -> Receiver:  # noqa: ARG002  # the group assigns partitions, not we
        """Connects (joining is done by poll()); raises Unreachable within 10 s, BadSetting."""
        if group not in wiring["groups"]:
            raise BadSetting(f"no group {group!r} in this wiring, which has {', '.join(wiring['groups'])}")
        with _translated(wiring["servers"]):
            client = KafkaConsumer(bootstrap_servers=list(wiring["servers"]), group_id=wiring["groups"][group], **self._consumer)
            return Receiver(client, wiring["topic"])

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """Every setting in force that is a plain value (null = the library's or the system's choice)."""
        producer = {"send": "partition=" if self._explicit else "key= (partition= where there is no key)", "window": self._window}
        consumer = {"commit": "commit_async, one under way"}
        common = {"replication_factor": self._copies}
        return {
            "producer": _plain(KafkaProducer.DEFAULT_CONFIG | self._producer) | producer | common,
            "consumer": _plain(KafkaConsumer.DEFAULT_CONFIG | self._consumer) | consumer | common,
        }

    @contextlib.contextmanager
    def _admin(self, wiring: Wiring) -> Iterator[Any]:
        servers = list(wiring["servers"])
        with _translated(servers):
            admin = KafkaAdminClient(bootstrap_servers=servers, bootstrap_timeout_ms=BOOTSTRAP_MS)
            try:
                yield admin
            finally:
                admin.close()


def _drained(events: deque[Event]) -> list[Event]:
    """Takes what is there; the client's thread may append meanwhile."""
    return [events.popleft() for _ in range(len(events))]


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a client's configuration fits into JSON; without names of servers and passwords."""
    hidden = ("ssl_", "sasl_", "bootstrap_servers", "client_id", "group_id")
    plain: dict[str, Any] = {}
    for name, value in config.items():
        if name.startswith(hidden) or not isinstance(value, bool | int | float | str | None):
            continue
        plain[name] = str(value) if isinstance(value, float) and not math.isfinite(value) else value
    return plain


def _settings(options: Options) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The variant's settings, typed: ours, the producer's, the consumer's (a name that both know goes to both)."""
    ours: dict[str, Any] = dict(_OURS)
    producer: dict[str, Any] = {}
    consumer: dict[str, Any] = {}
    for name, text in options.settings.items():
        if name in _FIXED:
            raise BadSetting(f"kafka: {name} cannot be set: {_FIXED[name]}")
        if name in _OURS:
            ours[name] = _value(name, str(text), _OURS[name])
            if ours[name] < 1:
                raise BadSetting(f"kafka: {name} = {text} is too small; at least 1")
            continue
        known = False
        for defaults, target in ((KafkaProducer.DEFAULT_CONFIG, producer), (KafkaConsumer.DEFAULT_CONFIG, consumer)):
            if name in defaults:
                known = True
                target[name] = _value(name, str(text), defaults[name])
        if not known:
            names = set(KafkaProducer.DEFAULT_CONFIG) | set(KafkaConsumer.DEFAULT_CONFIG) | set(_OURS)
            near = difflib.get_close_matches(name, names.difference(_FIXED), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "the names are those of KafkaProducer and KafkaConsumer"
            raise BadSetting(f"kafka has no setting {name!r}: {hint}")
    return ours, producer, consumer


def _value(name: str, text: str, default: Any) -> Any:
    """``text`` in the type of the library's default."""
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise BadSetting(f"kafka: {name} is true or false, not {text!r}")
        return text.lower() == "true"
    if isinstance(default, int | float):
        try:
            return float(text) if isinstance(default, float) and "." in text else int(text)
        except ValueError:
            raise BadSetting(f"kafka: {name} takes a number, not {text!r}") from None
    if default is None or isinstance(default, str):
        return int(text) if text.isdecimal() else text
    raise BadSetting(f"kafka: {name} takes a Python object and cannot be given as a text")


ADAPTER = KafkaAdapter
