"""ZeroMQ's publish and subscribe: producers bind and subscribers connect, or both connect to a zmq.proxy between them.

The publisher is an XPUB, which sends as PUB does and besides is told of subscriptions: without them it could not say when
its subscribers are there, and what is published before a subscription has arrived is dropped (the "slow joiner"). Each
subscriber has a pipe of SNDHWM messages in the publisher (with a proxy: in the proxy); what does not fit is dropped without a
word, unless ``xpub_nodrop`` is set: then send() takes nothing while any pipe is full. A message that nobody has subscribed
to is dropped too. After send() returns nobody can know what became of a message.

A publisher that is killed takes what its pipes held with it, a subscriber what it had received and not handed out. libzmq
connects again by itself once the other side is back on its address, and subscribes again when the subscriber next polls; what was
published meanwhile is lost.

The proxy (zmq_proxy(3), an XSUB and an XPUB in a process of its own) stores nothing: it spares the peers each other's addresses.
While it is away libzmq keeps up to SNDHWM messages in the publisher for it, and a new proxy drops those that come before the
subscribers have found it again.

Sources: zmq_socket(3), zmq_setsockopt(3), https://zguide.zeromq.org/docs/chapter5/ (slow joiner, slow subscribers),
https://zguide.zeromq.org/docs/chapter2/ (the dynamic discovery problem).
"""

from __future__ import annotations

import contextlib
import math
import socket as plain
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

import zmq

from adapters.base import Block, Event
from adapters.errors import Unreachable
from adapters.zeromq_sockets import NOBLOCK, Receiver, changes, check_size, offer

ROOM = 1 << 16  # nothing says how full a pipe is
SUBSCRIBED = 1  # the first byte of what an XPUB receives
ANSWER_S = 2.0


def answers(address: str) -> None:
    """Raises Unreachable where nothing that speaks ZMTP listens at host:port: its greeting begins with 0xff."""
    host, _, port = address.rpartition(":")
    try:
        with plain.create_connection((host, int(port)), timeout=ANSWER_S) as connection:
            first = connection.recv(1)
    except (OSError, ValueError) as error:
        raise Unreachable(f"no zmq.proxy answers at {address}: {error}") from error
    if first != b"\xff":
        raise Unreachable(f"what answers at {address} does not speak ZMTP")


