"""Redis Pub/Sub through redis-py (`defaults`) or RESP straight on a socket (`tuned`).

One channel carries all lanes: Redis has no partitions, and hands every subscriber every message in the order of its
PUBLISHes, so a group is one subscriber and members cannot share. Nothing is stored: Redis copies a message into the
output buffer of each subscriber and answers with their number, which is the only acknowledgement there is:

* as many receivers as there are groups, or more: CONFIRMED (in the server's memory; not "processed");
* none: FAILED, for Redis provably kept no copy;
* fewer: INDETERMINATE, with an "error" event: Redis does not say which group missed it.

A stranger that subscribes to the channel is counted too and can hide a missing group: the audit would show that as loss.

A subscriber whose get_message() finds a message that has arrived only in part raises TimeoutError, which redis-py's default
retry takes for a lost connection: it reconnects and loses what was on its way. A subscriber's ``retry`` therefore leaves it out.

Sources: https://redis.io/docs/latest/develop/pubsub/ , https://redis.io/docs/latest/commands/publish/ ,
https://redis.io/docs/latest/develop/reference/clients/ (output buffer limits).
"""

from __future__ import annotations

import re
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import redis

from adapters.base import Batch, Block, Consumer, Event, Options, Outcomes, Producer, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import Refused, Unsupported
from adapters.options import Value, check_profile, choose_mode, typed_settings
from adapters.redis_client import (
    CLIENT,
    CLIENT_BOUNDS,
    SOCKET,
    SOCKET_BOUNDS,
    PipelinedProducer,
    address_of,
    client_of,
    shown,
    translated,
    version,
)
from adapters.redis_raw import PAYLOAD_BYTES_MAX, Lost, RawConsumer, RawProducer, Receivers, Subscriber, check_size, command

CAPABILITIES = Capabilities(
    system="Redis Pub/Sub",
    client="redis",
    architecture="broker",
    intermediary=True,
    stores=False,
    fan_out=Support.NATIVE,
    work_sharing=Support.UNSUPPORTED,
    partitions=Support.UNSUPPORTED,
    modes=(
        Mode(
            name="pubsub",
            delivery=Delivery.AT_MOST_ONCE,
            ordering="channel, by one publishing connection",
            persistence=Persistence.MEMORY,
            copies=1,
            late_subscriber="misses what was published before it subscribed",
            slow_consumer="disconnected when its output buffer passes 32 MB, or 8 MB for 60 s (server defaults); what was in it is lost",
            source="https://redis.io/docs/latest/develop/pubsub/",
        ),
    ),
    confirms=True,
    acks=False,
    assignment=Assignment.STREAMS,
    payload_bytes_max=PAYLOAD_BYTES_MAX,
    poll_resolution_s=0.001,  # redis-py waits with poll(2), in whole milliseconds
    quotas="a value of at most 512 MB (proto-max-bulk-len); a subscriber's backlog within client-output-buffer-limit pubsub (32mb 8mb 60)",
)

# Settings by profile, with redis-py's own names and defaults; `tuned` uses no client library, so fewer apply.
_SETTINGS: dict[str, dict[str, Value]] = {
    "defaults": CLIENT,
    "tuned": {**SOCKET, "socket_read_size": 262144, "window": 0},  # 0 = by the batch, see __init__
}


