"""RabbitMQ through pika's SelectConnection: confirms in the background, unroutable messages returned, manual acks.

A direct exchange stands for the topic. With one partition each group has one queue that its members share; with
several, each group has a queue a partition (bound by the partition's number) and partition p belongs to member
p % members, fixed: RabbitMQ itself has no partitions, so that is work of this adapter (emulated).

pika writes and reads only when its loop turns, and its loop has no bounded turn: ``_Link`` makes one of public calls
(``call_later``, ``poll``, ``process_timeouts``). A link that is lost reconnects every 0.5 s to the next server of the
list: "closed" and "reconnected" are events, what was unconfirmed is indeterminate, and a batch of the lost channel
answers "ack-failed" (the server delivers it again). Whoever reconnects declares exchange, queues and bindings again, as pika's
own examples do: a server that is killed within some seconds of a declaration may come back without a binding (3.10.8 did).

Modes: ``durable``; ``transient`` (messages not written to disk, no confirms, automatic acknowledgement: whatever is in a
buffer or an inbox when something dies is gone; its queue is durable, so that only its messages are lost in a restart);
``quorum`` (a replicated queue: x-quorum-initial-group-size copies, else one on each node; a majority confirms); ``dead-letter`` (a quorum
queue that moves what was delivered x-delivery-limit times and given back each time, or rejected once, to a queue of its own, by
x-dead-letter-strategy at-least-once).

The profile ``tuned`` overrides one private method of pika (``_output_marshaled_frames``) to write a batch at once
instead of each of the three frames of a message; mode ``transient`` asks a second one (``_get_write_buffer_size``), since without
confirms nothing else bounds what pika holds. pyproject.toml pins pika's minor version for both, and
tests/integration/test_rabbitmq_adapter.py holds them.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import re
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop
from pika.exceptions import (
    AMQPError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from adapters.base import Batch, Block, Event, Options, Outcomes, Status, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import AdapterError, BadSetting, Refused, Unreachable, Unsupported
from adapters.options import check_profile, choose_mode
from adapters.rabbitmq_copies import confirmed

RECONNECT_S = 0.5
CLOSE_S = 2.0
CONNECT_S = 10.0
PAYLOAD_BYTES_MAX = 16 * 1024 * 1024  # the default of RabbitMQ 4; 128 MiB before
BUFFER_BYTES = 1 << 20  # without confirms: what pika may hold unwritten before a producer has no room
SERVER_HEARTBEAT_S = 60  # what the server suggests where the client asks for nothing

# name: (type, default). These are attributes of pika.ConnectionParameters ...
_CONNECTION: dict[str, tuple[type, Any]] = {
    "heartbeat": (int, None),  # None = what the server suggests (60 s)
    "frame_max": (int, 131072),
    "blocked_connection_timeout": (float, None),
    "socket_timeout": (float, 5.0),  # pika: 10; so that an unreachable server is reported within CONNECT_S
    "stack_timeout": (float, CONNECT_S),  # pika: 15
}
# ... and these are not.
_OTHERS: dict[str, tuple[type, Any]] = {
    "window": (int, 1000),  # unconfirmed messages: ours, pika has no bound
    "prefetch_count": (int, None),  # basic.qos; None = see _prefetch()
    "x-quorum-initial-group-size": (int, None),  # copies in the modes of _QUORUM_QUEUES; None = a copy on each node of its server
    "x-delivery-limit": (int, 5),  # in mode "dead-letter": deliveries that were given back before a message is moved
}
_QUORUM_QUEUES = ("quorum", "dead-letter")

_DURABLE = Mode(
    name="durable",
    delivery=Delivery.AT_LEAST_ONCE,
    ordering="queue, one consumer",
    persistence=Persistence.PAGE_CACHE,
    copies=1,
    late_subscriber="the queue's backlog (what came after the queue was declared)",
    slow_consumer="the queue grows; past the memory or disk alarm publishers are blocked",
    source="https://www.rabbitmq.com/docs/confirms",
)
_TRANSIENT = replace(
    _DURABLE,
    name="transient",
    delivery=Delivery.AT_MOST_ONCE,
    persistence=Persistence.CLIENT,
    slow_consumer="the server pushes without regard to prefetch: the client's memory grows",
    source="https://www.rabbitmq.com/docs/consumers#acknowledgement-modes",
)
_QUORUM = replace(
    _DURABLE,
    name="quorum",
    ordering="queue, one consumer",
    persistence=Persistence.FSYNC,
    source="https://www.rabbitmq.com/docs/quorum-queues",
)
_DEAD_LETTER = replace(
    _QUORUM,
    name="dead-letter",
    slow_consumer="the queue grows; what is given back x-delivery-limit times goes to the dead-letter queue",
    source="https://www.rabbitmq.com/docs/dlx",
)


class CoalescingConnection(pika.SelectConnection):  # type: ignore[misc]  # pika ships no types
    """pika's connection with one write a batch: frames are kept while ``hold`` and written together."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._held: list[bytes] | None = None
        super().__init__(*args, **kwargs)

    def hold(self) -> None:
        """Keeps frames from now on."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """Writes what was kept, as one piece."""
        held, self._held = self._held, None
        if held:
            self._write(held)

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        if self._held is None:
            self._write(marshaled_frames)
        else:
            self._held += marshaled_frames

    def _write(self, frames: Sequence[bytes]) -> None:
        data = b"".join(frames)
        self.bytes_sent += len(data)  # the heartbeat checker reads both
        self.frames_sent += len(frames)
        self._adapter_emit_data(data)


def _innermost(error: BaseException) -> BaseException:
    """What the socket or the server said: pika wraps it several times."""
    for inner in (getattr(error, "exception", None), *reversed(getattr(error, "exceptions", ())), *error.args):
        if isinstance(inner, BaseException):
            return _innermost(inner)
    return error


def _translate(error: BaseException, servers: Sequence[str]) -> AdapterError:
    """The one place where pika's errors become ours."""
    where = ", ".join(re.sub(r"//[^@/]*@", "//", server) for server in servers)  # without user and password
    if isinstance(error, ProbableAuthenticationError | ProbableAccessDeniedError):
        return Refused(f"RabbitMQ at {where} refuses this user or virtual host: {error}")
    if isinstance(error, ChannelClosedByBroker | ConnectionClosedByBroker):
        return Refused(f"RabbitMQ at {where} says: {error.reply_code} {error.reply_text}")
    return Unreachable(f"no RabbitMQ answers at {where}: {_innermost(error)!r}")


