"""NATS through nats-py: core (nothing is stored) and JetStream (streams in the server's memory or in files).

Partitions are subjects, NAME.0, NAME.1 and so on; the server hands on a connection's messages in its order, whatever their subject.

**core**: publish() ends when the message is in the client's buffer, and nobody is told more. A group is a queue group, so each message
goes to one member of it. Who is not subscribed at that moment never gets it. A slow consumer: what a busy application leaves with nats-py
is dropped over pending_msgs_limit and pending_bytes_limit (told as events); what it does not read at all the server keeps up to
max_pending (64 MB) and write_deadline (10 s), and then cuts the connection, with everything that waited on it.

**jetstream-memory, jetstream-file**: one stream, a durable pull consumer for each group, from which its members fetch. The PubAck, for
which publishers wait, says: stored. With the file store that is the page cache, as the server syncs every two minutes, or the disk where
``options.server["sync_interval"]`` is "always". No Nats-Msg-Id is sent, so the server looks for no duplicates. Acknowledgements are
explicit, one a message, and not answered: ack_policy "all" would acknowledge what other members hold, and what was lost with a
connection. What was not acknowledged comes again after ack_wait, or at once when close() gave it back (NAK); a consumer that works on
messages for long says so (+WPI) each half ack_wait. What had no PubAck when a connection was lost is INDETERMINATE.

Sources: https://docs.nats.io/nats-concepts/core-nats , https://docs.nats.io/nats-concepts/core-nats/queue ,
https://docs.nats.io/nats-concepts/jetstream (Syncing data to disk), https://docs.nats.io/nats-concepts/jetstream/consumers ,
https://docs.nats.io/running-a-nats-service/nats_admin/slow_consumers
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import uuid
from collections.abc import Callable, Coroutine, Mapping
from importlib.metadata import version
from typing import Any

import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig, StorageType, StreamConfig
from nats.js.manager import JetStreamManager

from adapters.base import Consumer, Options, Outcomes, Producer, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import Refused
from adapters.nats_core import FRAME_BYTES, PAYLOAD_BYTES_MAX, SUBSCRIBE, CoreConsumer, CoreProducer
from adapters.nats_jetstream import StreamConsumer, StreamProducer
from adapters.nats_link import CONNECT, SECRET, Link, translated
from adapters.options import Value, check_profile, choose_mode, typed_settings

FETCH_BYTES = 8 << 20  # of one request: far below the server's max_pending for a connection

_PULL = "pull; its backlog stays in the stream; max_ack_pending messages at most are under way to a group"
_BACKLOG = "from the stream's beginning (deliver_policy: all)"
_AT_LEAST_ONCE = Mode(
    name="jetstream-file",
    delivery=Delivery.AT_LEAST_ONCE,
    ordering="stream, one consumer",
    persistence=Persistence.PAGE_CACHE,
    copies=1,
    late_subscriber=_BACKLOG,
    slow_consumer=_PULL,
    source="https://docs.nats.io/nats-concepts/jetstream",
)
_CORE = Mode(
    name="core",
    delivery=Delivery.AT_MOST_ONCE,
    ordering="publisher's connection, one consumer",
    persistence=Persistence.CLIENT,
    copies=1,
    late_subscriber="misses what was published before it subscribed",
    slow_consumer="nats-py drops over pending_msgs_limit; the server cuts it off at max_pending (64 MB) or write_deadline (10 s)",
    source="https://docs.nats.io/nats-concepts/core-nats",
)
CAPABILITIES = Capabilities(
    system="NATS",
    client="nats-py",
    architecture="broker",
    intermediary=True,
    stores=True,
    fan_out=Support.NATIVE,
    work_sharing=Support.NATIVE,
    partitions=Support.EMULATED,
    modes=(_AT_LEAST_ONCE, dataclasses.replace(_AT_LEAST_ONCE, name="jetstream-memory", persistence=Persistence.MEMORY), _CORE),
    confirms=True,
    acks=True,
    assignment=Assignment.SHARED,
    payload_bytes_max=PAYLOAD_BYTES_MAX,
    pump_resolution_s=0.001,  # asyncio waits with epoll, in whole milliseconds
    poll_resolution_s=0.001,
    quotas="a message of at most 1 MiB (max_payload); a subscriber's backlog in the server of at most 64 MB (max_pending)",
)
# Names of publish_async() and of the consumer's configuration; ``fetch_batch``: messages that a member asks for at a time. 0: see __init__.
_JETSTREAM: dict[str, Value] = {"publish_async_max_pending": 4000, "ack_wait": 30.0, "max_ack_pending": 0, "fetch_batch": 0}
_BOUNDS: dict[str, tuple[float, float]] = {
    "connect_timeout": (0.01, 3600),
    "reconnect_time_wait": (0.0, 3600),
    "max_reconnect_attempts": (1, 1 << 30),
    "ping_interval": (0.01, 86_400),
    "max_outstanding_pings": (1, 1000),
    "pending_size": (PAYLOAD_BYTES_MAX + FRAME_BYTES, 1 << 32),
    "pending_msgs_limit": (1, 1 << 32),
    "pending_bytes_limit": (1, 1 << 40),
    "publish_async_max_pending": (1, 1 << 20),
    "ack_wait": (0.05, 86_400),
    "max_ack_pending": (0, 1 << 30),
    "fetch_batch": (0, 1 << 20),
}


class Nats:
    """The adapter. Settings are nats-py's own; ``fetch_batch``: how many messages a member asks for at a time."""

    capabilities = CAPABILITIES

    def __init__(self, options: Options) -> None:
        check_profile("nats", options, ("defaults",))
        self.mode = choose_mode(CAPABILITIES, options)
        self._core = self.mode is _CORE
        self._file = self.mode is _AT_LEAST_ONCE
        if self._file and options.server.get("sync_interval") == "always":
            self.mode = dataclasses.replace(self.mode, persistence=Persistence.FSYNC)
        if self._core:
            self.capabilities = dataclasses.replace(CAPABILITIES, stores=False, confirms=False, acks=False)
        known = CONNECT | (SUBSCRIBE if self._core else _JETSTREAM)
        bounds = {name: limits for name, limits in _BOUNDS.items() if name in known}
        self._settings: dict[str, Any] = dict(typed_settings("nats", options, known, bounds))
        if not self._core:
            if not self._settings["fetch_batch"]:
                self._settings["fetch_batch"] = max(1, min(2 * max(options.batch, 100), FETCH_BYTES // options.payload_bytes_max))
            if not self._settings["max_ack_pending"]:  # 1,000 is the server's own; a scenario's cadence must not get stuck on it
                self._settings["max_ack_pending"] = max(1000, 4 * (options.ack_every + self._settings["fetch_batch"]))

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """A stream's name, which is the first word of its subjects too, with the run's id and, as variants share a server, at random."""
        name = f"brokerbench-{_word(run_id)}-{uuid.uuid4().hex[:8]}"
        groups = {group.name: f"{index}-{_word(group.name)}" for index, group in enumerate(topology.groups)}
        return {"name": name, "subjects": [f"{name}.{partition}" for partition in range(topology.partitions)], "groups": groups}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Makes the stream and a consumer for each group. Raises Unreachable, Refused."""
        storage = StorageType.FILE if self._file else StorageType.MEMORY
        stream = StreamConfig(name=wiring["name"], subjects=[f"{wiring['name']}.*"], storage=storage, num_replicas=1)

        async def made(manager: JetStreamManager) -> None:
            await manager.add_stream(stream)
            for name in wiring["groups"].values():
                config = ConsumerConfig(
                    durable_name=name,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=self._settings["ack_wait"],
                    max_ack_pending=self._settings["max_ack_pending"],
                )
                await manager.add_consumer(wiring["name"], config)

        self._asked(wiring, made)
        return wiring

    def cleanup(self, wiring: Wiring) -> None:
        """Removes the run's stream, and with it its consumers. Raises Unreachable."""

        async def removed(manager: JetStreamManager) -> None:
            with contextlib.suppress(nats.js.errors.NotFoundError):
                await manager.delete_stream(wiring["name"])

        self._asked(wiring, removed)

    def depth(self, wiring: Wiring, group: str) -> int | None:
        """What a group's consumer was not handed yet (num_pending) and what it has not acknowledged (num_ack_pending); None in core.

        Raises Unreachable, Refused.
        """

        async def held(manager: JetStreamManager) -> int:
            info = await manager.consumer_info(wiring["name"], wiring["groups"][group])
            return int(info.num_pending or 0) + int(info.num_ack_pending or 0)

        found: int | None = self._asked(wiring, held)
        return found

    def _asked(self, wiring: Wiring, question: Callable[[JetStreamManager], Coroutine[Any, Any, Any]]) -> Any:
        """The answer of JetStream's API on a connection of its own; in core the connection alone is tried, and None returned."""
        link = Link(wiring, self._settings)
        try:
            with translated(wiring):
                return None if self._core else link.run(question(JetStreamManager(link.client)))
        finally:
            link.close()

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> Producer:
        """A publishing connection. Raises Unreachable, Refused."""
        del index  # all producers publish to the same subjects
        link = Link(wiring, self._settings)
        with link.or_closed(wiring):
            return CoreProducer(link, wiring) if self._core else StreamProducer(link, wiring, outcomes)

    def consumer(self, wiring: Wiring, group: str, member: int) -> Consumer:
        """A member of a group, subscribed on return. Raises Unreachable, Refused."""
        del member  # members of a group are alike
        if group not in wiring["groups"]:
            raise Refused(f"nats: no group {group!r} in this wiring")
        link = Link(wiring, self._settings)
        with link.or_closed(wiring):
            return (CoreConsumer if self._core else StreamConsumer)(link, wiring, wiring["groups"][group])

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """The settings in force for each side; passwords are not shown."""
        told = {name: self._settings[name] for name in CONNECT if name not in SECRET}
        told |= {name: "(set)" for name in SECRET if self._settings[name]}
        client = f"nats-py {version('nats-py')}"
        producer = {"client": f"{client}: publish()", **told}
        consumer = {"client": f"{client}: subscribe(queue=group)", **told}
        if self._core:
            return {"producer": producer, "consumer": consumer | {name: self._settings[name] for name in SUBSCRIBE}}
        stream = {"storage": "file" if self._file else "memory", "num_replicas": 1}
        producer["client"] += " with a reply subject for the PubAck"
        consumer["client"] = f"{client}: subscribe() to the answers of CONSUMER.MSG.NEXT"
        ours = {name: self._settings[name] for name in _JETSTREAM}
        return {
            "producer": {**producer, **stream, "publish_async_max_pending": ours.pop("publish_async_max_pending")},
            "consumer": {**consumer, **stream, "ack_policy": "explicit", **ours},
        }

    def redelivery_s(self) -> float:
        """ack_wait: how long what a dead consumer held lies until another gets it; 0 in core."""
        return 0.0 if self._core else float(self._settings["ack_wait"])


def _word(text: str) -> str:
    """A text as a part of names and subjects, which take neither dots nor blanks."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)


ADAPTER = Nats
