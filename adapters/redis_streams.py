"""Redis Streams through redis-py: a stream for each partition, a consumer group for each group, XADD, XREADGROUP, XACK.

The server keeps each entry until the stream is trimmed or removed, and for each group a list of what was handed out and not
acknowledged, by consumer. The stream's id ("milliseconds-number") is the position. Members of a group read all streams and
share what comes. What becomes of the pending entries of a consumer:

* it comes back under its name: it reads its own list first, before anything new (and again after each reconnect, because the
  reply to an XREADGROUP that was lost on its way is on that list and nowhere else);
* it stays away: whoever else polls takes them by XAUTOCLAIM once they have lain ``min_idle_time`` (looked at twice in that
  time). Redis has no lease to renew: a live consumer that holds entries for long claims its own anew, which sets their clock back.

Both come flagged as redelivered. An XACK that fails is told by "ack-failed"; its entries are acknowledged with the next one.
A stopped consumer that wakes after others took its entries may still XACK them: Redis does not ask who owns them.

Mode ``noack`` (XREADGROUP NOACK) has no such list: what was handed out and not processed is lost.

Entries live in the server's memory, and with an append-only file on its disk: what a reply to an XADD then means is said by
``options.server["appendfsync"]``. A server that comes back without them (no append-only file, no snapshot) has neither streams
nor groups: both are made anew, which is told as an "error" event. Nothing is trimmed unless ``maxlen`` says so, and then what
nobody has read goes too.

Sources: https://redis.io/docs/latest/develop/data-types/streams/ , https://redis.io/docs/latest/commands/xreadgroup/ ,
https://redis.io/docs/latest/commands/xautoclaim/ , https://redis.io/docs/latest/commands/xinfo-groups/ ,
https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
"""

from __future__ import annotations

import dataclasses
import re
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import redis

from adapters.base import Batch, Block, Consumer, Event, Options, Outcomes, Producer, Status, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import Refused, Unsupported
from adapters.options import Value, check_profile, choose_mode, typed_settings
from adapters.redis_client import CLIENT, CLIENT_BOUNDS, Connection, PipelinedProducer, address_of, client_of, shown, translated, version
from adapters.redis_raw import PAYLOAD_BYTES_MAX, check_size

FIELD = b"p"  # the one field of an entry
BEGINNING = "0"
SEQUENCE_BITS = 20  # of a position, which is one number: milliseconds since 1970, then the number within

_LIMITS = "from any id of the stream; a group here starts at its beginning"
_PULL = "pull; its backlog stays in the stream, in the server's memory"
CAPABILITIES = Capabilities(
    system="Redis Streams",
    client="redis",
    architecture="broker",
    intermediary=True,
    stores=True,
    fan_out=Support.NATIVE,
    work_sharing=Support.NATIVE,
    partitions=Support.EMULATED,
    modes=(
        Mode(
            name="group",
            delivery=Delivery.AT_LEAST_ONCE,
            ordering="stream, one consumer",
            persistence=Persistence.MEMORY,
            copies=1,
            late_subscriber=_LIMITS,
            slow_consumer=_PULL,
            source="https://redis.io/docs/latest/develop/data-types/streams/",
        ),
        Mode(
            name="noack",
            delivery=Delivery.AT_MOST_ONCE,
            ordering="stream, one consumer",
            persistence=Persistence.MEMORY,
            copies=1,
            late_subscriber=_LIMITS,
            slow_consumer=_PULL,
            source="https://redis.io/docs/latest/commands/xreadgroup/",
        ),
    ),
    confirms=True,
    acks=True,
    assignment=Assignment.SHARED,
    payload_bytes_max=PAYLOAD_BYTES_MAX,
    poll_resolution_s=0.001,  # BLOCK counts in milliseconds
    quotas="an entry of at most 512 MB (proto-max-bulk-len); a stream lives in the server's memory, whole, until it is trimmed",
)
_REACHED = {
    "off": Persistence.MEMORY,
    "no": Persistence.PAGE_CACHE,  # written in the same turn of the event loop, before the replies, and never synced by Redis
    "everysec": Persistence.MEMORY,  # the same, but while a sync is under way the write itself waits, up to 2 s
    "always": Persistence.FSYNC,  # "a single write and a single fsync (before sending the replies)"
}
"""How far an entry got before the reply, by ``appendfsync`` ("off": no append-only file). Source: the page on persistence above, and
flushAppendOnlyFile() in aof.c, which beforeSleep() in server.c calls before replies are written."""
_SETTINGS: dict[str, Value] = {**CLIENT, "min_idle_time": 30_000, "maxlen": 0}
_BOUNDS = {**CLIENT_BOUNDS, "min_idle_time": (10, 86_400_000), "maxlen": (0, 1 << 40)}


