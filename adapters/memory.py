"""The reference: a partitioned log in this process's memory, with the whole contract (acknowledged, shared, bounded).

It is no system to measure: producers and consumers must live in one process, so only the contract suite and unit
tests use it. It shows what each call means where no network, server or client library is in the way.
"""
# ruff: noqa: ARG002  # the signatures are the contract's; this system needs not every argument

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.base import Batch, Block, Event, Options, Outcomes, Status, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import Refused, Unreachable, Unsupported
from adapters.options import check_profile, choose_mode, integer_settings

PAYLOAD_BYTES_MAX = 1 << 20

CAPABILITIES = Capabilities(
    system="Memory",
    client="",
    architecture="broker",
    intermediary=False,
    stores=True,
    fan_out=Support.NATIVE,
    work_sharing=Support.NATIVE,
    partitions=Support.NATIVE,
    modes=(
        Mode(
            name="acknowledged",
            delivery=Delivery.AT_LEAST_ONCE,
            ordering="partition",
            persistence=Persistence.MEMORY,
            copies=1,
            late_subscriber="everything that its group has not acknowledged",
            slow_consumer="the producer is told that there is no room",
            source="adapters/memory.py",
        ),
    ),
    confirms=True,
    acks=True,
    assignment=Assignment.PARTITIONS,
    payload_bytes_max=PAYLOAD_BYTES_MAX,
    quotas="one process",
)

_hubs: dict[str, Hub] = {}  # by run id: what a server would be


@dataclass
class Cursor:
    """How far one group has got in one partition."""

    acknowledged: int = 0  # offset of the first message that is not
    position: int = 0  # offset of the next to hand out
    seen: int = 0  # offset after the last ever handed out: below it is a redelivery
    owner: MemoryConsumer | None = None


@dataclass
class Log:
    """One partition: messages from offset ``base`` on, until every group has acknowledged them."""

    base: int = 0
    messages: deque[bytes] = field(default_factory=deque)


class Hub:
    """All partitions and groups of one run, under one lock."""

    def __init__(self, groups: Sequence[str], partitions: int, capacity: int) -> None:
        self.capacity = capacity  # messages a partition
        self.logs = [Log() for _ in range(partitions)]
        self.cursors = {group: [Cursor() for _ in range(partitions)] for group in groups}
        self.members: dict[str, list[MemoryConsumer]] = {group: [] for group in groups}
        self.changed = threading.Condition()

    def rooms(self) -> list[int]:
        """How many messages each partition would take now."""
        return [self.capacity - len(log.messages) for log in self.logs]

    def append(self, partition: int, payload: bytes) -> bool:
        """False where the partition is full. The caller holds the lock."""
        log = self.logs[partition]
        if len(log.messages) >= self.capacity:
            return False
        log.messages.append(payload)
        return True

    def share_out(self, group: str) -> None:
        """Gives the partitions to the members there are now; what is not acknowledged is handed out again by its new owner."""
        members = self.members[group]
        for partition, cursor in enumerate(self.cursors[group]):
            owner = members[partition % len(members)] if members else None
            if owner is not cursor.owner:
                cursor.owner = owner
                cursor.position = cursor.acknowledged
        for member in members:
            member.assigned(tuple(p for p, cursor in enumerate(self.cursors[group]) if cursor.owner is member))
        self.changed.notify_all()

    def forget(self, partition: int) -> None:
        """Drops what every group has acknowledged."""
        log = self.logs[partition]
        done = min((cursors[partition].acknowledged for cursors in self.cursors.values()), default=log.base + len(log.messages))
        while log.base < done:
            log.messages.popleft()
            log.base += 1
        self.changed.notify_all()


