"""What ZeroMQ's modes share: sending and receiving without blocking, the receiving side, libzmq's errors as ours."""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from operator import length_hint
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from adapters.base import Batch, Event
from adapters.errors import AdapterError, BadSetting, Refused, Unreachable, Unsupported

PAYLOAD_BYTES_MAX = 64 << 20  # ours: libzmq has no limit but memory
NOBLOCK = int(zmq.NOBLOCK)  # as a plain int: the enum costs a conversion a message

ERRORS: Mapping[int, type[AdapterError]] = {
    zmq.EADDRINUSE: Refused,
    zmq.EADDRNOTAVAIL: Refused,
    errno.EACCES: Refused,
    zmq.EINVAL: BadSetting,
}


def check_size(size_b: int) -> None:
    """Raises Refused for messages over the limit."""
    if size_b > PAYLOAD_BYTES_MAX:
        raise Refused(f"zeromq: {size_b} bytes is over the suite's limit of {PAYLOAD_BYTES_MAX} bytes a message")


def methods(*, tuned: bool) -> tuple[Callable[..., Any], Callable[..., bytes]]:
    """Return send and recv of pyzmq's Socket, or (``tuned``) of its compiled one. Raises BadSetting where there is none (PyPy)."""
    if not tuned:
        return zmq.Socket.send, zmq.Socket.recv
    try:
        from zmq.backend.cython._zmq import Socket  # noqa: PLC0415  # only `tuned` needs it
    except ImportError as missing:
        raise BadSetting("zeromq: profile 'tuned' needs pyzmq's Cython backend, which this pyzmq does not have") from missing
    return Socket.send, Socket.recv


def offer(send: Callable[..., Any], socket: zmq.Socket[bytes], rows: Sequence[bytes | memoryview], *flags: Iterator[int]) -> int:
    """Sends until libzmq takes no more. The loop runs in C; how far it got is what is left in the rows' iterator."""
    left = iter(rows)
    try:
        deque(map(send, repeat(socket), left, *flags), maxlen=0)
    except zmq.Again:
        return len(rows) - length_hint(left) - 1  # one was taken from the iterator and refused
    except zmq.ZMQError as error:
        raise Unreachable(f"zeromq: {error}") from error
    return len(rows)


def changes(monitor: zmq.Socket[bytes]) -> Iterator[tuple[bool, str]]:
    """What a socket's monitor has to tell of its connections (handshakes and ends): whether one stands now, and its address."""
    while int(monitor.get(zmq.EVENTS)) & zmq.POLLIN:
        message = recv_monitor_message(monitor)
        yield message["event"] != zmq.EVENT_DISCONNECTED, message["endpoint"].decode()


class Receiver:
    """A socket that only receives: nothing is acknowledged."""

    def __init__(self, kind: int, settings: Mapping[str, int], recv: Callable[..., bytes]) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(settings["io_threads"])
        self._socket = self._context.socket(kind)
        self._recv = recv
        self._events: list[Event] = []
        self._closed = False
        with self.closed_on_error():
            self._socket.set(zmq.LINGER, 0)  # it has nothing to send
            self._socket.set(zmq.RCVHWM, settings["rcvhwm"])
            self._socket.set(zmq.RCVBUF, settings["rcvbuf"])

    @contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Around what may be refused while the socket is opened."""
        try:
            yield
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
        raise Unsupported(f"nothing is acknowledged, so message {index} of {batch.count} cannot be given back ({how})")

    def idle(self, seconds: float) -> None:
        """Nothing to keep alive; just the wait."""
        time.sleep(seconds)

    def events(self) -> Sequence[Event]:
        """What happened to the socket since the last call."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Loses what libzmq has received and nobody polled."""
        self._closed = True
        self._socket.close(0)
        self._context.term()


@contextmanager
def translated() -> Iterator[None]:
    """Turns libzmq's errors while sockets are opened into the suite's own."""
    try:
        yield
    except zmq.ZMQError as error:
        raise ERRORS.get(error.errno or 0, Unreachable)(f"zeromq: {error}") from error