class _Link:
    """One connection with one channel, served only while the caller is in turn() or until()."""

    def __init__(self, wiring: Wiring, settings: Mapping[str, Any], *, coalesce: bool) -> None:
        self._servers = servers = wiring["servers"]
        self._declarations = _declarations(wiring)
        self._settings = settings
        self._class = CoalescingConnection if coalesce else pika.SelectConnection
        self._loop = IOLoop()
        self._loop.activate_poller()
        self._attempt = 0
        self._connection: Any = None
        self._channel: Any = None  # set while everything works, else None
        self._opening: Any = None  # the channel on its way up
        self._failure: BaseException | None = None
        self._was_up = False
        self._closing = False
        self._events: list[Event] = []
        self._connect()
        self._until(lambda: self._channel is not None or self._failure is not None, CONNECT_S)
        if self._channel is None:
            error = _translate(self._failure or TimeoutError(f"no answer within {CONNECT_S:.0f} s"), servers)
            self.close()
            raise error

    # What a producer and a consumer do differently.
    def _set_up(self, channel: Any) -> None:
        """Prepares a new channel and ends in _ready()."""
        raise NotImplementedError

    def _reset(self) -> None:
        """Forgets what belonged to the lost channel."""
        raise NotImplementedError

    def _turn(self, timeout_s: float) -> None:
        """Waits for I/O at most ``timeout_s`` seconds (pika's epoll: whole milliseconds, rounded up) and serves it once."""
        loop = self._loop
        timer = loop.call_later(max(timeout_s, 0.0), _nothing)
        try:
            loop.poll()
            loop.process_timeouts()
        except (AMQPError, OSError) as error:
            self._events.append(Event("error", f"pika: {error!r}"))
        loop.remove_timeout(timer)

    def _until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Serves I/O until ``done`` or ``timeout_s`` seconds are over; at least one turn where it is not done yet."""
        expired: list[bool] = []
        timer = self._loop.call_later(max(timeout_s, 0.0), lambda: expired.append(True))
        while not done() and not expired:
            try:
                self._loop.poll()
                self._loop.process_timeouts()
            except (AMQPError, OSError) as error:
                self._events.append(Event("error", f"pika: {error!r}"))
        self._loop.remove_timeout(timer)
        return done()

    def _connect(self) -> None:
        if self._closing:
            return
        server = self._servers[self._attempt % len(self._servers)]
        self._attempt += 1
        self._connection = self._class(
            _parameters(server, self._settings),
            on_open_callback=self._on_connection,
            on_open_error_callback=self._on_refused,
            on_close_callback=self._on_lost,
            custom_ioloop=self._loop,
        )

    def _on_connection(self, connection: Any) -> None:
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self._opening = connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Any) -> None:
        channel.add_on_close_callback(self._on_channel_closed)
        left = list(self._declarations) if self._was_up else []

        def go_on(_frame: Any) -> None:
            if left:
                what, arguments = left.pop(0)
                getattr(channel, what)(**arguments, callback=go_on)
            else:
                self._set_up(channel)

        go_on(None)

    def _ready(self) -> None:
        self._channel = self._opening
        self._events.append(
            Event("reconnected", self._servers[(self._attempt - 1) % len(self._servers)]) if self._was_up else Event("ready")
        )
        self._was_up = True

    def _on_refused(self, _connection: Any, error: BaseException) -> None:
        self._failure = error
        # At the first attempt every server of the list gets its chance, later ones are tried for as long as it takes.
        if self._was_up or self._attempt < len(self._servers):
            self._failure = None
            self._loop.call_later(RECONNECT_S, self._connect)

    def _on_channel_closed(self, _channel: Any, reason: BaseException) -> None:
        """A channel error (an exchange that is gone, a bad tag): a new connection is the one way to start afresh."""
        if self._closing:
            return
        self._down(reason)
        if not self._was_up:
            self._failure = reason
        elif self._connection.is_open:
            self._connection.close()

    def _on_lost(self, _connection: Any, reason: BaseException) -> None:
        if self._closing:
            return
        self._down(reason)
        if self._was_up:
            self._loop.call_later(RECONNECT_S, self._connect)
        else:
            self._failure = reason

    def _down(self, reason: BaseException) -> None:
        if self._channel is not None:
            self._channel = None
            self._events.append(Event("closed", str(reason) or repr(reason)))
            self._reset()

    def _on_blocked(self, _connection: Any, frame: Any) -> None:
        self._events.append(Event("error", f"the server blocks publishers: {frame.method.reason}"))

    def _on_unblocked(self, _connection: Any, _frame: Any) -> None:
        self._events.append(Event("error", "the server lets publishers go on"))

    def events(self) -> Sequence[Event]:
        """What happened since the last call."""
        taken, self._events = self._events, []
        return taken

    def close(self) -> None:
        """Ends the connection, within 2 s; what was not acknowledged goes back to its queue. Idempotent."""
        if self._closing:
            return
        self._closing = True
        self._channel = None
        if not self._connection.is_closed:
            with contextlib.suppress(AMQPError):  # it may be on its way up or down: then there is nothing to say good-bye to
                self._connection.close()
            self._until(lambda: bool(self._connection.is_closed), CLOSE_S)
        self._loop.close()


def _nothing() -> None:
    """A timer's end: the loop returns from its wait."""