class Memory:
    """The reference adapter. Setting: ``capacity``, messages that a partition holds."""

    capabilities = CAPABILITIES

    def __init__(self, options: Options) -> None:
        check_profile("memory", options, ("defaults",))
        self.mode: Mode = choose_mode(CAPABILITIES, options)
        self._settings = integer_settings("memory", options, {"capacity": 2_000}, {"capacity": 1})

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """Names only: there is no server."""
        return {"run_id": run_id, "groups": [group.name for group in topology.groups], "partitions": topology.partitions}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Makes the hub, once."""
        _hubs.setdefault(wiring["run_id"], Hub(wiring["groups"], wiring["partitions"], self._settings["capacity"]))
        return wiring

    def cleanup(self, wiring: Wiring) -> None:
        """Forgets this run's hub; others stay."""
        _hubs.pop(wiring["run_id"], None)

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> MemoryProducer:
        """Raises Unreachable where prepare() has not run in this process."""
        return MemoryProducer(hub_of(wiring), outcomes)

    def consumer(self, wiring: Wiring, group: str, member: int) -> MemoryConsumer:
        """Raises Unreachable as producer() does, Refused for a group that wire() was not told of."""
        hub = hub_of(wiring)
        if group not in hub.cursors:
            raise Refused(f"memory: no group {group!r} in this run; it has: {', '.join(hub.cursors)}")
        return MemoryConsumer(hub, group)

    def depth(self, wiring: Wiring, group: str) -> int | None:
        """Messages that a group has not acknowledged. Raises Unreachable as producer() does."""
        hub = hub_of(wiring)
        with hub.changed:
            return sum(log.base + len(log.messages) - cursor.acknowledged for log, cursor in zip(hub.logs, hub.cursors[group], strict=True))

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """The capacity counts on both sides: it is the one queue between them."""
        return {"producer": dict(self._settings), "consumer": dict(self._settings)}


class MemoryProducer:
    """Appends to the hub; confirmations wait for pump(), as a network client's would."""

    def __init__(self, hub: Hub, outcomes: Outcomes) -> None:
        self._hub = hub
        self._outcomes = outcomes
        self._unreported: deque[tuple[int, int]] = deque()  # first id, count
        self._events = [Event("ready")]
        self._closed = False

    def ready(self, timeout_s: float) -> bool:
        """At once."""
        return not self._closed

    def room(self) -> int:
        """Of the fullest partition: whatever the keys are, so many fit."""
        with self._hub.changed:
            return min(self._hub.rooms())

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:
        """Takes rows up to the first whose partition is full; waits once, at most ``timeout_s``, for room for that one.

        Raises Refused for messages over the limit, Unreachable after close().
        """
        if self._closed:
            raise Unreachable("memory: this producer is closed")
        if block.size > PAYLOAD_BYTES_MAX:
            raise Refused(f"memory: {block.size} bytes is over the limit of {PAYLOAD_BYTES_MAX} bytes a message")
        with self._hub.changed:
            accepted = self._append(block, lo, hi)
            if lo + accepted < hi and timeout_s > 0 and self._hub.changed.wait(timeout_s):
                accepted += self._append(block, lo + accepted, hi)
            if accepted:
                self._hub.changed.notify_all()
        if accepted:
            self._unreported.append((block.first_id + lo, accepted))
        return accepted

    def _append(self, block: Block, lo: int, hi: int) -> int:
        hub, partitions = self._hub, block.partitions
        for done, payload in enumerate(block.messages(lo, hi)):
            if not hub.append(partitions[lo + done], payload):
                return done
        return hi - lo

    def pump(self, timeout_s: float) -> None:
        """Reports what was taken; where there is nothing to report, waits for something to change."""
        if not self._unreported and timeout_s > 0:
            with self._hub.changed:
                self._hub.changed.wait(timeout_s)
        while self._unreported:
            first_id, count = self._unreported.popleft()
            self._outcomes.run(first_id, count, Status.CONFIRMED)

    def flush(self, timeout_s: float) -> int | None:
        """Nothing is ever unresolved after it."""
        self.pump(0)
        return 0

    def events(self) -> Sequence[Event]:
        """One "ready"."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Confirmations that nobody pumped for are dropped: the harness counts those messages as indeterminate."""
        self._closed = True
        self._unreported.clear()


