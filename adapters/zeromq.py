"""ZeroMQ by pyzmq, in four modes, always over ``tcp://``.

``push-pull`` (here): a PUSH socket for each group (the producer makes the copies), members share round-robin.
``pub-sub`` and ``proxy``: adapters/zeromq_pubsub.py. ``acknowledged``: adapters/zeromq_acked.py.

PUSH/PULL: consumers bind, producers connect. There is no broker: what was sent and not received lies in
the producer's memory (up to SNDHWM messages for each member), in the sockets' buffers, and in the consumer's (RCVHWM
for each producer). A consumer that closes or dies takes its share with it. close() of a producer waits at most LINGER
milliseconds for what it still holds and drops the rest. After send() returns nobody can know what became of a message.

``defaults`` is the public API (``Socket.send``, ``Socket.recv``); ``tuned`` calls the compiled socket's own methods and
so leaves out pyzmq's Python layer (measured 1.45 times the rate at 100 B).
Sources: zmq_socket(3), zmq_setsockopt(3), https://pyzmq.readthedocs.io.
"""
# ruff: noqa: ARG002  # the signatures are the contract's; this system needs not every argument

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

import zmq

from adapters.base import Block, Consumer, Event, Options, Outcomes, Producer, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import BadSetting, Refused, Unreachable, Unsupported
from adapters.options import check_profile, choose_mode, integer_settings
from adapters.ports import LOOPBACK, free_ports
from adapters.zeromq_acked import AckedConsumer, AckedProducer
from adapters.zeromq_pubsub import PubSubConsumer, PubSubProducer, answers
from adapters.zeromq_sockets import NOBLOCK, PAYLOAD_BYTES_MAX, Receiver, changes, check_size, methods, offer, translated

ROOM = 1 << 16  # libzmq does not say how far a pipe is from its high-water mark; send() answers

# libzmq's own defaults, but for LINGER: its -1 would let close() wait for ever for a peer that has died.
COMMON = {"linger": 2000, "io_threads": 1, "sndbuf": -1, "rcvbuf": -1}
DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "push-pull": {"sndhwm": 1000, "rcvhwm": 1000, **COMMON, "immediate": 0},
    "pub-sub": {"sndhwm": 1000, "rcvhwm": 1000, **COMMON, "xpub_nodrop": 0},
    "proxy": {"sndhwm": 1000, "rcvhwm": 1000, **COMMON, "xpub_nodrop": 0},
    # credit: as many as libzmq's high-water marks, which are off here. resend_ivl, ms: ours, there is no custom for it.
    "acknowledged": {"credit": 1000, "resend_ivl": 3000, **COMMON},
}
MINIMUM = {"linger": -1, "io_threads": 1, "sndbuf": -1, "rcvbuf": -1, "credit": 1, "resend_ivl": 10}
PRODUCER_SETTINGS = ("sndhwm", "linger", "sndbuf", "immediate", "xpub_nodrop", "io_threads", "resend_ivl")
CONSUMER_SETTINGS = ("rcvhwm", "rcvbuf", "io_threads", "credit", "resend_ivl")
TYPES = {"push-pull": ("PUSH", "PULL"), "pub-sub": ("XPUB", "SUB"), "proxy": ("XPUB", "SUB"), "acknowledged": ("DEALER", "ROUTER")}

