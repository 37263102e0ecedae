"""The contract between the harness and a messaging system: one adapter, its producers, its consumers.

The harness owns time, identity, batching and accounting; an adapter moves opaque bytes and says what became of them.
It reads no clock, keeps no buffer and makes no retry that it does not declare. Sends are columnar (a block and a
range of its rows), outcomes come back as ranges, consumers hand over batches: an object a message would cost more
than several of the systems that are measured. docs/add-a-system.md builds an adapter step by step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

from adapters.capabilities import Capabilities, Mode

Wiring = dict[str, Any]
"""Plain JSON data (addresses, names): made by wire() and prepare(), handed to every endpoint in its SPEC.json.
The harness sets wiring["servers"] = ["host:port", ...] (the advertised bootstrap list) before prepare()."""


@dataclass(frozen=True)
class Group:
    """A consumer group: gets every message; its members share them."""

    name: str
    members: int = 1


@dataclass(frozen=True)
class Topology:
    """Who talks to whom. Lanes (what is ordered) are producer x partition."""

    producers: int
    groups: tuple[Group, ...]
    partitions: int = 1


@dataclass(frozen=True)
class Options:
    """What a variant asks of its adapter. ``settings`` are the client's own names and override the profile's."""

    profile: str = "defaults"
    mode: str = ""  # "" = the first of capabilities.modes
    batch: int = 100  # the scenario's: most messages in one send() or poll()
    ack_every: int = 100  # the scenario's: messages between two ack()s
    payload_bytes_max: int = 1024
    settings: Mapping[str, str] = field(default_factory=dict)
    server: Mapping[str, str] = field(default_factory=dict)  # options of its server by name, defaults too; of an external one those told


class Status(IntEnum):
    """What became of a message that was sent."""

    CONFIRMED = 1  # the system took it, as the mode defines "acknowledged"
    FAILED = 2  # provably not written
    INDETERMINATE = 3  # nobody can know: a time-out, a lost connection


@dataclass(frozen=True)
class Event:
    """Something that happened to a connection, at the time the harness collects it.

    kind: "ready" | "assigned" | "reconnected" | "closed" | "ack-failed" | "error". ``partitions`` is the *whole*
    current assignment with "assigned" (None = shared).
    """

    kind: str
    detail: str = ""
    partitions: tuple[int, ...] | None = None


@dataclass
class Batch:
    """What one poll() returned: payloads in the order of arrival, or one buffer of ``count`` rows of ``size`` bytes (or of ``sizes``)."""

    payloads: Sequence[bytes] | None = None
    buffer: memoryview | None = None  # with size and count; the adapter does not touch it again
    size: int = 0
    sizes: Sequence[int] | None = None  # bytes of each row, where a buffer holds rows of several sizes
    count: int = 0
    positions: Sequence[int] | None = None  # the broker's: offset, stream id; never a delivery tag
    redelivered: Sequence[bool] | None = None
    token: Any = None  # the adapter's own, for ack()


class Block(Protocol):
    """Messages made by the harness: row i has id first_id + i. Of one size in one buffer, unless ``sizes`` says otherwise."""

    first_id: int
    count: int
    size: int  # bytes a message; where they differ, of the largest that comes
    sizes: Sequence[int] | None  # bytes by row; None = all of `size`
    partitions: Sequence[int]  # by row
    keys: Sequence[bytes] | None  # by row; None = round-robin over the partitions

    def messages(self, lo: int, hi: int) -> Sequence[bytes]: ...
    def views(self, lo: int, hi: int) -> Sequence[bytes | memoryview]: ...  # until send() returns
    def raw(self, lo: int, hi: int) -> memoryview: ...  # the rows one after another


class Outcomes(Protocol):
    """Where an adapter reports what became of messages: from any thread, once for each (id, group)."""

    def run(self, first_id: int, count: int, status: Status, group: int = -1, step: int = 1) -> None: ...
    def some(self, ids: Sequence[int], status: Status, group: int = -1) -> None: ...
    def id_of(self, payload: bytes) -> int: ...


class Producer(Protocol):
    """One sending connection, used by one thread."""

    def ready(self, timeout_s: float) -> bool: ...
    def room(self) -> int: ...  # how many messages send() would take now, as far as is known
    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int: ...  # accepted prefix; 0 s never blocks
    def pump(self, timeout_s: float) -> None: ...  # serves the client's I/O, reports outcomes; may return early; never raises
    def flush(self, timeout_s: float) -> int | None: ...  # unresolved (id, group)s; None = unknowable
    def events(self) -> Sequence[Event]: ...  # since the last call
    def close(self) -> None: ...  # idempotent


class Consumer(Protocol):
    """One receiving connection: one member of one group, used by one thread."""

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None: ...
    # All that was polled before, and `upto` messages of this batch; never raises. Where capabilities.ack_first, False means that
    # the system did not take it: none of what this call was to acknowledge may be processed, as it comes again. Where
    # judged_on_outputs, that all that was polled and not acknowledged before comes again.
    def ack(self, batch: Batch, upto: int) -> bool | None: ...
    def settle(self, batch: Batch, index: int, how: str) -> None: ...  # "ack" | "requeue" | "reject": where capabilities.settle
    def idle(self, seconds: float) -> None: ...  # "processing": heartbeats and leases go on
    def events(self) -> Sequence[Event]: ...  # since the last call
    def close(self) -> None: ...  # idempotent; what was not acknowledged goes back


class Adapter(Protocol):
    """One system through one client library. Made as ``Class(options)``; raises only adapters.errors."""

    capabilities: Capabilities
    mode: Mode

    def wire(self, topology: Topology, run_id: str) -> Wiring: ...  # before the server starts
    def prepare(self, wiring: Wiring) -> Wiring: ...  # after it: topics, queues, shards; idempotent
    def cleanup(self, wiring: Wiring) -> None: ...  # only what carries this run's id
    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> Producer: ...
    def consumer(self, wiring: Wiring, group: str, member: int) -> Consumer: ...
    def effective(self) -> Mapping[str, Mapping[str, Any]]: ...  # {"producer": {...}, "consumer": {...}}: settings in force


class DeadLetters(Protocol):
    """What an adapter has besides, in a mode with capabilities.dead_letters."""

    def dead_letters(self, wiring: Wiring, group: str) -> Sequence[bytes]: ...  # takes out what lies there now, in any order


@runtime_checkable
class HasDepth(Protocol):
    """What an adapter may have besides, where its system can be asked; the harness looks whether the method is there."""

    # Messages that the system still holds for a group: ready, and delivered but not acknowledged. None = it cannot say.
    def depth(self, wiring: Wiring, group: str) -> int | None: ...  # asks anew at each call; raises adapters.errors


@runtime_checkable
class HasRequests(Protocol):
    """What a producer and a consumer may have besides, where a service bills or limits requests; the harness looks whether it is there."""

    # Requests sent since the last call, each try of one, by the service's name of the action: {"PutRecords": 12}.
    def requests(self) -> Mapping[str, int]: ...


@dataclass(frozen=True)
class Demand:
    """What a point of a scenario asks of a system, where it is busiest."""

    rate_per_s: float | None  # messages of all producers together; None = as fast as it goes
    message_b: float  # on average
    partitions: int
    busiest: float  # the share of the messages that goes to the busiest partition, 0 to 1
    groups: int
    batch: int


@runtime_checkable
class HasQuotas(Protocol):
    """What an adapter may have besides, where its service has quotas on what scenarios ask: told before a run starts."""

    # A sentence (no full stop) for each quota that the demand is over, with the figures; asks nobody.
    def over_quota(self, demand: Demand) -> Sequence[str]: ...


class Output(NamedTuple):
    """A message that a group's consumers wrote."""

    payload: bytes
    position: int  # the broker's
    written_ns: int  # wall clock, of the client that wrote it: ns since 1970, as fine as the system keeps it


class OutputReader(Protocol):
    """Reads the committed outputs of one group, from the first on; used by one thread."""

    def read(self) -> Sequence[Output]: ...  # what came since the last call, as much as takes a moment; never raises
    def close(self) -> None: ...  # idempotent


class WritesOutputs(Protocol):
    """What an adapter has besides, in a mode with capabilities.judged_on_outputs."""

    def outputs(self, wiring: Wiring, group: str) -> OutputReader: ...
