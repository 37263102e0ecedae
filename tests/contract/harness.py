"""What the contract suite drives an adapter with: rows that prove themselves, outcomes by id, one run in one process.

It shares nothing with bench/: a mistake in the real harness must not hide a mistake in an adapter, nor the reverse.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from adapters import AdapterClass
from adapters.base import Adapter, Batch, Consumer, Event, Group, Options, Producer, Status, Topology, Wiring
from adapters.capabilities import Assignment

READY_S = 60.0  # a shared machine, a JVM that is cold, a group that is rebalancing
ARRIVE_S = float(os.environ.get("BROKERBENCH_CONTRACT_WAIT_S", "60"))  # shorter where something is known not to come
QUIET_S = 0.3  # after the last expected message: a duplicate would come now
SEQUENCE_BITS = 32  # an id is producer << 32 | sequence
BODY = bytes(range(256))


def payload_of(message_id: int, size: int) -> bytes:
    """Return the one right payload of an id: 8 bytes of id, then every byte value in an order that depends on the id."""
    shift = message_id % 251
    cycle = BODY[shift:] + BODY[:shift]
    return message_id.to_bytes(8, "little") + (cycle * (size // 256 + 1))[: size - 8]


def id_of(payload: bytes) -> int:
    return int.from_bytes(payload[:8], "little")


def murmur2(data: bytes) -> int:
    """Kafka's hash of a key, written down here once more so that the suite does not believe bench.keys."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    for at in range(0, len(data) - len(data) % 4, 4):
        k = (int.from_bytes(data[at : at + 4], "little") * m) & mask
        h = ((h * m) & mask) ^ (((k ^ (k >> 24)) * m) & mask)
    if tail := data[len(data) - len(data) % 4 :]:
        h = ((h ^ int.from_bytes(tail, "little")) * m) & mask
    h = ((h ^ (h >> 13)) * m) & mask
    return h ^ (h >> 15)


class Rows:
    """adapters.base.Block of ``count`` messages of ``size`` bytes from one producer."""

    def __init__(self, count: int, size: int = 64, *, producer: int = 0, first: int = 0, partitions: int = 1, keyed: bool = False) -> None:
        self.first_id = (producer << SEQUENCE_BITS) + first
        self.count = count
        self.size = size
        self.sizes: Sequence[int] | None = None
        self.keys: Sequence[bytes] | None = None
        self.partitions: Sequence[int] = [(first + i) % partitions for i in range(count)]
        if keyed:
            self.keys = [b"customer-%04d" % ((first + i) * 7919 % 100) for i in range(count)]
            self.partitions = [(murmur2(key) & 0x7FFFFFFF) % partitions for key in self.keys]
        self._rows = tuple(payload_of(self.first_id + i, size) for i in range(count))
        self._buffer = memoryview(b"".join(self._rows))

    @property
    def ids(self) -> range:
        return range(self.first_id, self.first_id + self.count)

    def messages(self, lo: int, hi: int) -> Sequence[bytes]:
        return self._rows[lo:hi]

    def views(self, lo: int, hi: int) -> list[bytes | memoryview]:
        return [memoryview(row) for row in self.messages(lo, hi)]

    def raw(self, lo: int, hi: int) -> memoryview:
        return self._buffer[lo * self.size : hi * self.size]


class MixedRows(Rows):
    """The same with a size of each row."""

    def __init__(self, sizes: Sequence[int], *, producer: int = 0, first: int = 0, partitions: int = 1) -> None:
        super().__init__(len(sizes), max(sizes), producer=producer, first=first, partitions=partitions)
        self.sizes = list(sizes)
        self._rows = tuple(row[:size] for row, size in zip(self._rows, sizes, strict=True))

    def raw(self, lo: int, hi: int) -> memoryview:
        return memoryview(b"".join(self._rows[lo:hi]))