class RedisStreams:
    """The adapter. Settings are redis.Redis's own, XAUTOCLAIM's ``min_idle_time`` (ms), XADD's ``maxlen`` (entries; 0 = no trimming)."""

    capabilities = CAPABILITIES

    def __init__(self, options: Options) -> None:
        check_profile("redis_streams", options, ("defaults",))
        synced = options.server.get("appendfsync", "off")
        self.mode = dataclasses.replace(choose_mode(CAPABILITIES, options), persistence=_REACHED[synced])
        if self.mode.name == "noack":
            self.capabilities = dataclasses.replace(CAPABILITIES, acks=False)
        self._options = options
        self._settings: dict[str, Any] = dict(typed_settings("redis_streams", options, _SETTINGS, _BOUNDS))

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """A stream for each partition, named by the run's id and, as several variants of a run share a server, at random."""
        run = re.sub(r"[^A-Za-z0-9_.-]", "-", run_id)
        own = uuid.uuid4().hex[:8]
        streams = [f"brokerbench.{run}.{own}.{partition}" for partition in range(topology.partitions)]
        return {"streams": streams, "groups": [group.name for group in topology.groups]}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Makes streams and groups. Raises Unreachable, Refused."""
        with translated(wiring):
            client = self._client(wiring)
            try:
                for group in wiring["groups"]:
                    create_groups(client, wiring["streams"], group)
            finally:
                client.close()
        return wiring

    def cleanup(self, wiring: Wiring) -> None:
        """Removes the run's streams, and with them its groups. Raises Unreachable."""
        with translated(wiring):
            client = self._client(wiring)
            try:
                client.unlink(*wiring["streams"])
            finally:
                client.close()

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> Producer:
        """An adding connection. Raises Unreachable, Refused."""
        del index  # all producers add to the same streams
        with translated(wiring):
            return _Producer(self._client(wiring), wiring["streams"], outcomes, self._options.batch, self._settings["maxlen"])

    def consumer(self, wiring: Wiring, group: str, member: int) -> Consumer:
        """A member of a group, by the name GROUP-MEMBER. Raises Unreachable, Refused."""
        if group not in wiring["groups"]:
            raise Refused(f"redis_streams: no group {group!r} in this wiring")
        with translated(wiring):
            return _Consumer(
                self._client(wiring), wiring["streams"], (group, f"{group}-{member}"), self._settings, acks=self.capabilities.acks
            )

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """The settings in force for each side; a password is not shown."""
        common = {name: value for name, value in shown(self._settings).items() if name not in ("min_idle_time", "maxlen")}
        consumer = {"client": f"{version()}: xreadgroup()", "noack": not self.capabilities.acks, **common}
        if self.capabilities.acks:
            consumer["min_idle_time"] = self._settings["min_idle_time"]
        return {
            "producer": {
                "client": f"{version()}: pipeline(transaction=False) of xadd()",
                "batch": self._options.batch,
                "retry": "none (library: 10)",
                "maxlen": self._settings["maxlen"],
                **common,
            },
            "consumer": consumer,
        }

    def redelivery_s(self) -> float:
        """How long what a dead consumer held can lie until another member takes it; 0 in mode noack."""
        return 1.5 * self._settings["min_idle_time"] / 1000 if self.capabilities.acks else 0.0

    def depth(self, wiring: Wiring, group: str) -> int | None:
        """Entries that a group was not handed yet (XINFO GROUPS: lag) and that it has not acknowledged (pending), of all streams.

        None where the server does not know the lag (before Redis 7; after entries were deleted), or no such group any more.
        Raises Unreachable, Refused.
        """
        held = 0
        with translated(wiring):
            client = self._client(wiring)
            try:
                for stream in wiring["streams"]:
                    known = next((one for one in client.xinfo_groups(stream) if one["name"] == group.encode()), {})
                    if known.get("lag") is None:
                        return None
                    held += int(known["lag"]) + int(known["pending"])
            finally:
                client.close()
        return held

    def _client(self, wiring: Wiring) -> redis.Redis:
        chosen = {name: value for name, value in self._settings.items() if name not in ("min_idle_time", "maxlen")}
        return client_of(address_of("redis_streams", wiring), chosen, (redis.ConnectionError, redis.TimeoutError))


