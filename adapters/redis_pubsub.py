"""Redis Pub/Sub through redis-py (`defaults`) or RESP straight on a socket (`tuned`).

One channel carries all lanes: Redis has no partitions, and hands every subscriber every message in the order of its
PUBLISHes, so a group is one subscriber and members cannot share. Nothing is stored: Redis copies a message into the
output buffer of each subscriber and answers with their number, which is the only acknowledgement there is:

* as many receivers as there are groups, or more: CONFIRMED (in the server's memory; not "processed");
* none: FAILED, for Redis provably kept no copy;
* fewer: INDETERMINATE, with an "error" event: Redis does not say which group missed it.

A stranger that subscribes to the channel is counted too and can hide a missing group: the audit would show that as loss.

What redis-py does by itself and what is done about it here. By default it repeats a command up to ten times after a
lost connection, which publishes twice: ``retry`` is set to none. It also reconnects without a word: every connection
after the first is an event. And a subscriber whose get_message() finds a message that has arrived only in part raises
TimeoutError, which the default retry takes for a lost connection: it reconnects and loses what was on its way.
A subscriber's ``retry`` therefore leaves out TimeoutError.

Sources: https://redis.io/docs/latest/develop/pubsub/ , https://redis.io/docs/latest/commands/publish/ ,
https://redis.readthedocs.io/en/stable/retry.html , https://redis.io/docs/latest/develop/reference/clients/ (output buffer limits).
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from adapters.base import Batch, Block, Consumer, Event, Options, Outcomes, Producer, Status, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import BadSetting, Refused, Unreachable, Unsupported
from adapters.options import Value, check_profile, choose_mode, typed_settings
from adapters.redis_raw import PAYLOAD_BYTES_MAX, RECONNECT_S, Lost, RawConsumer, RawProducer, Receivers, Subscriber, check_size, command

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
_SOCKET: dict[str, Value] = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 5.0,
    "username": "",
    "password": "",
    "socket_read_size": 32768,
}
_SETTINGS: dict[str, dict[str, Value]] = {
    "defaults": {**_SOCKET, "socket_keepalive": True, "health_check_interval": 0, "protocol": 3},
    "tuned": {**_SOCKET, "socket_read_size": 262144, "window": 0},  # 0 = by the batch, see __init__
}
_BOUNDS = {"socket_timeout": (0.01, 3600), "socket_connect_timeout": (0.01, 3600), "socket_read_size": (1024, 1 << 26)}


class RedisPubSub:
    """The adapter. ``settings`` are redis.Redis's own parameters; `tuned` adds ``window`` (messages without a reply)."""

    capabilities = CAPABILITIES

    def __init__(self, options: Options) -> None:
        profile = check_profile("redis_pubsub", options, _SETTINGS)
        self.mode = choose_mode(CAPABILITIES, options)
        self._options = options
        self._tuned = profile == "tuned"
        more = {"window": (0, 1 << 20)} if self._tuned else {"protocol": (2, 3), "health_check_interval": (0, 3600)}
        self._settings: dict[str, Any] = dict(typed_settings("redis_pubsub", options, _SETTINGS[profile], {**_BOUNDS, **more}))
        if self._tuned and not self._settings["window"]:
            # Enough to keep a pipeline busy; the publish latency of a fuller one would be its own queue.
            self._settings["window"] = max(1024, 4 * options.batch)

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """One channel a run, named by its id. Raises Unsupported for groups of several members."""
        for group in topology.groups:
            if group.members > 1:
                raise Unsupported(
                    f"Redis Pub/Sub hands every subscriber every message: the {group.members} members of group {group.name!r} cannot share"
                )
        return {"channel": "brokerbench." + re.sub(r"[^A-Za-z0-9_.-]", "-", run_id), "groups": [group.name for group in topology.groups]}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Asks the server for a PONG; channels exist by being used. Raises Unreachable, Refused."""
        with _translated(wiring):
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
        with _translated(wiring):
            if self._tuned:
                return RawProducer(lambda: self._socket(wiring), wiring, outcomes, self._settings["window"])
            return _Producer(self._client(wiring), wiring, outcomes, self._options.batch)

    def consumer(self, wiring: Wiring, group: str, member: int) -> Consumer:
        """A subscribed connection (its subscription is confirmed on return). Raises Unreachable, Refused, Unsupported."""
        if member > 0:
            raise Unsupported(f"Redis Pub/Sub hands every subscriber every message: member {member} of group {group!r} cannot share")
        with _translated(wiring):
            if self._tuned:
                return RawConsumer(lambda: self._socket(wiring), wiring["channel"], self._settings)
            return _Consumer(self._client(wiring, subscriber=True), wiring["channel"], self._settings["socket_timeout"])

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """The settings in force for each side; a password is not shown."""
        shown = {name: value for name, value in self._settings.items() if name not in ("password", "window")}
        shown["password"] = "(set)" if self._settings["password"] else ""
        if self._tuned:
            note = "no client library: RESP2 blocks on a plain socket"
            return {
                "producer": {"client": f"{note}, built and parsed here", "window": self._settings["window"], "retry": "none", **shown},
                "consumer": {"client": f"{note}, parsed by hiredis.Reader", "reconnect": "by the adapter, reported", **shown},
            }
        version = f"redis {redis.__version__}, hiredis {hiredis.__version__}"
        return {
            "producer": {
                "client": f"{version}: pipeline(transaction=False)",
                "batch": self._options.batch,
                "retry": "none (library: 10)",
                **shown,
            },
            "consumer": {"client": f"{version}: pubsub().get_message()", "retry": "one reconnect, reported (library: 10, silent)", **shown},
        }

    def _client(self, wiring: Wiring, *, subscriber: bool = False) -> redis.Redis:
        host, port = _address(wiring)
        chosen = {name: value for name, value in self._settings.items() if value != "" and name != "window"}
        if self._tuned:
            chosen["socket_read_size"] = 32768  # only prepare() comes here
        errors = (redis.ConnectionError,) if subscriber else (redis.ConnectionError, redis.TimeoutError)
        # max_connections=1: a producer is one connection, as order and the counting of reconnects need.
        return redis.Redis(host=host, port=port, retry=Retry(NoBackoff(), 0, supported_errors=errors), max_connections=1, **chosen)

    def _socket(self, wiring: Wiring) -> socket.socket:
        """A connected, authenticated socket for `tuned`. Raises OSError or Lost."""
        sock = socket.create_connection(_address(wiring), timeout=self._settings["socket_connect_timeout"])
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


def _address(wiring: Wiring) -> tuple[str, int]:
    text = str(wiring["servers"][0])
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise BadSetting(f"redis_pubsub: server address {text!r} is not host:port")
    return host.strip("[]"), int(port)


@contextlib.contextmanager
def _translated(wiring: Wiring) -> Iterator[None]:
    """The one place where redis-py's errors, and those of sockets, become ours."""
    where = wiring["servers"][0]
    try:
        yield
    except (redis.AuthenticationError, redis.ResponseError) as error:
        raise Refused(f"Redis at {where} refused: {error}") from error
    except (redis.ConnectionError, redis.TimeoutError, OSError, Lost) as error:
        raise Unreachable(f"no Redis answers at {where}: {error}") from error