class PubSubProducer:
    """An XPUB, bound (``binds``) or connected to a proxy. Ready when ``subscribers`` subscriptions have arrived."""

    def __init__(self, address: str, settings: Mapping[str, int], send: Callable[..., Any], *, binds: bool, subscribers: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(settings["io_threads"])
        self._socket = self._context.socket(zmq.XPUB)
        self._address = address
        self._linger_ms = settings["linger"]
        self._send = send
        self._wanted = subscribers
        self._subscriptions = 0
        self._was_ready = False
        self._complete = False
        self._timeout_ms = -1  # libzmq's own: for ever; only a wait uses it
        self._events: list[Event] = []
        self._closed = False
        # A pipe to a proxy outlives the connection, and so do its subscriptions: only the monitor tells of the end.
        self._monitor = None if binds else self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            for name in ("sndhwm", "linger", "sndbuf", "xpub_nodrop"):
                self._socket.set(getattr(zmq, name.upper()), settings[name])
            self._socket.set(zmq.XPUB_VERBOSER, 1)  # each subscription and each end of one, not only the first and the last
            (self._socket.bind if binds else self._socket.connect)(address)
        except zmq.ZMQError:
            self.close()
            raise

    def ready(self, timeout_s: float) -> bool:
        """As many subscriptions stand as there are groups (a proxy: one, for it joins them)."""
        deadline_s = time.monotonic() + timeout_s
        self._watch()
        while not self._complete and not self._closed and (left_s := deadline_s - time.monotonic()) > 0:
            self._socket.poll(max(1, int(left_s * 1000)), zmq.POLLIN)
            self._watch()
        return self._complete

    def _watch(self) -> None:
        """Counts the subscriptions that have come and gone; the end of a connection first, for they come anew after it."""
        for _ in () if self._monitor is None or self._closed else changes(self._monitor):
            self._subscriptions = 0
            self._count()
        with contextlib.suppress(zmq.Again):
            while not self._closed:
                word = self._socket.recv(NOBLOCK)
                if word in (b"\x00", b"\x01"):  # to everything; a stranger's own topic gets nothing of ours
                    self._subscriptions += 1 if word[0] == SUBSCRIBED else -1
                    self._count()

    def _count(self) -> None:
        complete = self._subscriptions >= self._wanted
        if complete == self._complete:
            return
        self._complete = complete
        standing = f"{self._subscriptions} of {self._wanted} subscriptions at {self._address}"
        if not complete:
            self._events.append(Event("closed", f"{standing}; what was underway may be lost"))
        elif self._was_ready:
            self._events.append(Event("reconnected", standing))
        else:
            self._was_ready = True
            self._events.append(Event("ready"))

    def room(self) -> int:
        """A constant: libzmq does not say, and drops what does not fit."""
        return ROOM

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:
        """All rows, for all groups at once; with xpub_nodrop up to the high-water mark of the fullest pipe.

        Waits, for that, in whole milliseconds. Raises Refused for messages over the limit, Unreachable after close().
        """
        del group
        check_size(block.size)
        if self._closed:
            raise Unreachable("zeromq: this producer is closed")
        rows = block.views(lo, hi)  # libzmq copies within the call
        if timeout_s <= 0:
            return offer(self._send, self._socket, rows, repeat(NOBLOCK))
        timeout_ms = math.ceil(timeout_s * 1000)
        if timeout_ms != self._timeout_ms:
            self._timeout_ms = timeout_ms
            self._socket.set(zmq.SNDTIMEO, timeout_ms)
        return offer(self._send, self._socket, rows)

    def pump(self, timeout_s: float) -> None:
        """Just the wait: libzmq's own threads do the work, and nothing is heard of a message."""
        if timeout_s > 0:
            time.sleep(timeout_s)

    def flush(self, timeout_s: float) -> int | None:
        """None: what has left this process, or was dropped, libzmq does not say."""
        del timeout_s
        return None

    def events(self) -> Sequence[Event]:
        """One "ready" when all subscriptions stand, then "closed" and "reconnected" as they go and come back."""
        self._watch()
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Waits at most LINGER for what the pipes still hold; the rest is dropped without a word (libzmq's way)."""
        if self._closed:
            return
        self._closed = True
        self._complete = False
        if self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close(0)
        self._socket.close(self._linger_ms)
        self._context.term()


class PubSubConsumer(Receiver):
    """A SUB of everything, connected to all producers, or to the proxy."""

    def __init__(self, addresses: Sequence[str], settings: Mapping[str, int], recv: Callable[..., bytes]) -> None:
        super().__init__(zmq.SUB, settings, recv)
        self._connections = len(addresses)
        self._live = 0
        self._was_ready = False
        # Before connect(): a connection that stands before the monitor does is never announced.
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        with self.closed_on_error():
            self._socket.subscribe(b"")
            for address in addresses:
                self._socket.connect(address)

    def events(self) -> Sequence[Event]:
        """Says "ready" and "assigned" when all connections stand, then "closed" and "reconnected" by connection."""
        for stands, address in () if self._closed else changes(self._monitor):
            if not stands:
                self._live -= 1
                self._events.append(Event("closed", f"{address}: what was underway on it is lost"))
                continue
            self._live += 1
            if self._was_ready:
                self._events.append(Event("reconnected", f"{address}; what was published meanwhile is lost"))
            elif self._live == self._connections:
                self._was_ready = True
                self._events += [Event("ready"), Event("assigned")]
        return super().events()

    def close(self) -> None:
        """Loses what libzmq has received and nobody polled."""
        if not self._closed:
            self._socket.disable_monitor()
            self._monitor.close(0)
        super().close()
