"""What a system can do and what it promises, as data (printed beside every figure, checked by the contract suite)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Support(Enum):
    """How a system comes to an ability: by itself, by work of the adapter or the producer, or not at all."""

    NATIVE = "native"
    EMULATED = "emulated"
    UNSUPPORTED = "unsupported"


class Delivery(Enum):
    """The delivery guarantee that the documentation promises for a mode."""

    NONE = "none"
    AT_MOST_ONCE = "at-most-once"
    AT_LEAST_ONCE = "at-least-once"
    EXACTLY_ONCE = "exactly-once"


class Persistence(Enum):
    """Where a message has got to when the producer is told "acknowledged"."""

    CLIENT = "client library only"
    MEMORY = "server memory"
    PAGE_CACHE = "page cache"
    FSYNC = "fsync"
    PROCESSED = "processed by its consumer"


class Assignment(Enum):
    """How members of a group share: partitions are owned, a queue is shared, or each member has a stream of its own."""

    PARTITIONS = "partitions"
    SHARED = "shared"
    STREAMS = "streams"


@dataclass(frozen=True)
class Mode:
    """One way to run a system, with what its documentation promises for it.

    ``persistence`` and ``copies`` are the two axes of what "acknowledged" means: how far a message got before the
    reply, and on how many nodes at least. ``source`` is the page of the documentation that the promise comes from.
    """

    name: str
    delivery: Delivery
    ordering: str  # the scope in which order is promised: "partition", "queue, one consumer", "pipe", "best effort"
    persistence: Persistence
    copies: int
    late_subscriber: str  # what a subscriber that comes late gets
    slow_consumer: str  # what happens when a consumer does not keep up
    source: str


@dataclass(frozen=True)
class Capabilities:
    """What an adapter declares of its system and its client library. Times in seconds, sizes in bytes."""

    system: str  # "Apache Kafka": as a report prints it
    client: str  # the distribution name of the client library: "kafka-python"; "" where there is none
    architecture: str  # "broker" or "broker-less"
    intermediary: bool  # a process between producer and consumer
    stores: bool  # keeps messages until they are consumed
    fan_out: Support  # several groups that each get everything
    work_sharing: Support  # members of a group that share its work
    partitions: Support  # order kept, and work shared, by partition
    modes: tuple[Mode, ...]  # the first is used unless a variant names another
    confirms: bool  # the producer is told of each message that it was taken (else: accepted by the client library)
    acks: bool  # the consumer acknowledges what it processed (or received: ack_first)
    assignment: Assignment
    payload_bytes_max: int
    in_step: bool = False  # hands over nothing more until all that was polled is acknowledged: acknowledge each batch
    ack_first: bool = False  # with acks: what was received is acknowledged before it is processed
    settle: bool = False  # Consumer.settle works: one message at a time acknowledged, requeued or rejected
    judged_on_outputs: bool = False  # a consumer writes what it processed; what counts is what Adapter.outputs() finds of it
    dead_letters: bool = False  # what the broker gives up goes to a queue of its own, which Adapter.dead_letters() empties
    send_per_group: bool = False  # the producer makes the copies: send() is called for each group
    send_blocks: bool = False  # takes Block.raw(), not messages
    consumer_listens: bool = False  # consumers listen before the producers (or the server) start
    pooled: bool = False  # calls over a pool of connections that come and go (HTTP): one that is replaced is no event
    threads: bool = False  # the client runs Python threads of its own: the harness never spins beside them
    pump_resolution_s: float = 0.0  # the shortest wait that pump() can hold; 0 = any
    poll_resolution_s: float = 0.0  # the shortest wait that poll() can hold; 0 = any
    order_delivered: bool = True  # one consumer sees a lane in order when nothing fails (SQS standard: no)
    retries_swap: bool = False  # what the client itself sends again may come behind later messages: no order where things break
    quotas: str = ""  # limits that a user should know beforehand, in words
