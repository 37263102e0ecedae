"""Redis Pub/Sub without a client library, for the profile `tuned` of adapters/redis_pubsub.py, and what both profiles share.

RESP2 (https://redis.io/docs/latest/develop/reference/protocol-spec/) on a plain socket: blocks of PUBLISH are joined
from the payloads in one step, replies and messages are parsed a block at a time. It shows what the server can do where
redis-py is the limit, so it is another client, and its figures are labelled so.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adapters.base import Batch, Block, Event, Outcomes, Status, Wiring
from adapters.errors import Refused, Unsupported

PAYLOAD_BYTES_MAX = 512 * 1024 * 1024  # the server's proto-max-bulk-len, as it comes
RECONNECT_S = 0.1  # pumped or polled time between two attempts to reconnect


class Lost(Exception):
    """The connection is gone; the text says how it was noticed. Becomes Unreachable at the adapter's boundary."""


def command(*words: bytes) -> bytes:
    """One command in RESP."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def check_size(size_b: int, system: str = "redis_pubsub") -> None:
    """Raises Refused for payloads that the server would answer by closing the connection."""
    if size_b > PAYLOAD_BYTES_MAX:
        raise Refused(f"{system}: {size_b} bytes is over the limit of {PAYLOAD_BYTES_MAX} bytes a message")


class Subscriber:
    """What a consumer of a system without acknowledgements has in common."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._closed = False

    def ack(self, batch: Batch, upto: int) -> None:
        """Nothing: Pub/Sub has no acknowledgement."""

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """Raises Unsupported."""
        raise Unsupported(f"Redis Pub/Sub has no acknowledgements: message {index} of {batch.count} cannot be settled ({how})")

    def idle(self, seconds: float) -> None:
        """A plain wait: a subscriber has no lease; the server's output buffer holds what comes."""
        time.sleep(seconds)

    def events(self) -> Sequence[Event]:
        """ready, closed, reconnected."""
        found, self._events = self._events, []
        return found


class Receivers:
    """Turns PUBLISH's replies into outcomes, by runs of equal status, and keeps the shortfall for an event."""

    def __init__(self, groups: int, outcomes: Outcomes) -> None:
        self._groups = groups
        self._outcomes = outcomes
        self._short: dict[int, int] = {}  # receivers -> messages
        self._refused: dict[str, int] = {}  # the server's words -> messages

    def _status(self, reply: Any) -> Status:
        if not isinstance(reply, int):  # an error instead of a number: not published
            self._refused[str(reply)] = self._refused.get(str(reply), 0) + 1
            return Status.FAILED
        if reply >= self._groups:
            return Status.CONFIRMED
        self._short[reply] = self._short.get(reply, 0) + 1
        return Status.INDETERMINATE if reply else Status.FAILED

    def report(self, first_id: int, replies: Sequence[Any]) -> None:
        """Outcomes of messages first_id, first_id + 1, ... from their replies (a number, or an error)."""
        if replies.count(self._groups) == len(replies):  # all that is seen in a run without trouble
            self._outcomes.run(first_id, len(replies), Status.CONFIRMED)
            return
        start, current = 0, self._status(replies[0])
        for at in range(1, len(replies)):
            status = self._status(replies[at])
            if status is not current:
                self._outcomes.run(first_id + start, at - start, current)
                start, current = at, status
        self._outcomes.run(first_id + start, len(replies) - start, current)

    def events(self) -> list[Event]:
        """What fell short since the last call, summed up."""
        found = [Event("error", f"{n} messages reached {got} of {self._groups} subscribers") for got, n in sorted(self._short.items())]
        found += [Event("error", f"{n} messages refused: {text}") for text, n in self._refused.items()]
        self._short, self._refused = {}, {}
        return found