class _Producer:
    """PUBLISH in pipelines of at most a batch, as redis-py documents it: send() is one round trip.

    The client is synchronous, so send() ends within ``socket_timeout`` even where a time-out of 0 was asked for, and
    leaves nothing outstanding.
    """

    def __init__(self, client: redis.Redis, wiring: Wiring, outcomes: Outcomes, batch: int) -> None:
        self._client = client
        self._channel = wiring["channel"]
        self._outcomes = outcomes
        self._batch = batch
        self._receivers = Receivers(len(wiring["groups"]), outcomes)
        self._events = [Event("ready")]
        self._down = False
        self._waited_s = 0.0
        self._closed = False
        # The pool hands out this one connection for ever; its callback tells of each reconnect, also of silent ones.
        self._connection: Any = client.connection_pool.get_connection()
        self._connection.register_connect_callback(self._reconnected)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        client.connection_pool.release(self._connection)

    def _reconnected(self, connection: Any) -> None:
        del connection
        self._down = False
        self._events.append(Event("reconnected", "redis-py opened a new connection"))

    def ready(self, timeout_s: float) -> bool:
        """True when the server answers a PING; the client's own time-out holds."""
        del timeout_s
        try:
            return bool(self._client.ping())
        except (redis.RedisError, OSError) as error:
            self._lost(error)
            return False

    def room(self) -> int:
        """A batch, or nothing while the server is known to be away."""
        return 0 if self._down or self._closed else self._batch

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:
        """One pipeline of PUBLISH, at most a batch; its outcomes are reported before it returns. Raises Refused when too long."""
        del timeout_s, group
        check_size(block.size)
        count = min(hi - lo, self.room())
        if count <= 0:
            return 0
        pipeline = self._client.pipeline(transaction=False)
        for payload in block.messages(lo, lo + count):
            pipeline.publish(self._channel, payload)
        first = block.first_id + lo
        try:
            replies = pipeline.execute(raise_on_error=False)
        except (redis.RedisError, OSError) as error:
            # Some of it may have been published: the replies that are missing cannot say.
            self._lost(error)
            self._outcomes.run(first, count, Status.INDETERMINATE)
            return count
        self._receivers.report(first, replies)
        return count

    def _lost(self, error: Exception) -> None:
        self._connection.disconnect()
        if not self._down:
            self._events.append(Event("closed", str(error)))
        self._down = True

    def pump(self, timeout_s: float) -> None:
        """A plain wait, for nothing is outstanding; tries to reconnect every 0.1 s of it while the server is away."""
        if self._down and not self._closed:
            self._waited_s += timeout_s
            if self._waited_s >= RECONNECT_S:
                self._waited_s = 0.0
                try:
                    self._connection.connect()
                except (redis.RedisError, OSError):
                    self._down = True  # reported when it was lost; tried again later
        if timeout_s > 0:
            time.sleep(timeout_s)

    def flush(self, timeout_s: float) -> int | None:
        """0: send() waits for its replies."""
        del timeout_s
        return 0

    def events(self) -> Sequence[Event]:
        """Connections lost and made again, messages that reached fewer subscribers than there are groups."""
        found, self._events = self._events, []
        return found + self._receivers.events()

    def close(self) -> None:
        """Closes the connection."""
        self._closed = True
        self._client.close()
        self._connection.disconnect()


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