class RabbitProducer(_Link):
    """Publishes. With ``confirms``: persistent messages, at most ``window`` of them unconfirmed, unroutable ones returned.

    Without: transient ones, and nothing is heard of any; what pika holds unwritten is bounded by BUFFER_BYTES.
    """

    def __init__(self, wiring: Wiring, settings: Mapping[str, Any], outcomes: Outcomes, *, coalesce: bool, confirms: bool) -> None:
        self._exchange = wiring["exchange"]
        self._routes = [str(partition) for partition in range(wiring["partitions"])]
        self._outcomes = outcomes
        self._window = settings["window"]
        self._confirms = confirms
        kept = pika.DeliveryMode.Persistent if confirms else pika.DeliveryMode.Transient
        self._properties = pika.BasicProperties(delivery_mode=kept.value)
        self._blocked = False
        self._forget()
        super().__init__(wiring, settings, coalesce=coalesce)

    def _forget(self) -> None:
        # Publish sequence numbers ("tags") begin at 1 on each channel. Runs: [first tag, first id, count], ascending.
        self._runs: deque[list[int]] = deque()
        self._next_tag = 1
        self._low = 1  # all below are resolved
        self._early: set[int] = set()  # resolved at or above _low
        self._returned: set[int] = set()  # ids that came back and are still to be confirmed

    def _set_up(self, channel: Any) -> None:
        def declared(_frame: Any) -> None:
            if self._confirms:
                channel.confirm_delivery(self._on_confirm, callback=lambda _: self._ready())
            else:
                self._ready()

        channel.add_on_return_callback(self._on_return)
        channel.exchange_declare(self._exchange, passive=True, callback=declared)

    def _ready(self) -> None:
        self._blocked = False
        super()._ready()

    def _on_blocked(self, connection: Any, frame: Any) -> None:
        self._blocked = True
        super()._on_blocked(connection, frame)

    def _on_unblocked(self, connection: Any, frame: Any) -> None:
        self._blocked = False
        super()._on_unblocked(connection, frame)

    def _reset(self) -> None:
        self._resolve(self._low, self._next_tag, Status.INDETERMINATE)
        self._forget()

    def _on_return(self, _channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        """Unroutable: the server returns it, then confirms it. No queue has it, so it is failed."""
        ident = self._outcomes.id_of(body)
        self._returned.add(ident)
        self._outcomes.run(ident, 1, Status.FAILED)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        tag = method.delivery_tag
        # A nack means that the queue's process failed: it may have written the message before. (A full queue with
        # reject-publish says so too, but no queue of this adapter has a bound.)
        status = Status.CONFIRMED if isinstance(method, pika.spec.Basic.Ack) else Status.INDETERMINATE
        if method.multiple:
            self._resolve(self._low, tag + 1, status)
            self._low = tag + 1
            self._early = {early for early in self._early if early > tag}
        elif tag == self._low:
            self._resolve(tag, tag + 1, status)
            self._low = tag + 1
        else:
            self._resolve(tag, tag + 1, status)
            self._early.add(tag)
        while self._low in self._early:
            self._early.remove(self._low)
            self._low += 1
        runs = self._runs
        while runs and runs[0][0] + runs[0][2] <= self._low:
            runs.popleft()

    def _resolve(self, first: int, end: int, status: Status) -> None:
        """Reports the tags from ``first`` to before ``end``, without those that were resolved or returned."""
        report = self._outcomes.run
        for ident, count in self._ids(first, end):
            if self._returned:
                for each in range(ident, ident + count):
                    if each in self._returned:
                        self._returned.remove(each)
                    else:
                        report(each, 1, status)
            else:
                report(ident, count, status)

    def _ids(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Ranges of ids of the unresolved tags from ``first`` to before ``end``."""
        cuts = [first - 1, *sorted(tag for tag in self._early if first <= tag < end), end]
        for below, above in itertools.pairwise(cuts):
            low, high = below + 1, above
            for tag, ident, count in self._runs:
                if tag >= high:
                    break
                a, b = max(low, tag), min(high, tag + count)
                if a < b:
                    yield ident + a - tag, b - a

    def _unwritten(self) -> int:
        """Bytes that pika holds and the socket has not taken: as BlockingConnection asks it, there is no public way."""
        return int(self._connection._get_write_buffer_size())  # noqa: SLF001

    def _outstanding(self) -> int:
        return self._next_tag - self._low - len(self._early)

    def ready(self, timeout_s: float) -> bool:
        """Whether the exchange is there and confirms are on, waiting at most ``timeout_s`` seconds."""
        return not self._closing and self._until(lambda: self._channel is not None, timeout_s)

    def room(self) -> int:
        """What the window leaves; 0 while the connection is down or blocked by the server."""
        if self._channel is None or self._blocked:
            return 0
        if not self._confirms:
            return int(self._window) if self._unwritten() < BUFFER_BYTES else 0
        return max(0, int(self._window - self._outstanding()))

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:  # noqa: ARG002  # one exchange serves all groups
        """Publishes rows lo..hi as far as the window goes; waits at most ``timeout_s`` seconds for room of one.

        Raises Refused for messages over the limit: the server would close the channel, and all that is on its way with it.
        """
        if block.size > PAYLOAD_BYTES_MAX:
            raise Refused(f"RabbitMQ takes messages of up to {PAYLOAD_BYTES_MAX} bytes, not {block.size}")
        if self.room() == 0 and timeout_s > 0 and not self._closing:
            self._until(lambda: self.room() > 0, timeout_s)
        count = min(hi - lo, self.room())
        if count <= 0:
            return 0
        hold = isinstance(self._connection, CoalescingConnection)
        if hold:
            self._connection.hold()
        try:
            self._publish(block, lo, lo + count)
        except AMQPError as error:  # on its way down, which only the loop changes: so the first was refused, and nothing written
            self._events.append(Event("error", f"pika: {error!r}"))
            count = 0
        if hold:
            self._connection.release()
        if self._confirms:
            self._sent(block.first_id + lo, count)
        self._turn(0.0)  # pika writes only in its loop: else these would wait for the next pump
        return count

    def _publish(self, block: Block, lo: int, hi: int) -> None:
        publish, exchange, properties, mandatory = self._channel.basic_publish, self._exchange, self._properties, self._confirms
        messages = block.messages(lo, hi)
        if len(self._routes) == 1:
            for message in messages:
                publish(exchange, "0", message, properties, mandatory)
        else:
            routes, partitions = self._routes, block.partitions
            for row, message in enumerate(messages, lo):
                publish(exchange, routes[partitions[row]], message, properties, mandatory)

    def _sent(self, ident: int, count: int) -> None:
        runs = self._runs
        if runs and runs[-1][1] + runs[-1][2] == ident:
            runs[-1][2] += count
        else:
            runs.append([self._next_tag, ident, count])
        self._next_tag += count

    def pump(self, timeout_s: float) -> None:
        """Serves the connection once, waiting at most ``timeout_s`` seconds for something to come."""
        if not self._closing:
            self._turn(timeout_s)

    def flush(self, timeout_s: float) -> int | None:
        """Waits at most ``timeout_s`` seconds for the confirms; returns how many are missing. Without: until all is written or lost."""
        if not self._confirms:
            if not self._closing:
                self._until(lambda: self._channel is None or self._unwritten() == 0, timeout_s)
            return None
        if not self._closing:
            self._until(lambda: self._outstanding() == 0, timeout_s)
        return self._outstanding()


class RabbitConsumer(_Link):
    """Consumes the queues of one member on one channel, whose delivery tags are dense: acks are cumulative over all."""

    def __init__(
        self, wiring: Wiring, group: str, member: int, settings: Mapping[str, Any], *, coalesce: bool, auto_ack: bool
    ) -> None:  # fmt: skip
        about = wiring["groups"].get(group)
        if about is None:
            raise BadSetting(f"no group {group!r} in this wiring, which has {', '.join(wiring['groups'])}")
        partitioned = wiring["partitions"] > 1
        self._mine = tuple(range(member, wiring["partitions"], about["members"])) if partitioned else None
        self._queues = [about["queues"][partition] for partition in self._mine] if self._mine is not None else about["queues"]
        self._prefetch = settings["prefetch_count"]
        self._auto_ack = auto_ack
        self._inbox: deque[tuple[int, bool, bytes]] = deque()
        self._epoch = 0  # channels so far: a tag of an older one means nothing
        self._acked = 0  # all tags up to this one are settled
        self._settled: set[int] = set()  # one by one, above _acked
        super().__init__(wiring, settings, coalesce=coalesce)

    def _set_up(self, channel: Any) -> None:
        channel.add_on_cancel_callback(self._on_cancelled)
        left = list(self._queues)

        def go_on(_frame: Any) -> None:
            if left:
                channel.basic_consume(left.pop(0), self._on_message, auto_ack=self._auto_ack, callback=go_on)
            else:
                self._ready()
                self._events.append(Event("assigned", partitions=self._mine))

        channel.basic_qos(prefetch_count=self._prefetch, callback=go_on)

    def _on_message(self, _channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        self._inbox.append((method.delivery_tag, method.redelivered, body))

    def _on_cancelled(self, frame: Any) -> None:
        """The queue was deleted or its node went: start afresh."""
        self._down(RuntimeError(f"the server cancelled the consumer {frame.method.consumer_tag}"))
        if self._connection.is_open:
            self._connection.close()

    def _reset(self) -> None:
        self._epoch += 1
        self._acked = 0
        if not self._auto_ack:
            self._inbox.clear()  # the server has them still, and delivers them again
        self._settled.clear()

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """Up to ``max_messages`` that the server pushed, waiting at most ``timeout_s`` seconds for the first."""
        if self._closing:
            return None
        inbox = self._inbox
        if inbox:
            self._turn(0.0)  # acks leave and heartbeats go on, also under a full load
        else:
            self._until(lambda: bool(inbox), timeout_s)
        count = min(max_messages, len(inbox))
        if count == 0:
            return None
        tags, redelivered, payloads = zip(*[inbox.popleft() for _ in range(count)], strict=True)
        return Batch(payloads=payloads, count=count, redelivered=redelivered, token=(self._epoch, tags))

    def ack(self, batch: Batch, upto: int) -> None:
        """One basic.ack, multiple, up to the ``upto``-th message of the batch; it leaves with the next poll() or idle()."""
        if self._auto_ack:
            return  # the server has forgotten it; an ack would close the channel
        epoch, tags = batch.token
        if not self._usable(epoch, "ack"):
            return
        target = tags[upto - 1] if upto > 0 else tags[0] - 1
        tag = target
        while tag > self._acked and tag in self._settled:
            tag -= 1  # the server refuses a cumulative ack whose own tag is settled already
        if tag > self._acked:
            try:
                self._channel.basic_ack(tag, multiple=True)
            except AMQPError as error:
                self._events.append(Event("ack-failed", repr(error)))
                return
        if target > self._acked:
            self._acked = target
            self._settled = {each for each in self._settled if each > target}

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """One message: "ack", "requeue" (delivered again, marked redelivered) or "reject" (dropped; in mode dead-letter moved).

        Raises Unsupported with automatic acknowledgement.
        """
        if self._auto_ack:
            raise Unsupported("mode transient acknowledges automatically: there is nothing to settle")
        epoch, tags = batch.token
        if how not in ("ack", "requeue", "reject"):
            raise BadSetting(f"settle knows ack, requeue and reject, not {how!r}")
        if not self._usable(epoch, how) or tags[index] <= self._acked or tags[index] in self._settled:
            return
        try:
            if how == "ack":
                self._channel.basic_ack(tags[index])
            else:
                self._channel.basic_reject(tags[index], requeue=how == "requeue")
        except AMQPError as error:
            self._events.append(Event("ack-failed", repr(error)))
            return
        self._settled.add(tags[index])

    def _usable(self, epoch: int, what: str) -> bool:
        if epoch == self._epoch and self._channel is not None:
            return True
        self._events.append(Event("ack-failed", f"{what} of a batch of a channel that is gone: the server delivers it again"))
        return False

    def idle(self, seconds: float) -> None:
        """Serves the connection for ``seconds``: heartbeats go on, deliveries pile up to the prefetch."""
        if not self._closing:
            self._until(lambda: False, seconds)


class RabbitAdapter:
    """RabbitMQ by pika."""

    capabilities = Capabilities(
        system="RabbitMQ",
        client="pika",
        architecture="broker",
        intermediary=True,
        stores=True,
        fan_out=Support.NATIVE,
        work_sharing=Support.NATIVE,
        partitions=Support.EMULATED,
        modes=(_DURABLE, _TRANSIENT, _QUORUM, _DEAD_LETTER),
        confirms=True,
        acks=True,
        assignment=Assignment.SHARED,
        payload_bytes_max=PAYLOAD_BYTES_MAX,
        settle=True,
        pump_resolution_s=0.001,  # epoll through pika waits whole milliseconds, rounded up
        poll_resolution_s=0.001,
        quotas="max_message_size: 16 MiB since RabbitMQ 4.0, 128 MiB before; publishers are blocked by the memory and disk alarms",
    )

    def __init__(self, options: Options) -> None:
        self.options = options
        self._settings = _settings(options)
        self._coalesce = check_profile("rabbitmq", options) == "tuned"
        self.mode = choose_mode(self.capabilities, options)
        self._confirms = self.mode.name != "transient"
        if not self._confirms:
            self.capabilities = replace(self.capabilities, confirms=False, acks=False, settle=False)
        if self.mode.name == "dead-letter":
            self.capabilities = replace(self.capabilities, dead_letters=True)
        if self.mode.name in _QUORUM_QUEUES:
            size = "x-quorum-initial-group-size"
            self.mode = replace(self.mode, copies=confirmed(size, self._settings[size], options.server))
        elif "x-quorum-initial-group-size" in options.settings:
            raise BadSetting("x-quorum-initial-group-size belongs to the modes quorum and dead-letter: a classic queue has one copy")
        if "x-delivery-limit" in options.settings and self.mode.name != "dead-letter":
            raise BadSetting("x-delivery-limit belongs to mode dead-letter: elsewhere what is over it would be dropped")

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """Names of the exchange and of each group's queues, unique to this call."""
        exchange = f"brokerbench.{run_id}.{uuid.uuid4().hex[:8]}"
        several = topology.partitions > 1
        groups = {
            group.name: {
                "members": group.members,
                "queues": [f"{exchange}.{group.name}" + (f".{p}" if several else "") for p in range(topology.partitions)],
                "arguments": self._arguments(f"{exchange}.{group.name}.dead"),
                "dead": f"{exchange}.{group.name}.dead" if self.mode.name == "dead-letter" else None,
            }
            for group in topology.groups
        }
        return {"exchange": exchange, "partitions": topology.partitions, "groups": groups}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Declares exchange, queues and bindings; repeating it changes nothing."""
        with self._admin(wiring) as channel:
            for what, arguments in _declarations(wiring):
                getattr(channel, what)(**arguments)
        return wiring

    def _arguments(self, dead: str) -> dict[str, Any]:
        """A queue's arguments; ``dead``: where mode dead-letter moves to, through the default exchange, which knows queues by name."""
        arguments: dict[str, Any] = {}
        if self.mode.name in _QUORUM_QUEUES:
            arguments = {"x-queue-type": "quorum", "x-quorum-initial-group-size": self._settings["x-quorum-initial-group-size"]}
        if self.mode.name == "dead-letter":
            arguments |= {
                "x-delivery-limit": self._settings["x-delivery-limit"],
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": dead,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",  # at-least-once wants it; without a bound nothing overflows
            }
        return arguments

    def cleanup(self, wiring: Wiring) -> None:
        """Deletes this wiring's queues and exchange; what is gone already is fine."""
        with self._admin(wiring) as channel:
            for group in wiring["groups"].values():
                for queue in (*group["queues"], *filter(None, [group["dead"]])):
                    channel.queue_delete(queue)
            channel.exchange_delete(wiring["exchange"])

    def dead_letters(self, wiring: Wiring, group: str) -> list[bytes]:
        """Takes what lies in a group's dead-letter queue now, oldest first. Raises Unreachable, Refused."""
        found: list[bytes] = []
        with self._admin(wiring) as channel:
            while (got := channel.basic_get(wiring["groups"][group]["dead"], auto_ack=True))[0] is not None:
                found.append(got[2])
        return found

    def depth(self, wiring: Wiring, group: str) -> int | None:
        """Messages *ready* in a group's queues (passive queue.declare); AMQP does not tell what a consumer has not acknowledged.

        Of that only the management plugin knows, which is not on. Raises Unreachable, Refused.
        """
        with self._admin(wiring) as channel:
            return sum(int(channel.queue_declare(queue, passive=True).method.message_count) for queue in wiring["groups"][group]["queues"])

    def redelivery_s(self) -> float:
        """How long the server may take to see that a consumer is gone whose socket stays open: two heartbeat intervals, 0 = no timer."""
        if not self.capabilities.acks:
            return 0.0
        asked = self._settings["heartbeat"]
        return 2.0 * (SERVER_HEARTBEAT_S if asked is None else asked)

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> RabbitProducer:  # noqa: ARG002  # producers are alike
        """Connects; raises Unreachable or Refused within about 10 s a server."""
        return RabbitProducer(wiring, self._settings, outcomes, coalesce=self._coalesce, confirms=self._confirms)

    def consumer(self, wiring: Wiring, group: str, member: int) -> RabbitConsumer:
        """Connects and starts to consume; raises Unreachable or Refused within about 10 s a server."""
        return RabbitConsumer(wiring, group, member, self._settings, coalesce=self._coalesce, auto_ack=not self.capabilities.acks)

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """Settings in force; null = the server's suggestion."""
        connection = {name: self._settings[name] for name in _CONNECTION}
        connection |= {
            "connection": "SelectConnection",
            "frames": "coalesced" if self._coalesce else "one write each",
            "reconnect_s": RECONNECT_S,
        }
        queue = {"x-queue-type": "classic", "durable": True, **self._arguments("GROUP.dead")}
        producer = {
            "window": self._settings["window"],
            "publisher_confirms": self._confirms,
            "mandatory": self._confirms,
            "delivery_mode": 2 if self._confirms else 1,
        }
        consumer: dict[str, Any] = {"auto_ack": True}
        if self.capabilities.acks:
            consumer = {"prefetch_count": self._settings["prefetch_count"], "auto_ack": False, "ack": "multiple"}
        return {"producer": connection | queue | producer, "consumer": connection | queue | consumer}

    @contextlib.contextmanager
    def _admin(self, wiring: Wiring) -> Iterator[Any]:
        """A channel for declarations, on the first server of the list that answers."""
        servers = wiring["servers"]
        connection = None
        try:
            connection = pika.BlockingConnection([_parameters(server, self._settings) for server in servers])
            yield connection.channel()
        except (AMQPError, OSError) as error:
            raise _translate(error, servers) from error
        finally:
            if connection is not None and connection.is_open:
                connection.close()


def _declarations(wiring: Wiring) -> list[tuple[str, dict[str, Any]]]:
    """What makes a wiring's exchange, queues and bindings: methods of a channel with their arguments. Repeating them changes nothing."""
    exchange = wiring["exchange"]
    found: list[tuple[str, dict[str, Any]]] = [("exchange_declare", {"exchange": exchange, "exchange_type": "direct", "durable": True})]
    for group in wiring["groups"].values():
        if group["dead"] is not None:
            found.append(("queue_declare", {"queue": group["dead"], "durable": True}))
        for partition, queue in enumerate(group["queues"]):
            found.append(("queue_declare", {"queue": queue, "durable": True, "arguments": group["arguments"]}))
            found.append(("queue_bind", {"queue": queue, "exchange": exchange, "routing_key": str(partition)}))
    return found


def _parameters(server: str, settings: Mapping[str, Any]) -> Any:
    """``host:port`` (guest/guest, as RabbitMQ allows on loopback) or a whole amqp:// URL, with our settings on top."""
    try:
        if "://" in server:
            parameters = pika.URLParameters(server)
        else:
            host, _, port = server.rpartition(":")
            parameters = pika.ConnectionParameters(host=host or server, port=int(port) if host else pika.ConnectionParameters.DEFAULT_PORT)
        for name in _CONNECTION:
            if settings[name] is not None:
                setattr(parameters, name, settings[name])
    except (ValueError, TypeError) as error:
        raise BadSetting(f"RabbitMQ server {server!r} or a setting of its connection: {error}") from error
    parameters.connection_attempts = 1
    return parameters


def _settings(options: Options) -> dict[str, Any]:
    """Our defaults, the profile's, then what the variant asks for: by the client's own names, typed."""
    known = _CONNECTION | _OTHERS
    values = {name: default for name, (_, default) in known.items()}
    values["x-quorum-initial-group-size"] = int(options.server.get("nodes", "1"))
    # As much as servers.md's figures were taken with, and never so little that the acks that free it cannot come due.
    values["prefetch_count"] = max(1000, 2 * (options.batch + options.ack_every))
    for name, text in options.settings.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            raise BadSetting(f"rabbitmq has no setting {name!r}: {hint}")
        kind = known[name][0]
        try:
            values[name] = kind(text)
        except ValueError as error:
            raise BadSetting(f"rabbitmq setting {name} takes {'a whole number' if kind is int else 'a number'}, not {text!r}") from error
        if values[name] < (0 if name == "heartbeat" else 1 if kind is int else 0.001):
            raise BadSetting(f"rabbitmq setting {name} must be positive, not {text}")
    return values


ADAPTER = RabbitAdapter