class MemoryConsumer:
    """One member of a group; owns whole partitions, as they were last shared out."""

    def __init__(self, hub: Hub, group: str) -> None:
        self._hub = hub
        self._group = group
        self._cursors = hub.cursors[group]
        self._mine: tuple[int, ...] = ()
        self._next = 0  # which of them is served first: each in turn
        self._polls = 0
        self._unacknowledged: deque[tuple[int, list[tuple[int, int]]]] = deque()  # poll number, (partition, offset) by message
        self._events = [Event("ready")]
        self._closed = False
        with hub.changed:
            hub.members[group].append(self)
            hub.share_out(group)

    def assigned(self, partitions: tuple[int, ...]) -> None:
        """The hub's call, with its lock held."""
        if partitions != self._mine or not any(event.kind == "assigned" for event in self._events):
            self._mine = partitions
            self._events.append(Event("assigned", partitions=partitions))

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """Messages of the owned partitions, each in turn first; waits once for the hub to change."""
        with self._hub.changed:
            batch = self._take(max_messages)
            if batch is None and timeout_s > 0 and not self._closed:
                self._hub.changed.wait(timeout_s)
                batch = self._take(max_messages)
        return batch

    def _take(self, max_messages: int) -> Batch | None:
        payloads: list[bytes] = []
        redelivered: list[bool] = []
        where: list[tuple[int, int]] = []
        mine = self._mine[self._next :] + self._mine[: self._next]
        for partition in mine:
            cursor, log = self._cursors[partition], self._hub.logs[partition]
            end = min(log.base + len(log.messages), cursor.position + max_messages - len(payloads))
            for offset in range(cursor.position, end):
                payloads.append(log.messages[offset - log.base])
                redelivered.append(offset < cursor.seen)
                where.append((partition, offset))
            cursor.position = max(cursor.position, end)
            cursor.seen = max(cursor.seen, cursor.position)
        if not payloads:
            return None
        self._next = (self._next + 1) % len(self._mine)
        self._polls += 1
        self._unacknowledged.append((self._polls, where))
        positions = [offset for _, offset in where]
        return Batch(payloads=payloads, count=len(payloads), positions=positions, redelivered=redelivered, token=self._polls)

    def ack(self, batch: Batch, upto: int) -> None:
        """Moves the group on, for partitions that are still ours; for others there is an "ack-failed" event."""
        lost: set[int] = set()
        touched: set[int] = set()
        with self._hub.changed:
            while self._unacknowledged and self._unacknowledged[0][0] <= batch.token:
                number, where = self._unacknowledged.popleft()
                done = where if number < batch.token else where[:upto]
                for partition, offset in done:
                    cursor = self._cursors[partition]
                    if self._closed or cursor.owner is not self:
                        lost.add(partition)
                    else:
                        cursor.acknowledged = max(cursor.acknowledged, offset + 1)
                        touched.add(partition)
                if number == batch.token and upto < len(where):
                    self._unacknowledged.appendleft((number, where))  # its rest is still open
                    break
            for partition in touched:
                self._hub.forget(partition)
        if lost:
            self._events.append(Event("ack-failed", f"partitions {sorted(lost)} are no longer this member's"))

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """Raises Unsupported: a log has no place for one message out of turn."""
        raise Unsupported("a partitioned log is acknowledged up to a position, not message by message")

    def idle(self, seconds: float) -> None:
        """Nothing to keep alive; just the wait."""
        threading.Event().wait(seconds)

    def events(self) -> Sequence[Event]:
        """One "ready", and each change of the assignment."""
        with self._hub.changed:
            events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Leaves the group: its partitions go to the others, from the first message that was not acknowledged."""
        with self._hub.changed:
            if self._closed:
                return
            self._closed = True
            self._mine = ()
            self._hub.members[self._group].remove(self)
            self._hub.share_out(self._group)


def hub_of(wiring: Wiring) -> Hub:
    """The hub of a run in this process. Raises Unreachable where there is none."""
    hub = _hubs.get(wiring["run_id"])
    if hub is None:
        raise Unreachable(f"memory: no hub of run {wiring['run_id']!r} in this process: prepare() has not run here")
    return hub


ADAPTER = Memory
