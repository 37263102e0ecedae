"""The floor: rows straight over TCP sockets, no library and no broker. What it costs above this is a system's own.

One connection for each producer and each member of a group. A frame is ``u32 bytes a row, u32 rows`` (little-endian)
and the rows as they lie in the harness's buffer. Where rows differ in size, bytes a row is 0 and a u32 for each row's bytes comes
before the rows. Consumers listen, producers connect; members of a group take whole
sends in turn. What is underway lives in the two sockets' buffers and in the clients' memory: closing a consumer, or
its death, loses it.
"""
# ruff: noqa: ARG002  # the signatures are the contract's; this system needs not every argument

from __future__ import annotations

import select
import socket
import struct
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from adapters.base import Batch, Block, Event, Options, Outcomes, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import Refused, Unreachable, Unsupported
from adapters.options import check_profile, choose_mode, integer_settings
from adapters.ports import LOOPBACK, free_ports

FRAME = struct.Struct("<II")  # bytes a row, rows
FRAME_BYTES = 64 << 10  # rows go out in frames of about this size: the most that stays behind, half written, in the producer
ROWS_MOST = 1 << 12  # in a frame of rows that differ
BUFFER_BYTES = 200_000  # under Linux's limit (net.core.wmem_max, rmem_max: 212,992), where it would be cut in silence
FRAMES_A_CALL = 32  # buffers in one sendmsg() are limited (IOV_MAX 1,024)
RECEIVE_BYTES = 256 << 10
PAYLOAD_BYTES_MAX = 16 << 20
ROOM = 1 << 16  # the kernel does not say how many messages fit; send() answers
RETRY_S = 0.01  # between two attempts to connect while ready() waits
BACKLOG = 128

CAPABILITIES = Capabilities(
    system="TCP sockets",
    client="",
    architecture="broker-less",
    intermediary=False,
    stores=False,
    fan_out=Support.EMULATED,
    work_sharing=Support.NATIVE,
    partitions=Support.UNSUPPORTED,
    modes=(
        Mode(
            name="stream",
            delivery=Delivery.NONE,
            ordering="pipe",
            persistence=Persistence.CLIENT,
            copies=1,
            late_subscriber="nothing: consumers listen before producers start",
            slow_consumer="the producer blocks when the sockets' buffers are full",
            source="tcp(7)",
        ),
    ),
    confirms=False,
    acks=False,
    assignment=Assignment.STREAMS,
    payload_bytes_max=PAYLOAD_BYTES_MAX,
    send_per_group=True,
    send_blocks=True,
    consumer_listens=True,
    quotas="members take whole sends in turn; a lane is ordered where a group has one member",
)


class Tcp:
    """Settings: ``sndbuf`` and ``rcvbuf``, bytes of the socket's buffers; 0 = the kernel's own choice.

    They are fixed by default. The kernel's own choice grows connection by connection, and two equal pairs of endpoints then
    differed by up to 1.4 in rate: no floor to stand on, nor two sides to compare.
    """

    capabilities = CAPABILITIES

    def __init__(self, options: Options) -> None:
        check_profile("tcp", options, ("defaults",))
        self.mode: Mode = choose_mode(CAPABILITIES, options)
        self._settings = integer_settings("tcp", options, {"sndbuf": BUFFER_BYTES, "rcvbuf": BUFFER_BYTES})

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """A port for each member of each group."""
        ports = iter(free_ports(sum(group.members for group in topology.groups)))
        groups = [{"name": group.name, "members": [[LOOPBACK, next(ports)] for _ in range(group.members)]} for group in topology.groups]
        return {"run_id": run_id, "groups": groups}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Nothing to make: the consumers are the servers."""
        return wiring

    def cleanup(self, wiring: Wiring) -> None:
        """Nothing outlives the endpoints."""

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> TcpProducer:
        """Connects when ready() is called."""
        addresses = [[(host, port) for host, port in group["members"]] for group in wiring["groups"]]
        return TcpProducer(addresses, self._settings["sndbuf"])

    def consumer(self, wiring: Wiring, group: str, member: int) -> TcpConsumer:
        """Listens at once. Raises Refused where the port is taken."""
        for entry in wiring["groups"]:
            if entry["name"] == group:
                host, port = entry["members"][member]
                return TcpConsumer(host, port, self._settings["rcvbuf"])
        raise Refused(f"tcp: no group {group!r} in this wiring")

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """Socket options; 0 = the kernel's own choice (net.ipv4.tcp_wmem, tcp_rmem)."""
        return {
            "producer": {"tcp_nodelay": 1, "sndbuf": self._settings["sndbuf"], "frame_bytes": FRAME_BYTES},
            "consumer": {"rcvbuf": self._settings["rcvbuf"], "receive_bytes": RECEIVE_BYTES, "backlog": BACKLOG},
        }