def create_groups(client: redis.Redis, streams: Sequence[str | bytes], group: str) -> None:
    """Make a group on each stream, from its beginning; one that is there stays as it is. Raises redis.RedisError."""
    for stream in streams:
        try:
            client.xgroup_create(stream, group, id=BEGINNING, mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


def position(entry_id: bytes) -> int:
    """A stream's id as one number, in its order."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds) << SEQUENCE_BITS | int(number)


class _Producer(PipelinedProducer):
    """XADD: each reply is the entry's id, or an error, and then nothing was added."""

    def __init__(self, client: redis.Redis, streams: Sequence[str], outcomes: Outcomes, batch: int, maxlen: int) -> None:
        super().__init__(client, outcomes, batch)
        self._streams = [stream.encode() for stream in streams]
        self._maxlen = maxlen or None
        self._refused: dict[str, int] = {}  # the server's words -> messages

    def _enqueue(self, pipeline: Any, block: Block, lo: int, hi: int) -> None:
        check_size(block.size, "redis_streams")
        partitions = islice(block.partitions, lo, hi)
        for payload, partition in zip(block.messages(lo, hi), partitions, strict=True):
            pipeline.xadd(self._streams[partition], {FIELD: payload}, maxlen=self._maxlen)

    def _report(self, first_id: int, replies: Sequence[Any]) -> None:
        refused = [(at, reply) for at, reply in enumerate(replies) if isinstance(reply, Exception)]
        at = 0
        for end, error in refused:
            if end > at:
                self._outcomes.run(first_id + at, end - at, Status.CONFIRMED)
            self._outcomes.run(first_id + end, 1, Status.FAILED)
            self._refused[str(error)] = self._refused.get(str(error), 0) + 1
            at = end + 1
        if at < len(replies):
            self._outcomes.run(first_id + at, len(replies) - at, Status.CONFIRMED)

    def events(self) -> Sequence[Event]:
        """Connections lost and made again, and what the server refused, summed up."""
        refused, self._refused = self._refused, {}
        return [*super().events(), *(Event("error", f"{n} messages refused: {text}") for text, n in refused.items())]


class _Consumer:
    """One member of a group. Hands out its own pending entries first, then new ones; takes over those of members that died."""

    def __init__(
        self, client: redis.Redis, streams: Sequence[str], who: tuple[str, str], settings: Mapping[str, Any], *, acks: bool
    ) -> None:
        self._client = client
        self._streams = deque(stream.encode() for stream in streams)  # turned, so that none comes first for ever
        self._group, self._name = who
        self._acks = acks
        self._min_idle_ms = int(settings["min_idle_time"])
        self._block_ms_max = int(settings["socket_timeout"] * 500)  # half of it: a reply that is due must not look like a dead server
        self._history: dict[bytes, bytes] = {}  # streams whose own pending entries are still to be read, and from which id
        self._claims: dict[bytes, bytes] = {}  # streams to look through for entries that others left lying, and from which id
        self._look_s = time.monotonic() + self._min_idle_ms / 2000
        self._held: deque[tuple[bytes, bytes]] = deque()  # (stream, id) that were handed out and not acknowledged, in that order
        self._handed = 0  # so many were handed out
        self._closed = False
        create_groups(client, list(self._streams), self._group)
        for stream in self._streams:
            client.xgroup_createconsumer(stream, self._group, self._name)
        self._connection = Connection(client, self._from_the_start)
        self._connection.events += [Event("ready"), Event("assigned")]
        self._from_the_start()

    def _from_the_start(self) -> None:
        """Read the own pending entries before anything new."""
        if self._acks:
            self._history = dict.fromkeys(self._streams, b"0")

    # ---- polling

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """Own pending entries, those that others left lying, or new ones: at most max_messages; waits for new ones only."""
        if self._closed:
            return None
        try:
            return self._own(max_messages) or self._left_lying(max_messages) or self._new(max_messages, timeout_s)
        except redis.ResponseError as error:
            self._refused(error, timeout_s)
        except (redis.RedisError, OSError) as error:
            if self._connection.down:
                time.sleep(timeout_s)  # the server is away and refuses at once: do not spin
            self._lost(error)
        return None

    def _lost(self, error: Exception) -> None:
        self._connection.lost(error)
        self._from_the_start()  # at once, and not only when it is back: the next command is what connects again

    def _refused(self, error: redis.ResponseError, timeout_s: float) -> None:
        """Make a group anew that the server has forgotten, as it does without an append-only file."""
        self._connection.events.append(Event("error", str(error)))
        try:
            create_groups(self._client, list(self._streams), self._group)
        except (redis.RedisError, OSError) as another:
            self._lost(another)
        time.sleep(timeout_s)

    def _new(self, max_messages: int, timeout_s: float) -> Batch | None:
        """What nobody has been handed yet."""
        self._streams.rotate(-1)
        chosen = list(islice(self._streams, max_messages))
        block_ms = min(int(timeout_s * 1000), self._block_ms_max) or None  # BLOCK 0 would be for ever
        reply = self._client.xreadgroup(
            self._group, self._name, dict.fromkeys(chosen, ">"), count=max_messages // len(chosen), block=block_ms, noack=not self._acks
        )
        return self._batch(_by_stream(reply), again=False)

    def _own(self, max_messages: int) -> Batch | None:
        """What this consumer was handed before it died or lost its connection, and has not been given here."""
        while self._history:
            stream, after = next(iter(self._history.items()))
            reply = self._client.xreadgroup(self._group, self._name, {stream: after}, count=max_messages)
            entries = [entry for _, found in _by_stream(reply) for entry in found]
            if not entries:
                self._history.pop(stream, None)
                continue
            self._history[stream] = entries[-1][0]
            batch = self._batch([(stream, entries)], again=True)
            if batch is not None:
                return batch
        return None

    def _left_lying(self, max_messages: int) -> Batch | None:
        """What members that have died were handed; looked at twice in ``min_idle_time``. Keeps the own entries from looking so."""
        if self._acks and time.monotonic() >= self._look_s:
            self._look_s = time.monotonic() + self._min_idle_ms / 2000
            self._renew()
            self._claims = dict.fromkeys(self._streams, b"0-0")
        while self._claims:
            stream, start = next(iter(self._claims.items()))
            after, entries, *_ = self._client.xautoclaim(
                stream, self._group, self._name, self._min_idle_ms, start_id=start, count=max_messages
            )
            if after == b"0-0":
                del self._claims[stream]
            else:
                self._claims[stream] = after
            batch = self._batch([(stream, entries)], again=True)
            if batch is not None:
                return batch
        return None

    def _batch(self, found: Sequence[tuple[bytes, Sequence[Any]]], *, again: bool) -> Batch | None:
        """Hand out entries; with ``again`` not those that are held here already, nor those of which trimming left the id alone."""
        held = set(self._held) if again else ()
        payloads: list[bytes] = []
        positions: list[int] = []
        token = self._handed
        for stream, entries in found:
            for entry_id, fields in entries:
                if again and (not fields or (stream, entry_id) in held):
                    if not fields and entry_id is not None:
                        self._trimmed(stream, entry_id)
                    continue
                payloads.append(fields[FIELD])
                positions.append(position(entry_id))
                if self._acks:
                    self._held.append((stream, entry_id))
        if not payloads:
            return None
        self._handed += len(payloads)
        return Batch(payloads, count=len(payloads), positions=positions, redelivered=[True] * len(payloads) if again else None, token=token)

    def _trimmed(self, stream: bytes, entry_id: bytes) -> None:
        self._connection.events.append(Event("error", f"entry {entry_id.decode()} was trimmed before it was processed"))
        self._client.xack(stream, self._group, entry_id)

    # ---- acknowledging

    def ack(self, batch: Batch, upto: int) -> None:
        """Acknowledges all that was handed out before, and ``upto`` of this batch. What fails goes with the next one."""
        if not self._acks or self._closed:
            return
        count = batch.token + upto - (self._handed - len(self._held))
        if count <= 0:
            return
        try:
            for stream, ids in _together(islice(self._held, count)).items():
                self._client.xack(stream, self._group, *ids)
        except (redis.RedisError, OSError) as error:
            self._connection.events.append(Event("ack-failed", str(error)))
            if not isinstance(error, redis.ResponseError):
                self._lost(error)
            return
        for _ in range(count):
            self._held.popleft()

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """Raises Unsupported: XACK has no counterpart that gives an entry back."""
        raise Unsupported(f"Redis Streams cannot give a message back: message {index} of {batch.count} cannot be settled ({how})")

    def idle(self, seconds: float) -> None:
        """Waits; sets the clock of what is held back in time."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            if self._held and time.monotonic() >= self._look_s and not self._closed:
                self._look_s = time.monotonic() + self._min_idle_ms / 2000
                try:
                    self._renew()
                except (redis.RedisError, OSError) as error:
                    self._lost(error)
            time.sleep(min(left_s, self._min_idle_ms / 4000))

    def _renew(self) -> None:
        """Claim what is held here anew, so that it does not look left lying. Raises redis.RedisError."""
        for stream, ids in _together(self._held).items():
            self._client.xclaim(stream, self._group, self._name, 0, list(ids), justid=True)

    def events(self) -> Sequence[Event]:
        """ready, assigned (shared), closed, reconnected, ack-failed, error."""
        return self._connection.taken()

    def close(self) -> None:
        """Closes the connection; what was not acknowledged stays on this member's list."""
        self._closed = True
        self._client.close()
        self._connection.close()


def _by_stream(reply: Any) -> list[tuple[bytes, list[Any]]]:
    """XREADGROUP's reply as redis-py gives it: RESP2 [[stream, entries], ...], RESP3 {stream: [entries]}."""
    if isinstance(reply, dict):
        return [(stream, entries) for stream, (entries,) in reply.items()]
    return [(stream, entries) for stream, entries in reply or ()]


def _together(entries: Any) -> dict[bytes, list[bytes]]:
    """Ids by stream."""
    found: dict[bytes, list[bytes]] = {}
    for stream, entry_id in entries:
        found.setdefault(stream, []).append(entry_id)
    return found


ADAPTER = RedisStreams
