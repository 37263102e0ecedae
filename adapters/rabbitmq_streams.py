"""RabbitMQ Streams through rstream: a log that is read without being emptied, confirms, offsets that the server keeps for each group.

A stream for each partition; the adapter chooses it by the row's partition. A member of a group reads the streams of its partitions
(partition p belongs to member p % members, fixed) from the offset that the group stored, and an acknowledgement stores one: streams
know neither groups nor members, so both are work of this adapter (emulated). The server's own way, a single active consumer for each
stream of a super stream, is of RabbitMQ 3.11 and newer.

A body is the data section of an AMQP 1.0 message, 8 bytes before it, as all clients of streams write and expect it. Publishing ids are the
messages' ids and no publisher has a name, so nothing is deduplicated. StoreOffset is never answered: what was stored just before a server's
death may come again.

A link that is lost connects to the next server of the list: the client does not follow the leader (any node takes what is published and
hands out what it has a replica of). What was unconfirmed is indeterminate then, and a member reads on where it had got to.

Sources: https://www.rabbitmq.com/docs/streams , https://www.rabbitmq.com/docs/stream ,
https://github.com/rabbitmq/rabbitmq-server/blob/main/deps/rabbitmq_stream/docs/PROTOCOL.adoc
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from rstream import exceptions, schema
from rstream.client import Client
from rstream.constants import OffsetType

from adapters.base import Batch, Block, Event, Options, Outcomes, Status, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import Refused, Unreachable, Unsupported
from adapters.options import check_profile, choose_mode, integer_settings
from adapters.outcomes import tell
from adapters.rabbitmq_copies import confirmed
from adapters.rabbitmq_streams_link import CONNECT_S, RECONNECT_S, STEPS, Link, once

FRAME_BYTES_MAX = 1 << 20  # the server's default (stream.frame_max)
FRAME_OVERHEAD = 13  # length, key, version, publisher, count
MESSAGE_OVERHEAD = 12  # publishing id, length
DATA_SECTION = b"\x00\x53\x75\xb0"  # AMQP 1.0, 3.2.6: a described binary of a length of four bytes, which follows
PREFIX = len(DATA_SECTION) + 4
PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - FRAME_OVERHEAD - MESSAGE_OVERHEAD - PREFIX
ELECTED_S = 10.0
LEADER_AGAIN_S = 0.05
# Of publishing errors, those that say that nothing was written: no such stream, not allowed, no such publisher.
NOT_WRITTEN = frozenset({2, 16, 18})
DEFAULTS = {
    "window": 10_000,  # unconfirmed messages: ours, rstream has no bound
    "heartbeat": 60,
    "frame_max": FRAME_BYTES_MAX,
    "initial_credit": 10,  # chunks of each stream that the server may send ahead
    "initial-cluster-size": 1,  # copies of each stream
}
CAPABILITIES = Capabilities(
    system="RabbitMQ Streams",
    client="rstream",
    architecture="broker",
    intermediary=True,
    stores=True,
    fan_out=Support.NATIVE,
    work_sharing=Support.EMULATED,
    partitions=Support.EMULATED,
    modes=(
        Mode(
            name="stream",
            delivery=Delivery.AT_LEAST_ONCE,
            ordering="partition",
            persistence=Persistence.PAGE_CACHE,
            copies=1,
            late_subscriber="the whole log, from the first message that retention keeps",
            slow_consumer="reads later: the log keeps what retention allows",
            source="https://www.rabbitmq.com/docs/streams",
        ),
    ),
    confirms=True,
    acks=True,
    assignment=Assignment.PARTITIONS,
    payload_bytes_max=PAYLOAD_BYTES_MAX,
    pump_resolution_s=0.001,  # epoll through asyncio waits whole milliseconds, rounded up
    poll_resolution_s=0.001,
    quotas="a frame of at most 1 MiB (stream.frame_max); a stream is kept until its retention (max-length-bytes, max-age) says otherwise",
)


class RabbitStreams:
    """The adapter.

    Settings: ``window``, rstream's ``heartbeat`` (s), ``frame_max`` and ``initial_credit`` (chunks), the streams' ``initial-cluster-size``.
    """

    capabilities = CAPABILITIES

    def __init__(self, options: Options) -> None:
        check_profile("rabbitmq_streams", options, ("defaults",))
        defaults = DEFAULTS | {"initial-cluster-size": int(options.server.get("nodes", "1"))}
        least = dict.fromkeys(defaults, 1) | {"heartbeat": 0, "frame_max": 4096}
        self._settings = integer_settings("rabbitmq_streams", options, defaults, least)
        size = "initial-cluster-size"
        self.mode = replace(choose_mode(CAPABILITIES, options), copies=confirmed(size, self._settings[size], options.server))

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """Names of the streams, unique to this call. Raises Unsupported for members that no partition would be left for."""
        for group in topology.groups:
            if group.members > topology.partitions:
                raise Unsupported(
                    f"RabbitMQ Streams: a stream is read by one member of a group, so {group.members} members need as many partitions, "
                    f"not {topology.partitions}"
                )
        name = f"brokerbench.{run_id}.{uuid.uuid4().hex[:8]}"
        streams = [f"{name}.{partition}" for partition in range(topology.partitions)]
        return {"streams": streams, "groups": {group.name: group.members for group in topology.groups}}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Make the streams and wait until each has a leader. Raises Unreachable, Refused."""

        async def work(client: Client) -> None:
            for stream in wiring["streams"]:
                await _created(client, stream, {"initial-cluster-size": self._settings["initial-cluster-size"]})
            for stream in wiring["streams"]:
                await _led(client, stream)

        once(wiring, self._settings, work)
        return wiring

    def cleanup(self, wiring: Wiring) -> None:
        """Delete the streams, and with them the groups' offsets; what is gone already is fine. Raises Unreachable, Refused."""

        async def work(client: Client) -> None:
            for stream in wiring["streams"]:
                with contextlib.suppress(exceptions.StreamDoesNotExist):
                    await client.delete_stream(stream)

        once(wiring, self._settings, work)

    def depth(self, wiring: Wiring, group: str) -> int | None:
        """Messages of the streams behind the offsets that a group stored. Raises Unreachable, Refused."""

        async def work(client: Client) -> int:
            return sum([await _behind(client, stream, group) for stream in wiring["streams"]])

        return int(once(wiring, self._settings, work))

    def redelivery_s(self) -> float:
        """How long a member may take to see that its server is gone whose socket stays open: two heartbeats, 0 = no timer."""
        return 2.0 * self._settings["heartbeat"]

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> StreamProducer:
        """A publishing connection. Raises Unreachable, Refused."""
        del index  # all producers publish to the same streams
        return StreamProducer(wiring, self._settings, outcomes)

    def consumer(self, wiring: Wiring, group: str, member: int) -> StreamConsumer:
        """A member of a group, which reads its partitions from where the group is. Raises Unreachable, Refused."""
        if group not in wiring["groups"]:
            raise Refused(f"rabbitmq_streams: no group {group!r} in this wiring")
        return StreamConsumer(wiring, self._settings, group, member)

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """Settings in force for each side."""
        common = {
            "client": "rstream.client.Client",
            "heartbeat": self._settings["heartbeat"],
            "frame_max": self._settings["frame_max"],
            "initial-cluster-size": self._settings["initial-cluster-size"],
            "body": "AMQP 1.0 data section",
            "connect_s": CONNECT_S,
            "reconnect_s": RECONNECT_S,
        }
        return {
            "producer": common | {"window": self._settings["window"], "publisher_name": None},
            "consumer": common | {"initial_credit": self._settings["initial_credit"], "ack": "StoreOffset"},
        }