_DROPPED = "what the producer's pipe to it cannot hold (SNDHWM) is dropped, and nobody is told"
_MISSED = "misses what was sent before its subscription arrived"
MODES = (
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
    Mode(
        name="pub-sub",
        delivery=Delivery.NONE,
        ordering="pipe",
        persistence=Persistence.CLIENT,
        copies=1,
        late_subscriber=_MISSED,
        slow_consumer=_DROPPED,
        source="https://zguide.zeromq.org/docs/chapter5/",
    ),
    Mode(
        name="proxy",
        delivery=Delivery.NONE,
        ordering="pipe",
        persistence=Persistence.CLIENT,
        copies=1,
        late_subscriber=_MISSED,
        slow_consumer=_DROPPED.replace("the producer's", "the proxy's"),
        source="https://zguide.zeromq.org/docs/chapter2/",
    ),
    Mode(
        name="acknowledged",
        delivery=Delivery.AT_LEAST_ONCE,
        ordering="producer to one member; what is sent again comes before what is new",
        persistence=Persistence.PROCESSED,
        copies=1,
        late_subscriber="shares from when it is connected; gets what a member that died had not acknowledged",
        slow_consumer="the producer stops when the member's credit is used up",
        source="https://zguide.zeromq.org/docs/chapter4/",
    ),
)
CAPABILITIES = Capabilities(
    system="ZeroMQ",
    client="pyzmq",
    architecture="broker-less",
    intermediary=False,
    stores=False,
    fan_out=Support.EMULATED,
    work_sharing=Support.NATIVE,
    partitions=Support.UNSUPPORTED,
    modes=MODES,
    confirms=False,
    acks=False,
    assignment=Assignment.STREAMS,
    payload_bytes_max=PAYLOAD_BYTES_MAX,
    send_per_group=True,
    consumer_listens=True,
    poll_resolution_s=0.001,  # zmq_poll counts in milliseconds
    quotas="a lane is ordered where a group has one member; members share in turn, not by load",
)
_SUBSCRIBED = dataclasses.replace(
    CAPABILITIES,
    fan_out=Support.NATIVE,
    work_sharing=Support.UNSUPPORTED,
    send_per_group=False,
    consumer_listens=False,
    quotas="each subscriber gets everything: a group has one member",
)
BY_MODE: Mapping[str, Capabilities] = {
    "push-pull": CAPABILITIES,
    "pub-sub": _SUBSCRIBED,
    "proxy": dataclasses.replace(_SUBSCRIBED, architecture="broker", intermediary=True),
    "acknowledged": dataclasses.replace(
        CAPABILITIES,
        work_sharing=Support.EMULATED,
        confirms=True,
        acks=True,
        pump_resolution_s=0.001,
        quotas="a lane is ordered where a group has one member; what is not acknowledged lies in the producer's memory",
    ),
}