def _ends(block: Block, lo: int, hi: int) -> list[int]:
    """After which rows the next frames end: about FRAME_BYTES each."""
    if block.sizes is None:
        a_frame = max(1, FRAME_BYTES // block.size)
        return [min(hi, first + a_frame) for first in range(lo, min(hi, lo + a_frame * FRAMES_A_CALL), a_frame)]
    ends: list[int] = []
    first, held = lo, 0
    for row in range(lo, hi):
        size = block.sizes[row]
        if row > first and (held + size > FRAME_BYTES or row - first == ROWS_MOST):
            ends.append(row)
            if len(ends) == FRAMES_A_CALL:
                return ends
            first, held = row, 0
        held += size
    return [*ends, hi]


def _front(block: Block, lo: int, hi: int) -> bytes:
    """What comes before the rows of a frame."""
    if block.sizes is None:
        return FRAME.pack(block.size, hi - lo)
    return FRAME.pack(0, hi - lo) + struct.pack(f"<{hi - lo}I", *block.sizes[lo:hi])


class Pipe:
    """A producer's connection to one member."""

    def __init__(self, address: tuple[str, int], sndbuf: int) -> None:
        self.address = address
        self.rest = memoryview(b"")  # of a frame that the kernel took in part
        self._sndbuf = sndbuf
        self._socket: socket.socket | None = None
        self.lost = ""  # why the connection is gone for good

    @property
    def open(self) -> bool:
        """Connected and not lost."""
        return self._socket is not None and not self.lost

    def fileno(self) -> int:
        """For select()."""
        assert self._socket is not None
        return self._socket.fileno()

    def connect(self) -> bool:
        """One attempt. False where nobody listens yet."""
        attempt = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if self._sndbuf:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._sndbuf)
        attempt.settimeout(1.0)
        try:
            attempt.connect(self.address)
        except OSError:
            attempt.close()
            return False
        attempt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        attempt.setblocking(False)
        self._socket = attempt
        return True

    def push(self) -> bool:
        """Goes on with a half written frame; True when nothing of it is left."""
        while self.rest:
            written = self._write([self.rest])
            if not written:
                return False
            self.rest = self.rest[written:]
        return True

    def send(self, block: Block, lo: int, hi: int) -> int:
        """Rows taken: whole frames, of which the last may go on in push()."""
        start = lo
        while lo < hi and not self.rest and not self.lost:
            ends = _ends(block, lo, hi)
            parts: list[bytes | memoryview] = []
            first = lo
            for end in ends:
                parts += (_front(block, first, end), block.raw(first, end))
                first = end
            written = self._write(parts)
            for at, end in enumerate(ends):
                if written <= 0:
                    return lo - start
                frame = parts[2 * at : 2 * at + 2]
                length = len(frame[0]) + len(frame[1])
                if written < length:  # a copy: the block is the harness's again once we return
                    self.rest = memoryview(b"".join(frame))[written:]
                written -= length
                lo = end
        return lo - start

    def _write(self, parts: Sequence[bytes | memoryview]) -> int:
        assert self._socket is not None
        try:
            return self._socket.sendmsg(parts)
        except BlockingIOError:
            return 0
        except OSError as error:
            self.lost = error.strerror or str(error)
            return 0

    def close(self) -> None:
        """What the kernel took is still sent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class TcpProducer:
    """A pipe to each member of each group; within a group, whole sends go round."""

    def __init__(self, addresses: Sequence[Sequence[tuple[str, int]]], sndbuf: int) -> None:
        self._groups = [[Pipe(address, sndbuf) for address in group] for group in addresses]
        self._next = [0] * len(self._groups)
        self._pipes = [pipe for group in self._groups for pipe in group]
        self._told: set[Pipe] = set()
        self._events: list[Event] = []
        self._was_ready = False
        self._closed = False

    def ready(self, timeout_s: float) -> bool:
        """Connects what is not connected, until all are or the time is up."""
        deadline_s = time.monotonic() + timeout_s
        while not self._closed:
            if all(pipe.open or pipe.connect() for pipe in self._pipes if not pipe.lost):
                if not self._was_ready:
                    self._was_ready = True
                    self._events.append(Event("ready"))
                return not any(pipe.lost for pipe in self._pipes)
            if time.monotonic() + RETRY_S >= deadline_s:
                return False
            time.sleep(RETRY_S)
        return False

    def room(self) -> int:
        """A constant: the kernel does not say."""
        return ROOM

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:
        """The next member's socket takes what it can; one that is full is passed over.

        Raises Refused for messages over the limit, Unreachable where no connection of the group is left.
        """
        if block.size > PAYLOAD_BYTES_MAX:
            raise Refused(f"tcp: {block.size} bytes is over the limit of {PAYLOAD_BYTES_MAX} bytes a message")
        accepted = self._offer(block, lo, hi, group)
        if lo + accepted < hi and timeout_s > 0:
            select.select([], [pipe for pipe in self._groups[group] if pipe.open], [], timeout_s)
            accepted += self._offer(block, lo + accepted, hi, group)
        return accepted

    def _offer(self, block: Block, lo: int, hi: int, group: int) -> int:
        pipes = self._groups[group]
        if not any(pipe.open for pipe in pipes):
            why = next((pipe.lost for pipe in pipes if pipe.lost), "not connected: call ready() first")
            raise Unreachable(f"tcp: no member of group {group} is connected ({why})")
        accepted = 0
        for _ in pipes:
            pipe = pipes[self._next[group]]
            if pipe.open and pipe.push():
                accepted += pipe.send(block, lo + accepted, hi)
            if lo + accepted == hi or not pipe.open or pipe.rest:
                self._next[group] = (self._next[group] + 1) % len(pipes)
            if lo + accepted == hi:
                break
        return accepted

    def pump(self, timeout_s: float) -> None:
        """Goes on with half written frames; else just the wait."""
        waiting = [pipe for pipe in self._pipes if pipe.open and not pipe.push() and pipe.open]
        if waiting:
            select.select([], waiting, [], timeout_s)
            for pipe in waiting:
                pipe.push()
        elif timeout_s > 0:
            time.sleep(timeout_s)

    def flush(self, timeout_s: float) -> int | None:
        """Writes out half written frames. None: what the other side has got, nobody tells."""
        deadline_s = time.monotonic() + timeout_s
        while any(pipe.open and pipe.rest for pipe in self._pipes) and (left_s := deadline_s - time.monotonic()) > 0:
            self.pump(min(left_s, 0.05))
        return None

    def events(self) -> Sequence[Event]:
        """One "ready"; "closed" for each connection that was lost."""
        for pipe in self._pipes:
            if pipe.lost and pipe not in self._told:
                self._told.add(pipe)
                host, port = pipe.address
                self._events.append(Event("closed", f"{host}:{port}: {pipe.lost}; what was underway is lost"))
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """What the kernel took is still sent; half written frames are not finished (flush() does that)."""
        self._closed = True
        for pipe in self._pipes:
            pipe.close()


class Inlet:
    """A consumer's side of one connection: bytes in, whole rows out."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))
        self._start = 0  # first byte that was not handed out
        self._end = 0  # after the last that was received
        self.size = 0  # of a row in the frame that is being read; 0: as self._ends says
        self._left = 0  # rows of it that were not handed out
        self._ends: list[int] = []  # where its rows end, from its first row on
        self._passed = 0  # bytes of it that were handed out
        self.ended = False
        self.broken = ""

    def fileno(self) -> int:
        """For select()."""
        return self._socket.fileno()

    def receive(self) -> None:
        """One read, as much as there is and fits."""
        self._make_space()
        try:
            count = self._socket.recv_into(self._buffer[self._end :])
        except BlockingIOError:
            return
        except OSError as error:
            self.ended, self.broken = True, error.strerror or str(error)
            return
        if count == 0:
            self.ended = True
            if self._left or self._end > self._start:
                self.broken = "the producer left in the middle of a frame"
        self._end += count

    def rows(self) -> int:
        """Whole rows that have arrived of the present frame; 0 = more must be received."""
        if not self._left:
            self._begin()
        if not self._left:
            return 0
        if self.size:
            return min(self._left, (self._end - self._start) // self.size)
        return bisect_right(self._ends, self._passed + self._end - self._start) - (len(self._ends) - self._left)

    def _begin(self) -> None:
        """Reads what stands before a frame's rows, once it is whole."""
        if self._end - self._start < self._front_bytes():
            return
        size, rows = FRAME.unpack_from(self._buffer, self._start)
        sizes = struct.unpack_from(f"<{rows}I", self._buffer, self._start + FRAME.size) if not size and rows <= ROWS_MOST else (size,)
        self._start += FRAME.size
        if not rows or not 0 < min(sizes) <= max(sizes) <= PAYLOAD_BYTES_MAX:
            self.ended, self.broken = True, f"no frame of ours: {rows} rows of {size} bytes"
            return
        self.size, self._left = size, rows
        if not size:
            self._start += 4 * rows
            self._ends, self._passed = list(accumulate(sizes)), 0

    def _front_bytes(self) -> int:
        """How many bytes stand before the rows of the next frame, as far as one can tell."""
        if self._end - self._start < FRAME.size:
            return FRAME.size
        size, rows = FRAME.unpack_from(self._buffer, self._start)
        return FRAME.size if size or rows > ROWS_MOST else FRAME.size + 4 * int(rows)

    def take(self, count: int) -> tuple[memoryview, list[int]]:
        """Hands out rows, and the bytes of each where they differ; the bytes are not written again."""
        sizes: list[int] = []
        length = count * self.size
        if not self.size:
            first = len(self._ends) - self._left
            ends = self._ends[first : first + count]
            sizes = [end - begin for begin, end in zip([self._passed, *ends], ends, strict=False)]
            length = ends[-1] - self._passed
            self._passed += length
        view = self._buffer[self._start : self._start + length]
        self._start += length
        self._left -= count
        return view, sizes

    def _make_space(self) -> None:
        """A new buffer when the next row might not fit: what was handed out from the old one stays as it is."""
        needed = self._front_bytes()
        if self._left:
            needed = max(FRAME.size, self.size or self._ends[-self._left] - self._passed)
        if len(self._buffer) - self._start >= needed and len(self._buffer) > self._end:
            return
        rest = self._buffer[self._start : self._end]
        self._buffer = memoryview(bytearray(max(RECEIVE_BYTES, needed)))
        self._buffer[: len(rest)] = rest
        self._start, self._end = 0, len(rest)

    def close(self) -> None:
        """Drops what was not handed out."""
        self._socket.close()


class TcpConsumer:
    """A listener and a connection from each producer."""

    def __init__(self, host: str, port: int, rcvbuf: int) -> None:
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a finished run's connections do not hold the port
        if rcvbuf:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        try:
            self._listener.bind((host, port))
            self._listener.listen(BACKLOG)
        except OSError as error:
            self._listener.close()
            raise Refused(f"tcp: cannot listen on {host}:{port}: {error.strerror}") from error
        self._listener.setblocking(False)
        self._inlets: list[Inlet] = []
        self._events = [Event("ready"), Event("assigned")]
        self._closed = False

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """Rows of one size from one producer in one buffer; producers in turn."""
        batch = self._take(max_messages)
        if batch is None and not self._closed:
            self._receive(timeout_s)
            batch = self._take(max_messages)
        return batch

    def _receive(self, timeout_s: float) -> None:
        sources: list[socket.socket | Inlet] = [self._listener, *self._inlets]
        readable, _, _ = select.select(sources, [], [], timeout_s)
        for source in readable:
            if isinstance(source, Inlet):
                source.receive()
                continue
            try:
                connection, _ = self._listener.accept()
            except OSError:  # the producer has gone again; nothing was sent
                continue
            inlet = Inlet(connection)
            inlet.receive()
            self._inlets.append(inlet)

    def _take(self, max_messages: int) -> Batch | None:
        for inlet in list(self._inlets):
            batch = self._rows_of(inlet, max_messages)
            if batch is not None:
                self._inlets.remove(inlet)  # to the end of the queue: each producer in turn
                self._inlets.append(inlet)
                return batch
            if inlet.ended:
                self._inlets.remove(inlet)
                inlet.close()
                if inlet.broken:
                    self._events.append(Event("closed", inlet.broken))
        return None

    @staticmethod
    def _rows_of(inlet: Inlet, max_messages: int) -> Batch | None:
        """Up to ``max_messages`` rows; several small frames of one size are joined (or of differing ones), a single one is not copied."""
        count, size = 0, 0
        views: list[memoryview] = []
        sizes: list[int] = []
        while count < max_messages and (ready := inlet.rows()):
            if views and inlet.size != size:
                break
            size = inlet.size
            ready = min(ready, max_messages - count)
            view, differing = inlet.take(ready)
            views.append(view)
            sizes += differing
            count += ready
        if not views:
            return None
        buffer = views[0] if len(views) == 1 else memoryview(b"".join(views))
        return Batch(buffer=buffer.toreadonly(), size=size, sizes=sizes or None, count=count)

    def ack(self, batch: Batch, upto: int) -> None:
        """Nothing to tell anybody."""

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """Raises Unsupported."""
        raise Unsupported("a TCP stream knows no messages, so none can be given back")

    def idle(self, seconds: float) -> None:
        """Nothing to keep alive; just the wait."""
        time.sleep(seconds)

    def events(self) -> Sequence[Event]:
        """One "ready", one "assigned"; "closed" for a producer that left in the middle of a frame."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Loses what was received and not polled, and what is on its way."""
        self._closed = True
        self._listener.close()
        for inlet in self._inlets:
            inlet.close()
        self._inlets.clear()


ADAPTER = Tcp