async def _created(client: Client, stream: str, arguments: dict[str, Any]) -> None:
    """Make a stream that may be there already.

    After a server's start its listener answers before the coordinator of its streams does (a Raft machine of its own): until then
    creating one is an internal error, which is tried again for ELECTED_S seconds.
    """
    until_s = time.monotonic() + ELECTED_S
    while True:
        try:
            await client.create_stream(stream, arguments)
        except exceptions.StreamAlreadyExists:
            return
        except exceptions.InternalError:
            if time.monotonic() > until_s:
                raise
            await asyncio.sleep(LEADER_AGAIN_S)
        else:
            return


async def _led(client: Client, stream: str) -> None:
    """Wait until a stream has a leader. Raises Unreachable where it has none after ELECTED_S seconds."""
    until_s = time.monotonic() + ELECTED_S
    while True:
        with contextlib.suppress(exceptions.LeaderNotAvailable, exceptions.StreamNotAvailable):
            await client.query_leader_and_replicas(stream)
            return
        if time.monotonic() > until_s:
            raise Unreachable(f"RabbitMQ: stream {stream} has no leader after {ELECTED_S:g} s")
        await asyncio.sleep(LEADER_AGAIN_S)


async def _stored(client: Client, stream: str, group: str) -> int:
    """The last offset that a group stored, -1 where it has none."""
    try:
        return int(await client.query_offset(stream, group))
    except exceptions.OffsetNotFound:
        return -1