class RawProducer:
    """PUBLISH in RESP blocks on a non-blocking socket: up to ``window`` messages without a reply."""

    def __init__(self, connect: Callable[[], socket.socket], wiring: Wiring, outcomes: Outcomes, window: int) -> None:
        self._connect = connect
        self._outcomes = outcomes
        self._window = window
        self._receivers = Receivers(len(wiring["groups"]), outcomes)
        channel = wiring["channel"].encode()
        self._head = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n" % (len(channel), channel)
        self._pending: deque[tuple[int, int]] = deque()  # (first id, count) in the order of sending
        self._outstanding = 0
        self._unsent = b""
        self._tail = b""  # of a reply that has come in part
        self._events = [Event("ready")]
        self._waited_s = 0.0
        self._closed = False
        self._sock: socket.socket | None = connect()
        self._sock.setblocking(False)

    def ready(self, timeout_s: float) -> bool:
        """True while the connection stands (it was made, and logged in, when the producer was)."""
        del timeout_s
        return self._sock is not None

    def room(self) -> int:
        """The window, less what is outstanding; nothing while the server is away."""
        return self._window - self._outstanding if self._sock is not None else 0

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:
        """Writes what the window takes as one block; what the socket does not take now goes out in pump()."""
        del group
        check_size(block.size)
        if self.room() <= 0 and timeout_s > 0:
            self.pump(timeout_s)
        count = min(hi - lo, self.room())
        if count <= 0:
            return 0
        self._pending.append((block.first_id + lo, count))
        self._outstanding += count
        messages = block.messages(lo, lo + count)
        if block.sizes is None:  # one join lays head and tail around each payload: no Python step a message
            head = self._head + b"$%d\r\n" % block.size
            self._unsent += head + (b"\r\n" + head).join(messages) + b"\r\n"
        else:
            self._unsent += b"".join(part for row in messages for part in (self._head, b"$%d\r\n" % len(row), row, b"\r\n"))
        self._write()
        return count

    def _write(self) -> None:
        try:
            while self._unsent and self._sock is not None:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)

    def _read(self) -> None:
        try:
            data = self._sock.recv(65536) if self._sock is not None else b"-"
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        if not data:
            self._lose(ConnectionResetError("the server closed the connection"))
            return
        *lines, self._tail = (self._tail + data).split(b"\r\n")
        replies = [int(line[1:]) if line.startswith(b":") else line.decode(errors="replace") for line in lines]
        at = 0
        while at < len(replies):
            first, count = self._pending.popleft()
            taken = min(count, len(replies) - at)
            if taken < count:
                self._pending.appendleft((first + taken, count - taken))
            self._receivers.report(first, replies[at : at + taken])
            at += taken
        self._outstanding -= len(replies)

    def _lose(self, error: OSError) -> None:
        """Nobody can know what became of messages without a reply."""
        self._events.append(Event("closed", str(error)))
        if self._sock is not None:
            self._sock.close()
        self._sock, self._unsent, self._tail = None, b"", b""
        pending, self._pending, self._outstanding = self._pending, deque(), 0
        for first, count in pending:
            self._outcomes.run(first, count, Status.INDETERMINATE)

    def pump(self, timeout_s: float) -> None:
        """Waits for replies or for room in the socket, at most timeout_s; reconnects where the connection is gone."""
        if self._closed:
            return
        if self._sock is None:
            self._reconnect(timeout_s)
            return
        readable, writable, _ = select.select([self._sock], [self._sock] if self._unsent else [], [], timeout_s)
        if writable:
            self._write()
        if readable:
            self._read()

    def _reconnect(self, timeout_s: float) -> None:
        self._waited_s += timeout_s
        if self._waited_s >= RECONNECT_S:
            self._waited_s = 0.0
            try:
                sock = self._connect()
            except (OSError, Refused):
                self._sock = None  # reported when it was lost; tried again later
            else:
                sock.setblocking(False)
                self._sock = sock
                self._events.append(Event("reconnected", "a new connection; what had no reply is indeterminate"))
                return
        if timeout_s > 0:
            time.sleep(timeout_s)

    def flush(self, timeout_s: float) -> int | None:
        """Pumps until all has its reply, in steps that sum up to timeout_s; the number that has none."""
        step_s = 0.01
        while self._outstanding and timeout_s > 0:
            self.pump(min(step_s, timeout_s))
            timeout_s -= step_s
        return self._outstanding

    def events(self) -> Sequence[Event]:
        """Connections lost and made again, messages that reached fewer subscribers than there are groups."""
        found, self._events = self._events, []
        return found + self._receivers.events()

    def close(self) -> None:
        """Closes the socket."""
        self._closed = True
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def _reader() -> Any:
    import hiredis  # noqa: PLC0415  # `defaults` does without it

    return hiredis.Reader()