class RedisPubSub:
    """The adapter. ``settings`` are redis.Redis's own parameters; `tuned` adds ``window`` (messages without a reply)."""

    capabilities = CAPABILITIES

    def __init__(self, options: Options) -> None:
        profile = check_profile("redis_pubsub", options, _SETTINGS)
        self.mode = choose_mode(CAPABILITIES, options)
        self._options = options
        self._tuned = profile == "tuned"
        bounds = {**SOCKET_BOUNDS, "window": (0, 1 << 20)} if self._tuned else CLIENT_BOUNDS
        self._settings: dict[str, Any] = dict(typed_settings("redis_pubsub", options, _SETTINGS[profile], bounds))
        if self._tuned and not self._settings["window"]:
            # Enough to keep a pipeline busy; the publish latency of a fuller one would be its own queue.
            self._settings["window"] = max(1024, 4 * options.batch)

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """One channel, named by the run's id and, as several variants of a run share a server, at random.

        Raises Unsupported for groups of several members.
        """
        for group in topology.groups:
            if group.members > 1:
                raise Unsupported(
                    f"Redis Pub/Sub hands every subscriber every message: the {group.members} members of group {group.name!r} cannot share"
                )
        run = re.sub(r"[^A-Za-z0-9_.-]", "-", run_id)
        return {"channel": f"brokerbench.{run}.{uuid.uuid4().hex[:8]}", "groups": [group.name for group in topology.groups]}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Asks the server for a PONG; channels exist by being used. Raises Unreachable, Refused."""
        with translated(wiring):
            client = self._client(wiring)
            try:
                client.ping()
            finally:
                client.close()
        return wiring

    def cleanup(self, wiring: Wiring) -> None:
        """Nothing to remove: a channel without subscribers leaves no trace in the server."""

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> Producer:
        """A publishing connection. Raises Unreachable, Refused."""
        del index  # all producers publish to the one channel
        with translated(wiring):
            if self._tuned:
                return RawProducer(lambda: self._socket(wiring), wiring, outcomes, self._settings["window"])
            return _Producer(self._client(wiring), wiring, outcomes, self._options.batch)

    def consumer(self, wiring: Wiring, group: str, member: int) -> Consumer:
        """A subscribed connection (its subscription is confirmed on return). Raises Unreachable, Refused, Unsupported."""
        if member > 0:
            raise Unsupported(f"Redis Pub/Sub hands every subscriber every message: member {member} of group {group!r} cannot share")
        with translated(wiring):
            if self._tuned:
                return RawConsumer(lambda: self._socket(wiring), wiring["channel"], self._settings)
            return _Consumer(self._client(wiring, subscriber=True), wiring["channel"], self._settings["socket_timeout"])

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """The settings in force for each side; a password is not shown."""
        told = {name: value for name, value in shown(self._settings).items() if name != "window"}
        if self._tuned:
            note = "no client library: RESP2 blocks on a plain socket"
            return {
                "producer": {"client": f"{note}, built and parsed here", "window": self._settings["window"], "retry": "none", **told},
                "consumer": {"client": f"{note}, parsed by hiredis.Reader", "reconnect": "by the adapter, reported", **told},
            }
        return {
            "producer": {
                "client": f"{version()}: pipeline(transaction=False)",
                "batch": self._options.batch,
                "retry": "none (library: 10)",
                **told,
            },
            "consumer": {
                "client": f"{version()}: pubsub().get_message()",
                "retry": "one reconnect, reported (library: 10, silent)",
                **told,
            },
        }

    def _client(self, wiring: Wiring, *, subscriber: bool = False) -> redis.Redis:
        chosen = {name: value for name, value in self._settings.items() if name != "window"}
        if self._tuned:
            chosen["socket_read_size"] = 32768  # only prepare() comes here
        errors = (redis.ConnectionError,) if subscriber else (redis.ConnectionError, redis.TimeoutError)
        return client_of(address_of("redis_pubsub", wiring), chosen, errors)

    def _socket(self, wiring: Wiring) -> socket.socket:
        """A connected, authenticated socket for `tuned`. Raises OSError or Lost."""
        sock = socket.create_connection(address_of("redis_pubsub", wiring), timeout=self._settings["socket_connect_timeout"])
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(self._settings["socket_timeout"])
            self._log_in(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def _log_in(self, sock: socket.socket) -> None:
        words = [str(self._settings[name]).encode() for name in ("username", "password") if self._settings[name]]
        if not self._settings["password"]:
            return
        sock.sendall(command(b"AUTH", *words))
        reply = sock.recv(512)
        if not reply.startswith(b"+OK"):
            raise Refused(f"Redis refused the log-in: {reply.decode(errors='replace').strip()}")


class _Producer(PipelinedProducer):
    """PUBLISH, as redis-py documents it: each reply is the number of receivers."""

    def __init__(self, client: redis.Redis, wiring: Wiring, outcomes: Outcomes, batch: int) -> None:
        super().__init__(client, outcomes, batch)
        self._channel = wiring["channel"]
        self._receivers = Receivers(len(wiring["groups"]), outcomes)

    def _enqueue(self, pipeline: Any, block: Block, lo: int, hi: int) -> None:
        check_size(block.size)
        for payload in block.messages(lo, hi):
            pipeline.publish(self._channel, payload)

    def _report(self, first_id: int, replies: Sequence[Any]) -> None:
        self._receivers.report(first_id, replies)

    def events(self) -> Sequence[Event]:
        """Connections lost and made again, messages that reached fewer subscribers than there are groups."""
        return [*super().events(), *self._receivers.events()]


class _Consumer(Subscriber):
    """A subscription by redis-py's pubsub().get_message(); a reconnect is noticed by its second "subscribe" reply."""

    def __init__(self, client: redis.Redis, channel: str, timeout_s: float) -> None:
        super().__init__()
        self._client = client
        self._lost = False
        self._pubsub: Any = client.pubsub()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        self._pubsub.subscribe(channel)
        reply = self._pubsub.get_message(timeout=timeout_s)
        if reply is None or reply["type"] != "subscribe":
            self.close()
            raise Lost(f"SUBSCRIBE was not confirmed within {timeout_s} s")
        self._events.append(Event("ready", f"subscribed to {channel}"))

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """What has arrived, at most max_messages; waits for the first message only."""
        payloads: list[bytes] = []
        if self._closed:
            return None
        wait_s = timeout_s
        while len(payloads) < max_messages:
            try:
                message = self._pubsub.get_message(timeout=wait_s)
            except redis.TimeoutError:
                break  # a message has come in part: the rest is read next time
            except (redis.RedisError, OSError) as error:
                self._note_lost(error, timeout_s)
                break
            if message is None:
                break
            wait_s = 0.0
            if message["type"] == "message":
                payloads.append(message["data"])
            elif message["type"] == "subscribe":
                self._lost = False
                self._events.append(Event("reconnected", "redis-py subscribed again; what was published meanwhile is lost"))
        return Batch(payloads=payloads, count=len(payloads)) if payloads else None

    def _note_lost(self, error: Exception, timeout_s: float) -> None:
        if self._lost:
            time.sleep(timeout_s)  # the server is away and refuses at once: do not spin
        else:
            self._events.append(Event("closed", str(error)))
        self._lost = True

    def close(self) -> None:
        """Ends the subscription and the connection."""
        self._closed = True
        self._pubsub.close()
        self._client.close()


ADAPTER = RedisPubSub