class ZeroMq:
    """Settings, by libzmq's names: sndhwm, rcvhwm (messages), linger (ms), sndbuf, rcvbuf (bytes, -1 = kernel's), io_threads.

    push-pull: immediate. pub-sub and proxy: xpub_nodrop. acknowledged: credit (messages) and resend_ivl (ms) in place of the marks.
    """

    capabilities = CAPABILITIES

    def __init__(self, options: Options) -> None:
        self._tuned = check_profile("zeromq", options) == "tuned"
        self.mode: Mode = choose_mode(CAPABILITIES, options)
        if self._tuned and self.mode.name == "acknowledged":
            raise BadSetting("zeromq: mode 'acknowledged' has no profile 'tuned'; it has: defaults")
        self.capabilities = BY_MODE[self.mode.name]
        self._settings = integer_settings("zeromq", options, DEFAULTS[self.mode.name], MINIMUM)
        self._send, self._recv = methods(tuned=self._tuned)

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """A port for each that binds: members of groups, or (pub-sub) producers. Raises Unsupported where members cannot share."""
        if self.capabilities.work_sharing is Support.UNSUPPORTED:
            return self._wire_subscribed(topology, run_id)
        ports = iter(free_ports(sum(group.members for group in topology.groups)))
        groups = [
            {"name": group.name, "members": [f"tcp://{LOOPBACK}:{next(ports)}" for _ in range(group.members)]} for group in topology.groups
        ]
        return {"run_id": run_id, "groups": groups}

    def _wire_subscribed(self, topology: Topology, run_id: str) -> Wiring:
        for group in topology.groups:
            if group.members > 1:
                raise Unsupported(
                    f"ZeroMQ's PUB hands every subscriber every message: the {group.members} members of group {group.name!r} cannot share"
                )
        ports = free_ports(topology.producers) if self.mode.name == "pub-sub" else []
        groups = [{"name": group.name, "members": []} for group in topology.groups]
        return {"run_id": run_id, "groups": groups, "producers": [f"tcp://{LOOPBACK}:{port}" for port in ports]}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Nothing to make: there is no server, or (proxy) it keeps nothing. Raises Unreachable where no proxy answers."""
        if self.mode.name == "proxy":
            for address in wiring["servers"]:
                answers(address)
        return wiring

    def cleanup(self, wiring: Wiring) -> None:
        """Nothing outlives the endpoints."""

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> Producer:
        """The sockets of one producer. Raises BadSetting for what libzmq refuses, Refused where a port is taken."""
        members = [group["members"] for group in wiring["groups"]]
        with translated():
            if self.mode.name == "acknowledged":
                return AckedProducer(members, self._settings, outcomes)
            if self.mode.name == "pub-sub":
                return PubSubProducer(wiring["producers"][index], self._settings, self._send, binds=True, subscribers=len(members))
            if self.mode.name == "proxy":
                return PubSubProducer(f"tcp://{wiring['servers'][0]}", self._settings, self._send, binds=False, subscribers=1)
            return ZeroMqProducer(members, self._settings, self._send)

    def consumer(self, wiring: Wiring, group: str, member: int) -> Consumer:
        """The socket of one member. Raises Refused where the port is taken or the group is not of this wiring."""
        entry = next((entry for entry in wiring["groups"] if entry["name"] == group), None)
        if entry is None:
            raise Refused(f"zeromq: no group {group!r} in this wiring")
        with translated():
            if self.mode.name == "acknowledged":
                return AckedConsumer(entry["members"][member], self._settings)
            if self.mode.name == "pub-sub":
                return PubSubConsumer(wiring["producers"], self._settings, self._recv)
            if self.mode.name == "proxy":
                return PubSubConsumer([f"tcp://{wiring['servers'][1]}"], self._settings, self._recv)
            return ZeroMqConsumer(entry["members"][member], self._settings, self._recv)

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """Options in force, and which of pyzmq's layers is called."""
        versions = {"libzmq": zmq.zmq_version(), "api": "zmq.backend Socket (compiled)" if self._tuned else "zmq.Socket"}
        kinds = zip(("producer", "consumer"), TYPES[self.mode.name], (PRODUCER_SETTINGS, CONSUMER_SETTINGS), strict=True)
        return {
            side: {"type": kind, **{name: self._settings[name] for name in names if name in self._settings}, **versions}
            for side, kind, names in kinds
        }

    def redelivery_s(self) -> float:
        """How long what a silent member held can lie until it is sent again; 0 where nothing is."""
        return self._settings["resend_ivl"] / 1000 if self.mode.name == "acknowledged" else 0.0


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
            for stands, address in changes(monitor):
                if not stands:
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
        check_size(block.size)
        if not self._sockets:
            raise Unreachable("zeromq: this producer is closed")
        socket = self._sockets[group]
        rows = block.views(lo, hi)  # libzmq copies within the call
        if timeout_s <= 0:
            return offer(self._send, socket, rows, repeat(NOBLOCK))
        timeout_ms = math.ceil(timeout_s * 1000)
        if timeout_ms != self._timeout_ms:
            self._timeout_ms = timeout_ms
            for each in self._sockets:
                each.set(zmq.SNDTIMEO, timeout_ms)
        return offer(self._send, socket, rows)

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


class ZeroMqConsumer(Receiver):
    """A PULL that all producers connect to."""

    def __init__(self, address: str, settings: Mapping[str, int], recv: Callable[..., bytes]) -> None:
        super().__init__(zmq.PULL, settings, recv)
        self._events += [Event("ready"), Event("assigned")]
        with self.closed_on_error():
            self._socket.bind(address)


ADAPTER = ZeroMq
