"""ZeroMQ PUSH/PULL by pyzmq: a PUSH socket for each group (the producer makes the copies), members share round-robin.

Consumers bind, producers connect, always over ``tcp://``. There is no broker: what was sent and not received lies in
the producer's memory (up to SNDHWM messages for each member), in the sockets' buffers, and in the consumer's (RCVHWM
for each producer). A consumer that closes or dies takes its share with it. close() of a producer waits at most LINGER
milliseconds for what it still holds and drops the rest. After send() returns nobody can know what became of a message.

``defaults`` is the public API (``Socket.send``, ``Socket.recv``); ``tuned`` calls the compiled socket's own methods and
so leaves out pyzmq's Python layer (measured 1.45 times the rate at 100 B).
Sources: zmq_socket(3), zmq_setsockopt(3), https://pyzmq.readthedocs.io.
"""
# ruff: noqa: ARG002  # the signatures are the contract's; this system needs not every argument

from __future__ import annotations

import errno
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from operator import length_hint
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from adapters.base import Batch, Block, Event, Options, Outcomes, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import AdapterError, BadSetting, Refused, Unreachable, Unsupported
from adapters.options import check_profile, choose_mode, integer_settings
from adapters.ports import LOOPBACK, free_ports

PAYLOAD_BYTES_MAX = 64 << 20  # ours: libzmq has no limit but memory
ROOM = 1 << 16  # libzmq does not say how far a pipe is from its high-water mark; send() answers
NOBLOCK = int(zmq.NOBLOCK)  # as a plain int: the enum costs a conversion a message

# libzmq's own defaults, but for LINGER: its -1 would let close() wait for ever for a peer that has died.
DEFAULTS = {"sndhwm": 1000, "rcvhwm": 1000, "linger": 2000, "io_threads": 1, "sndbuf": -1, "rcvbuf": -1, "immediate": 0}
MINIMUM = {"linger": -1, "io_threads": 1, "sndbuf": -1, "rcvbuf": -1}
PRODUCER_SETTINGS = ("sndhwm", "linger", "sndbuf", "immediate", "io_threads")
CONSUMER_SETTINGS = ("rcvhwm", "rcvbuf", "io_threads")

ERRORS: Mapping[int, type[AdapterError]] = {
    zmq.EADDRINUSE: Refused,
    zmq.EADDRNOTAVAIL: Refused,
    errno.EACCES: Refused,
    zmq.EINVAL: BadSetting,
}

CAPABILITIES = Capabilities(
    system="ZeroMQ",
    client="pyzmq",
    architecture="broker-less",
    intermediary=False,
    stores=False,
    fan_out=Support.EMULATED,
    work_sharing=Support.NATIVE,
    partitions=Support.UNSUPPORTED,
    modes=(
        Mode(
            name="push-pull",
            delivery=Delivery.NONE,
            ordering="pipe",
            persistence=Persistence.CLIENT,
            copies=1,
            late_subscriber="joins the round-robin; what went before went to others",
            slow_consumer="the producer blocks at the high-water mark",
            source="https://zguide.zeromq.org/docs/chapter1/",
        ),
    ),
    confirms=False,
    acks=False,
    assignment=Assignment.STREAMS,
    payload_bytes_max=PAYLOAD_BYTES_MAX,
    send_per_group=True,
    consumer_listens=True,
    poll_resolution_s=0.001,  # zmq_poll counts in milliseconds
    quotas="a lane is ordered where a group has one member; members share in turn, not by load",
)