class Outcomes:
    """adapters.base.Outcomes that keeps each report, so that a second one for the same message shows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: dict[tuple[int, int], list[Status]] = {}

    def run(self, first_id: int, count: int, status: Status, group: int = -1, step: int = 1) -> None:
        self.some(range(first_id, first_id + count * step, step), status, group)

    def some(self, ids: Sequence[int], status: Status, group: int = -1) -> None:
        with self._lock:
            for message_id in ids:
                self._reports.setdefault((message_id, group), []).append(status)

    def id_of(self, payload: bytes) -> int:
        return id_of(payload)

    def reports(self) -> dict[tuple[int, int], list[Status]]:
        with self._lock:
            return {key: list(statuses) for key, statuses in self._reports.items()}


@dataclass
class Reader:
    """One open consumer, and all that it has handed over: kept as it came, so that a reused buffer shows."""

    group: str
    member: int
    consumer: Consumer
    batches: list[Batch] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    messages: int = 0

    def poll(self, max_messages: int = 100, timeout_s: float = 0.005) -> Batch | None:
        batch = self.consumer.poll(max_messages, timeout_s)
        self.events += self.consumer.events()
        count = length(batch)
        assert count <= max_messages, f"poll({max_messages}) handed over {count} messages"
        if batch is None or not count:
            return None
        self.batches.append(batch)
        self.messages += count
        return batch

    def payloads(self) -> list[bytes]:
        return [payload for batch in self.batches for payload in payloads_of(batch)]

    def assignment(self) -> tuple[int, ...] | None:
        """The last whole assignment that it told of."""
        return next((event.partitions for event in reversed(self.events) if event.kind == "assigned"), None)


def length(batch: Batch | None) -> int:
    if batch is None:
        return 0
    return len(batch.payloads) if batch.payloads is not None else batch.count


def payloads_of(batch: Batch) -> list[bytes]:
    if batch.payloads is not None:
        return [bytes(payload) for payload in batch.payloads]
    assert batch.buffer is not None
    if batch.sizes is not None:
        assert batch.count == len(batch.sizes)
        assert batch.buffer.nbytes == sum(batch.sizes), "a buffer of rows is not as long as its rows"
        return [bytes(batch.buffer[end - size : end]) for size, end in zip(batch.sizes, accumulate(batch.sizes), strict=True)]
    assert batch.buffer.nbytes == batch.count * batch.size, "a buffer of rows is not count x size bytes"
    return [bytes(batch.buffer[i * batch.size : (i + 1) * batch.size]) for i in range(batch.count)]


@dataclass
class Case:
    """One system as the suite tests it: its adapter, the servers to use, how to look from outside; mode "" = its first."""

    system: str
    adapter_class: AdapterClass
    servers: list[str]
    witness: Callable[[Wiring, str], Any] | None = None
    profile: str = "defaults"
    mode: str = ""
    server: Mapping[str, str] = field(default_factory=dict)  # options of the servers, as Options.server has them
    settings: Mapping[str, str] = field(default_factory=dict)  # those of a check go over them
    started: Callable[[Wiring], AbstractContextManager[list[str]]] | None = None  # a server for each run, set up for its wiring

    def adapter(self, **options: Any) -> Adapter:
        settings = {**self.settings, **options.pop("settings", {})}
        mine = {"profile": self.profile, "mode": self.mode, "settings": settings, "server": self.server}
        return self.adapter_class(Options(**{**mine, **options}))

    @property
    def broker(self) -> bool:
        return bool(self.servers) or self.started is not None

    @contextmanager
    def stand(self, topology: Topology, **options: Any) -> Iterator[Stand]:
        """A wired and prepared run; closed and cleaned up at the end."""
        adapter = self.adapter(**options)
        wiring = plain(adapter.wire(topology, f"contract-{uuid.uuid4().hex[:10]}"))
        with contextlib.ExitStack() as stack:
            servers = self.servers if self.started is None else stack.enter_context(self.started(wiring))
            stand = Stand(adapter, topology, {**wiring, "servers": servers})
            stack.callback(stand.close)
            yield stand


def topology(producers: int = 1, groups: int = 1, members: int = 1, partitions: int = 1) -> Topology:
    return Topology(producers, tuple(Group(f"g{i}", members) for i in range(groups)), partitions)


class Stand:
    """One run: wiring, open producers and consumers."""

    def __init__(self, adapter: Adapter, wanted: Topology, wiring: Wiring) -> None:
        self.adapter = adapter
        self.topology = wanted
        self.capabilities = adapter.capabilities
        self.wiring = plain(adapter.prepare(plain(wiring)))
        self.readers: list[Reader] = []
        self.producers: list[Producer] = []
        self.outcomes: list[Outcomes] = []
        self.producer_events: list[Event] = []

    def open(self) -> None:
        """All consumers, then all producers, and everybody ready."""
        for group in self.topology.groups:
            for member in range(group.members):
                self.add_reader(group.name, member)
        for index in range(self.topology.producers):
            self.add_producer(index)
        self.wait_ready()

    def add_reader(self, group: str = "g0", member: int = 0) -> Reader:
        reader = Reader(group, member, self.adapter.consumer(self.wiring, group, member))
        self.readers.append(reader)
        return reader

    def add_producer(self, index: int = 0) -> Producer:
        outcomes = Outcomes()
        producer = self.adapter.producer(self.wiring, index, outcomes)
        self.producers.append(producer)
        self.outcomes.append(outcomes)
        return producer

    def wait_ready(self) -> None:
        deadline_s = time.monotonic() + READY_S
        for producer in self.producers:
            while not producer.ready(0.5):
                assert time.monotonic() < deadline_s, f"a producer is not ready after {READY_S:g} s"
                self._poll_for_events()
        while not self.settled():
            assert time.monotonic() < deadline_s, f"consumers are not ready after {READY_S:g} s: {[r.events for r in self.readers]}"
            self._poll_for_events()

    def _poll_for_events(self) -> None:
        for reader in self.readers:
            assert reader.poll(timeout_s=0.02) is None, "a message before any was sent"

    def settled(self) -> bool:
        """Everybody said "ready"; where partitions are owned, they are shared out whole."""
        if not all(any(event.kind == "ready" for event in reader.events) for reader in self.readers):
            return False
        if self.capabilities.assignment is not Assignment.PARTITIONS:
            return True
        for group in {reader.group for reader in self.readers}:
            owned = [p for reader in self.readers if reader.group == group for p in reader.assignment() or ()]
            if sorted(owned) != list(range(self.topology.partitions)):
                return False
        return True

    def targets(self) -> list[int]:
        """The groups that send() is called for: -1 = once for all."""
        return list(range(len(self.topology.groups))) if self.capabilities.send_per_group else [-1]

    def send(self, blocks: Sequence[Rows], *, batch: int = 100, poll: bool = True) -> None:
        """Every block (one a producer) to every group, polling meanwhile, until the adapter has accepted it all."""
        reached = {(index, target): 0 for index in range(len(blocks)) for target in self.targets()}
        deadline_s = time.monotonic() + ARRIVE_S
        while any(at < blocks[index].count for (index, _), at in reached.items()):
            assert time.monotonic() < deadline_s, f"not accepted after {ARRIVE_S:g} s: {reached}"
            for (index, target), at in reached.items():
                block, producer = blocks[index], self.producers[index]
                hi = min(block.count, at + min(batch, producer.room()))
                if at < hi:
                    accepted = producer.send(block, at, hi, 0, target)
                    assert 0 <= accepted <= hi - at, f"send() of {hi - at} rows accepted {accepted}"
                    reached[index, target] = at + accepted
                producer.pump(0.001)
                self.producer_events += producer.events()
            if poll:
                self.poll_all()

    def poll_all(self, *, ack: bool = True, max_messages: int = 100) -> int:
        taken = 0
        for reader in self.readers:
            batch = reader.poll(max_messages)
            if batch is not None:
                taken += length(batch)
                if ack:
                    reader.consumer.ack(batch, length(batch))
        return taken

    def receive(self, expected: int, *, ack: bool = True) -> None:
        """Poll until every group has ``expected`` messages, and a little longer for what should not come."""
        deadline_s = time.monotonic() + ARRIVE_S
        while any(count < expected for count in self.received().values()) and time.monotonic() < deadline_s:
            self.poll_all(ack=ack)
            for producer in self.producers:
                producer.pump(0)
        deadline_s = time.monotonic() + QUIET_S
        while time.monotonic() < deadline_s:
            self.poll_all(ack=ack)

    def received(self) -> dict[str, int]:
        counts = {group.name: 0 for group in self.topology.groups}
        for reader in self.readers:
            counts[reader.group] += reader.messages
        return counts

    def flush(self) -> None:
        for index, producer in enumerate(self.producers):
            left = producer.flush(20.0)
            if self.capabilities.confirms:
                assert left == 0, f"flush() of producer {index} left {left} unresolved"
            else:
                assert left is None or left == 0

    def close(self) -> None:
        for producer in self.producers:
            producer.close()
        for reader in self.readers:
            reader.consumer.close()
        self.adapter.cleanup(self.wiring)


def plain(wiring: Wiring) -> Wiring:
    """The wiring as an endpoint gets it: through JSON. Fails where that changes it."""
    copy: Wiring = json.loads(json.dumps(wiring))
    assert copy == wiring, f"wiring is not plain JSON data: {wiring}"
    return copy


def assert_delivered(stand: Stand, blocks: Sequence[Rows]) -> None:
    """Every group has each message once, whole; lanes in order where that is promised."""
    wanted = {block.first_id + i: (block, i) for block in blocks for i in range(block.count)}
    for group in stand.topology.groups:
        readers = [reader for reader in stand.readers if reader.group == group.name]
        counts: Counter[int] = Counter()
        for reader in readers:
            for payload in reader.payloads():
                message_id = id_of(payload)
                assert message_id in wanted, f"{group.name}: a message that was never sent: {payload[:16].hex()}..."
                block, row = wanted[message_id]
                size = block.size if block.sizes is None else block.sizes[row]
                assert payload == payload_of(message_id, size), (
                    f"{group.name}: message {message_id:#x} of {size} bytes is not as it was sent"
                )
                counts[message_id] += 1
        missing = [message_id for message_id in wanted if not counts[message_id]]
        repeated = {message_id: n for message_id, n in counts.items() if n > 1}
        assert not missing, f"{group.name}: {len(missing)} of {len(wanted)} messages are missing, first {missing[0]:#x}"
        assert not repeated, f"{group.name}: {len(repeated)} messages came more than once: {list(repeated.items())[:5]}"
        if stand.capabilities.order_delivered:
            for reader in readers:
                assert_ordered(reader, wanted)


def assert_ordered(reader: Reader, wanted: dict[int, tuple[Rows, int]]) -> None:
    last: dict[tuple[int, int], int] = {}
    for payload in reader.payloads():
        message_id = id_of(payload)
        block, row = wanted[message_id]
        lane = (message_id >> SEQUENCE_BITS, block.partitions[row])
        assert message_id > last.get(lane, -1), f"{reader.group}: lane {lane}: {message_id:#x} after {last[lane]:#x}"
        last[lane] = message_id


def assert_outcomes(stand: Stand, blocks: Sequence[Rows]) -> None:
    """Where the system confirms: each (message, group) exactly once. Where it does not: nothing is claimed."""
    for block, outcomes in zip(blocks, stand.outcomes, strict=True):
        reports = outcomes.reports()
        if not stand.capabilities.confirms:
            claimed = [key for key, statuses in reports.items() if Status.CONFIRMED in statuses]
            assert not claimed, f"capabilities.confirms is false, yet {len(claimed)} messages were reported CONFIRMED"
            continue
        expected = {(message_id, target) for message_id in block.ids for target in stand.targets()}
        missing, strange = expected - reports.keys(), reports.keys() - expected
        assert not missing, f"{len(missing)} of {len(expected)} (message, group)s have no outcome, first {min(missing)}"
        assert not strange, f"outcomes of messages that were not sent: {sorted(strange)[:5]}"
        wrong = {key: statuses for key, statuses in reports.items() if statuses != [Status.CONFIRMED]}
        assert not wrong, f"{len(wrong)} outcomes are not one CONFIRMED: {list(wrong.items())[:5]}"