async def _behind(client: Client, stream: str, group: str) -> int:
    """How many messages of a stream come after what a group stored.

    A subscription to the last chunk is answered, and sent it, before the connection's next request is looked at (rabbit_stream_reader): so
    when that one is answered and no chunk has come, the stream is empty.
    """
    ends = [0]

    def on_deliver(frame: schema.Deliver) -> None:
        ends.append(frame.chunk_first_offset + frame.num_records)

    client.add_handler(schema.Deliver, on_deliver, name="0")  # rstream's names of these are numbers
    await client.run_queue_listener_task(0, on_deliver)
    await client.subscribe(stream, 0, schema.OffsetSpec.from_params(OffsetType.LAST, None), 1)
    stored = await _stored(client, stream, group)
    for _ in range(STEPS):  # from the listener to the handler
        await asyncio.sleep(0)
    await client.unsubscribe(0)
    await client.stop_queue_listener_task(0)
    return max(0, ends[-1] - stored - 1)


class StreamProducer(Link):
    """Publishes to all streams on one connection, a publisher for each; at most ``window`` messages are unconfirmed."""

    def __init__(self, wiring: Wiring, settings: Mapping[str, Any], outcomes: Outcomes) -> None:
        self._streams: Sequence[str] = wiring["streams"]
        self._outcomes = outcomes
        self._window = settings["window"]
        self._frame_max = settings["frame_max"]
        self._open_ids: set[int] = set()  # published and not confirmed; a publishing id is a message's id
        self._writing: set[asyncio.Task[Any]] = set()  # frames that the socket has not taken whole
        super().__init__(wiring, settings)

    async def _set_up(self, client: Client) -> None:
        for partition, stream in enumerate(self._streams):
            await client.declare_publisher(stream, None, partition)
        client.add_handler(schema.PublishConfirm, self._on_confirm, name="producer")
        client.add_handler(schema.PublishError, self._on_error, name="producer")

    def _reset(self) -> None:
        for task in self._writing:
            task.cancel()
        self._writing.clear()
        left, self._open_ids = self._open_ids, set()
        tell(self._outcomes, left, Status.INDETERMINATE)

    def _on_confirm(self, frame: schema.PublishConfirm) -> None:
        self._open_ids.difference_update(frame.publishing_ids)
        tell(self._outcomes, frame.publishing_ids, Status.CONFIRMED)
        self._wake()

    def _on_error(self, frame: schema.PublishError) -> None:
        codes: dict[int, list[int]] = {}
        for error in frame.errors:
            codes.setdefault(error.response_code, []).append(error.publishing_id)
        for code, ids in codes.items():
            self._open_ids.difference_update(ids)
            tell(self._outcomes, ids, Status.FAILED if code in NOT_WRITTEN else Status.INDETERMINATE)
            what = exceptions.ServerError.from_code(code).__name__
            self._events.append(Event("error", f"{len(ids)} messages refused: {what} (code {code})"))
        self._wake()

    def ready(self, timeout_s: float) -> bool:
        """Whether the publishers are declared, waiting at most ``timeout_s`` seconds."""
        return not self._closed and self._until(lambda: self._client is not None, timeout_s)

    def room(self) -> int:
        """What the window leaves; 0 while the connection is down or its socket is full."""
        if self._client is None or self._writing:
            return 0
        return max(0, int(self._window) - len(self._open_ids))

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:  # noqa: ARG002  # one stream serves all groups
        """Publish rows lo..hi as far as the window goes, a frame for each partition; waits at most ``timeout_s`` for room of one.

        Raises Refused for messages that no frame holds.
        """
        if block.size > self._frame_max - FRAME_OVERHEAD - MESSAGE_OVERHEAD - PREFIX:
            raise Refused(f"RabbitMQ Streams: no frame of {self._frame_max} bytes (frame_max) holds a message of {block.size}")
        if self._closed:
            raise Unreachable("rabbitmq_streams: this producer is closed")
        if timeout_s > 0 and self.room() == 0:
            self._until(lambda: self.room() > 0, timeout_s)
        count = min(hi - lo, self.room())
        if count <= 0:
            return 0
        client, first = self._client, block.first_id + lo
        self._open_ids.update(range(first, first + count))
        for partition, messages in self._by_partition(block, lo, lo + count).items():
            for frame in self._frames(partition, messages):
                task = self._start(client.send_publish_frame(frame))
                self._writing.add(task)
                task.add_done_callback(self._writing.discard)
        self._turn(0.0)  # the loop writes: else these would wait for the next pump
        self._check_alive()
        return count

    def _by_partition(self, block: Block, lo: int, hi: int) -> dict[int, list[schema.Message]]:
        make, first = schema.Message, block.first_id
        found: dict[int, list[schema.Message]] = {}
        rows = zip(range(first + lo, first + hi), block.messages(lo, hi), strict=True)
        if len(self._streams) == 1:
            return {0: [make(ident, None, b"%b%b%b" % (DATA_SECTION, len(body).to_bytes(4, "big"), body)) for ident, body in rows]}
        for (ident, body), partition in zip(rows, islice(block.partitions, lo, hi), strict=True):
            message = make(ident, None, b"%b%b%b" % (DATA_SECTION, len(body).to_bytes(4, "big"), body))
            found.setdefault(partition, []).append(message)
        return found

    def _frames(self, partition: int, messages: Sequence[schema.Message]) -> list[schema.Publish]:
        """Frames of at most frame_max bytes."""
        frames: list[schema.Publish] = []
        part: list[schema.Message] = []
        size = FRAME_OVERHEAD
        for message in messages:
            more = MESSAGE_OVERHEAD + len(message.data)
            if part and size + more > self._frame_max:
                frames.append(schema.Publish(partition, messages=part))
                part, size = [], FRAME_OVERHEAD
            part.append(message)
            size += more
        return [*frames, schema.Publish(partition, messages=part)]

    def _check_alive(self) -> None:
        """Rstream tells of an error while reading; of one while writing it only keeps a flag."""
        if self._client is not None and not self._client.is_connection_alive():
            self._lost(self._client, "the connection was lost while writing")

    def pump(self, timeout_s: float) -> None:
        """Serve the connection until something came, at most ``timeout_s`` seconds."""
        if not self._closed:
            self._turn(timeout_s)
            self._check_alive()

    def flush(self, timeout_s: float) -> int | None:
        """Wait at most ``timeout_s`` seconds for the confirms; returns how many are missing."""
        if not self._closed:
            self._until(lambda: not self._open_ids, timeout_s)
        return len(self._open_ids)