class RawConsumer(Subscriber):
    """A subscription on a plain socket, parsed by hiredis.Reader in blocks of ``socket_read_size``."""

    def __init__(self, connect: Callable[[], socket.socket], channel: str, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self._connect = connect
        self._channel = channel.encode()
        self._buffer = bytearray(settings["socket_read_size"])
        self._timeout_s = settings["socket_timeout"]
        self._waited_s = 0.0
        self._reader = _reader()
        self._sock: socket.socket | None = self._subscribe()
        self._events.append(Event("ready", f"subscribed to {channel}"))

    def _subscribe(self) -> socket.socket:
        """A new connection whose subscription is confirmed. Raises OSError, Lost, Refused."""
        sock = self._connect()
        try:
            self._confirm(sock)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        return sock

    def _confirm(self, sock: socket.socket) -> None:
        self._reader = _reader()  # the old one may hold half a message of the old connection
        sock.sendall(command(b"SUBSCRIBE", self._channel))
        while (reply := self._reader.gets()) is False:
            data = sock.recv(4096)
            if not data:
                raise Lost("the server closed the connection")
            self._reader.feed(data)
        if isinstance(reply, Exception):
            raise Refused(f"Redis refused SUBSCRIBE: {reply}")

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """What has arrived, at most max_messages; waits for the first message only."""
        if self._closed or (self._sock is None and not self._reconnect(timeout_s)):
            return None
        sock = self._sock
        assert sock is not None
        payloads: list[bytes] = []
        waited = False
        gets = self._reader.gets
        while len(payloads) < max_messages:
            reply = gets()
            if reply is not False:
                payloads.append(reply[2])  # ["message", channel, payload]
                continue
            received = self._receive()
            if received:
                continue
            if received is None or payloads or waited:
                break
            waited = True
            select.select([sock], [], [], timeout_s)
        return Batch(payloads=payloads, count=len(payloads)) if payloads else None

    def _receive(self) -> int | None:
        """Feeds the reader with what the socket holds; the bytes, 0 where there are none now, None where it is lost."""
        assert self._sock is not None
        try:
            received = self._sock.recv_into(self._buffer)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._lose(str(error))
            return None
        if not received:
            self._lose("the server closed the connection")
            return None
        self._reader.feed(self._buffer, 0, received)
        return received

    def _lose(self, why: str) -> None:
        if self._sock is not None:
            self._sock.close()
        self._sock = None
        self._events.append(Event("closed", why))

    def _reconnect(self, timeout_s: float) -> bool:
        self._waited_s += timeout_s
        if self._waited_s >= RECONNECT_S:
            self._waited_s = 0.0
            try:
                self._sock = self._subscribe()
            except (OSError, Lost, Refused):
                self._sock = None  # reported when it was lost; tried again later
            else:
                self._events.append(Event("reconnected", "subscribed again; what was published meanwhile is lost"))
                return True
        if timeout_s > 0:
            time.sleep(timeout_s)
        return False

    def close(self) -> None:
        """Closes the socket, which ends the subscription."""
        self._closed = True
        if self._sock is not None:
            self._sock.close()
            self._sock = None