class ZeroMq:
    """Settings, by libzmq's names: sndhwm, rcvhwm (messages), linger (ms), sndbuf, rcvbuf (bytes, -1 = kernel's), immediate, io_threads."""

    capabilities = CAPABILITIES

    def __init__(self, options: Options) -> None:
        self._tuned = check_profile("zeromq", options) == "tuned"
        self.mode: Mode = choose_mode(CAPABILITIES, options)
        self._settings = integer_settings("zeromq", options, DEFAULTS, MINIMUM)
        self._send: Callable[..., Any] = zmq.Socket.send
        self._recv: Callable[..., bytes] = zmq.Socket.recv
        if self._tuned:
            self._send, self._recv = _compiled()

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """A port for each member of each group, for the consumer to bind."""
        ports = iter(free_ports(sum(group.members for group in topology.groups)))
        groups = [
            {"name": group.name, "members": [f"tcp://{LOOPBACK}:{next(ports)}" for _ in range(group.members)]} for group in topology.groups
        ]
        return {"run_id": run_id, "groups": groups}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Nothing to make: there is no server."""
        return wiring

    def cleanup(self, wiring: Wiring) -> None:
        """Nothing outlives the endpoints."""

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> ZeroMqProducer:
        """A PUSH for each group, connected to all its members. Raises BadSetting for what libzmq refuses."""
        with _translated():
            return ZeroMqProducer([group["members"] for group in wiring["groups"]], self._settings, self._send)

    def consumer(self, wiring: Wiring, group: str, member: int) -> ZeroMqConsumer:
        """A PULL, bound. Raises Refused where the port is taken or the group is not of this wiring."""
        for entry in wiring["groups"]:
            if entry["name"] == group:
                with _translated():
                    return ZeroMqConsumer(entry["members"][member], self._settings, self._recv)
        raise Refused(f"zeromq: no group {group!r} in this wiring")

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """Options in force, and which of pyzmq's layers is called."""
        versions = {"libzmq": zmq.zmq_version(), "api": "zmq.backend Socket (compiled)" if self._tuned else "zmq.Socket"}
        return {
            "producer": {"type": "PUSH", **{name: self._settings[name] for name in PRODUCER_SETTINGS}, **versions},
            "consumer": {"type": "PULL", **{name: self._settings[name] for name in CONSUMER_SETTINGS}, **versions},
        }