class _Chunk:
    """Messages of one stream, with the offset of the first that was not handed out yet."""

    __slots__ = ("at", "bodies", "credited", "offset", "partition")

    def __init__(self, partition: int, offset: int, bodies: Sequence[bytes]) -> None:
        self.partition, self.offset, self.bodies = partition, offset, bodies
        self.at = 0
        self.credited = True  # it came for credit of the connection that there is


class StreamConsumer(Link):
    """Reads the streams of its partitions; an acknowledgement stores the offset of the last message that it covers, by stream."""

    def __init__(self, wiring: Wiring, settings: Mapping[str, Any], group: str, member: int) -> None:
        self._streams: Sequence[str] = wiring["streams"]
        self._mine = tuple(range(member, len(self._streams), wiring["groups"][group]))
        self._group = group
        self._credit = settings["initial_credit"]
        self._next: dict[int, int] = {}  # by partition: the offset that is to come
        self._stored: dict[int, int] = {}  # by partition: the last offset that is acknowledged, told to the server or not
        self._inbox: deque[_Chunk] = deque()
        # Handed out and not acknowledged: the first's number in the order of handing out, count, partition, offset.
        self._held: deque[tuple[int, int, int, int]] = deque()
        self._handed = 0
        super().__init__(wiring, settings)
        self._events.append(Event("assigned", partitions=self._mine))

    async def _set_up(self, client: Client) -> None:
        client.add_handler(schema.Deliver, self._on_deliver, name="0")  # rstream's names of these are numbers
        await client.run_queue_listener_task(0, self._on_deliver)
        for partition in self._mine:
            stream = self._streams[partition]
            if partition in self._stored:  # this one reads on; what it had acknowledged while the connection was down goes first
                await client.store_offset(stream, self._group, self._stored[partition])
            if partition not in self._next:
                self._next[partition] = await _stored(client, stream, self._group) + 1
            start = schema.OffsetSpec.from_params(OffsetType.OFFSET, self._next[partition])
            await client.subscribe(stream, partition, start, self._credit)

    def _reset(self) -> None:
        """What was received is whole, and what follows is asked for by its offset; the next connection begins with all its credit."""
        for chunk in self._inbox:
            chunk.credited = False

    def _on_deliver(self, frame: schema.Deliver) -> None:
        partition, first, bodies = frame.subscription_id, frame.chunk_first_offset, frame.get_messages()
        wanted = self._next[partition]
        self._next[partition] = max(wanted, first + len(bodies))
        if first < wanted:  # a chunk comes whole, also where it was asked for from its middle
            bodies = bodies[wanted - first :]
            first = wanted
        if bodies:
            self._inbox.append(_Chunk(partition, first, bodies))
            self._wake()
        else:
            self._grant(partition)

    def _grant(self, partition: int) -> None:
        """Let the server send another chunk."""
        if self._client is not None:
            self._start(self._client.credit(partition, 1))

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """Up to ``max_messages`` that came, waiting at most ``timeout_s`` seconds for the first."""
        if self._closed:
            return None
        inbox = self._inbox
        if inbox:
            self._turn(0.0)  # acknowledgements and credit leave, and heartbeats go on, also under a full load
        else:
            self._until(lambda: bool(inbox), timeout_s)
        if not inbox:
            return None
        token = self._handed
        payloads: list[bytes] = []
        positions: list[int] = []
        while inbox and len(payloads) < max_messages:
            chunk = inbox[0]
            count = min(max_messages - len(payloads), len(chunk.bodies) - chunk.at)
            payloads += [body[PREFIX:] for body in islice(chunk.bodies, chunk.at, chunk.at + count)]
            offset = chunk.offset + chunk.at
            positions += range(offset, offset + count)
            self._held.append((self._handed, count, chunk.partition, offset))
            self._handed += count
            chunk.at += count
            if chunk.at == len(chunk.bodies):
                inbox.popleft()
                if chunk.credited:
                    self._grant(chunk.partition)
        return Batch(payloads, count=len(payloads), positions=positions, token=token)

    def ack(self, batch: Batch, upto: int) -> None:
        """Store the offsets up to the ``upto``-th message of the batch; they leave with the next poll(), idle() or close()."""
        until, stored = batch.token + upto, {}
        while self._held and self._held[0][0] < until:
            number, count, partition, offset = self._held.popleft()
            covered = min(count, until - number)
            stored[partition] = offset + covered - 1
            if covered < count:
                self._held.appendleft((until, count - covered, partition, offset + covered))
        self._stored |= stored
        if self._client is None:
            if stored:
                self._events.append(Event("ack-failed", "the connection is down: offsets are stored when it is back"))
            return
        for partition, offset in stored.items():
            self._start(self._client.store_offset(self._streams[partition], self._group, offset))

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """Raises Unsupported: a stream is a log, of which nothing is given back."""
        raise Unsupported(f"RabbitMQ Streams cannot give a message back: message {index} of {batch.count} cannot be settled ({how})")

    def idle(self, seconds: float) -> None:
        """Serve the connection for ``seconds``: heartbeats go on, chunks pile up to the credit."""
        if not self._closed:
            self._until(lambda: False, seconds)


ADAPTER = RabbitStreams