class ZeroMqProducer:
    """A PUSH for each group, each with a monitor that tells when its connections come and go."""

    def __init__(self, groups: Sequence[Sequence[str]], settings: Mapping[str, int], send: Callable[..., Any]) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(settings["io_threads"])
        self._linger_ms = settings["linger"]
        self._sockets: list[zmq.Socket[bytes]] = []
        self._monitors: list[zmq.Socket[bytes]] = []
        self._connections = sum(len(addresses) for addresses in groups)
        self._live = 0
        self._was_ready = False
        self._timeout_ms = -1  # libzmq's own: for ever; only a wait uses it
        self._send = send
        self._events: list[Event] = []
        try:
            for addresses in groups:
                self._open(addresses, settings)
        except zmq.ZMQError:
            self.close()
            raise

    def _open(self, addresses: Sequence[str], settings: Mapping[str, int]) -> None:
        socket = self._context.socket(zmq.PUSH)
        self._sockets.append(socket)
        for name in ("sndhwm", "linger", "sndbuf", "immediate"):
            socket.set(getattr(zmq, name.upper()), settings[name])
        # Before connect(): a connection that stands before the monitor does is never announced.
        self._monitors.append(socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED))
        for address in addresses:
            socket.connect(address)

    def ready(self, timeout_s: float) -> bool:
        """Every member of every group has answered."""
        self._watch()
        if self._live < self._connections and self._monitors:
            poller = zmq.Poller()
            for monitor in self._monitors:
                poller.register(monitor, zmq.POLLIN)
            deadline_s = time.monotonic() + timeout_s
            while self._live < self._connections and (left_s := deadline_s - time.monotonic()) > 0:
                poller.poll(max(1, int(left_s * 1000)))
                self._watch()
        return bool(self._sockets) and self._live == self._connections

    def _watch(self) -> None:
        """Takes what the monitors have to tell."""
        for monitor in self._monitors:
            while int(monitor.get(zmq.EVENTS)) & zmq.POLLIN:
                message = recv_monitor_message(monitor)
                address = message["endpoint"].decode()
                if message["event"] == zmq.EVENT_DISCONNECTED:
                    self._live -= 1
                    self._events.append(Event("closed", f"{address}: what was underway on it may be lost"))
                    continue
                self._live += 1
                if self._was_ready:
                    self._events.append(Event("reconnected", address))
                elif self._live == self._connections:
                    self._was_ready = True
                    self._events.append(Event("ready"))

    def room(self) -> int:
        """A constant: libzmq does not say."""
        return ROOM

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:
        """Rows up to the high-water mark of all of the group's pipes; waits once for the socket to take more.

        The wait is in whole milliseconds. Raises Refused for messages over the limit, Unreachable after close().
        """
        if block.size > PAYLOAD_BYTES_MAX:
            raise Refused(f"zeromq: {block.size} bytes is over the suite's limit of {PAYLOAD_BYTES_MAX} bytes a message")
        if not self._sockets:
            raise Unreachable("zeromq: this producer is closed")
        socket = self._sockets[group]
        rows = block.views(lo, hi)  # libzmq copies within the call
        if timeout_s <= 0:
            return self._offer(socket, rows, repeat(NOBLOCK))
        timeout_ms = math.ceil(timeout_s * 1000)
        if timeout_ms != self._timeout_ms:
            self._timeout_ms = timeout_ms
            for each in self._sockets:
                each.set(zmq.SNDTIMEO, timeout_ms)
        return self._offer(socket, rows)

    def _offer(self, socket: zmq.Socket[bytes], rows: Sequence[bytes | memoryview], *flags: Iterator[int]) -> int:
        """Sends until libzmq takes no more. The loop runs in C; how far it got is what is left in the rows' iterator."""
        left = iter(rows)
        try:
            deque(map(self._send, repeat(socket), left, *flags), maxlen=0)
        except zmq.Again:
            return len(rows) - length_hint(left) - 1  # one was taken from the iterator and refused
        except zmq.ZMQError as error:
            raise Unreachable(f"zeromq: {error}") from error
        return len(rows)

    def pump(self, timeout_s: float) -> None:
        """Just the wait: libzmq's own threads do the work, and a PUSH socket hears nothing back."""
        if timeout_s > 0:
            time.sleep(timeout_s)

    def flush(self, timeout_s: float) -> int | None:
        """None: what has left this process, libzmq does not say."""
        return None

    def events(self) -> Sequence[Event]:
        """One "ready" when all members have answered, then "closed" and "reconnected" by connection."""
        self._watch()
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Waits at most LINGER for what the sockets still hold; the rest is dropped without a word (libzmq's way)."""
        sockets, self._sockets, self._monitors = self._sockets, [], []
        for socket in sockets:
            socket.disable_monitor()
            socket.close(self._linger_ms)
        self._context.term()


class ZeroMqConsumer:
    """A PULL that all producers connect to."""

    def __init__(self, address: str, settings: Mapping[str, int], recv: Callable[..., bytes]) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(settings["io_threads"])
        self._socket = self._context.socket(zmq.PULL)
        self._recv = recv
        self._events = [Event("ready"), Event("assigned")]
        self._closed = False
        try:
            self._socket.set(zmq.LINGER, 0)  # a PULL has nothing to send
            self._socket.set(zmq.RCVHWM, settings["rcvhwm"])
            self._socket.set(zmq.RCVBUF, settings["rcvbuf"])
            self._socket.bind(address)
        except zmq.ZMQError:
            self.close()
            raise

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """What has arrived; else waits, in whole milliseconds, and looks once more."""
        if self._closed:
            return None
        payloads = self._drain(max_messages)
        if not payloads and timeout_s > 0 and self._socket.poll(int(timeout_s * 1000), zmq.POLLIN):
            payloads = self._drain(max_messages)
        return Batch(payloads=payloads, count=len(payloads)) if payloads else None

    def _drain(self, max_messages: int) -> list[bytes]:
        """Takes without blocking. extend() keeps what came before the error that ends it."""
        payloads: list[bytes] = []
        try:
            payloads.extend(map(self._recv, repeat(self._socket, max_messages), repeat(NOBLOCK)))
        except zmq.Again:
            pass
        except zmq.ZMQError as error:
            raise Unreachable(f"zeromq: {error}") from error
        return payloads

    def ack(self, batch: Batch, upto: int) -> None:
        """Nothing to tell anybody."""

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """Raises Unsupported."""
        raise Unsupported("PUSH/PULL has no acknowledgement, so a message cannot be given back")

    def idle(self, seconds: float) -> None:
        """Nothing to keep alive; just the wait."""
        time.sleep(seconds)

    def events(self) -> Sequence[Event]:
        """One "ready", one "assigned": a stream of its own from each producer."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Loses what libzmq has received and nobody polled."""
        self._closed = True
        self._socket.close(0)
        self._context.term()


def _compiled() -> tuple[Callable[..., Any], Callable[..., bytes]]:
    """The send and recv of pyzmq's compiled Socket. Raises BadSetting where pyzmq was built without it (PyPy)."""
    try:
        from zmq.backend.cython._zmq import Socket  # noqa: PLC0415  # only `tuned` needs it
    except ImportError as missing:
        raise BadSetting("zeromq: profile 'tuned' needs pyzmq's Cython backend, which this pyzmq does not have") from missing
    return Socket.send, Socket.recv


@contextmanager
def _translated() -> Iterator[None]:
    """Turns libzmq's errors while sockets are opened into the suite's own."""
    try:
        yield
    except zmq.ZMQError as error:
        raise ERRORS.get(error.errno or 0, Unreachable)(f"zeromq: {error}") from error


ADAPTER = ZeroMq
