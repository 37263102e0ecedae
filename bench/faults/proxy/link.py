"""A link of the proxy: a port that it listens on, what it connects to, the connections between, and the toxics on them."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
from random import Random
from typing import Any

from bench.clock import now_ns
from bench.faults.proxy.flow import CHUNK_B, Flow
from bench.faults.proxy.loop import Loop
from bench.faults.proxy.toxics import Toxic

BUFFER_B = 256 << 10  # of each socket: fixed, so that a link holds the same each time (the kernel's own choice grows)
BACKLOG = 1024
_LINGER_RESET = struct.pack("ii", 1, 0)  # close() then sends RST: socket(7), SO_LINGER
_buffer = memoryview(bytearray(CHUNK_B))  # what was read, until it is sent or kept: one thread, one buffer


class Half:
    """One direction of a connection: reads one socket and writes the other."""

    def __init__(self, source: socket.socket, sink: socket.socket, flow: Flow) -> None:
        self.source, self.sink, self.flow = source, sink, flow
        self.blocked = False  # the sink takes no more for now
        self.done = False  # the end has been passed on
        self.bytes = 0

    @property
    def straight(self) -> bool:
        """Whether what is read goes straight on."""
        return self.flow.idle and not self.blocked

    def read(self) -> None:
        """Take what is there, and pass on what may go. Raises OSError where either side has gone."""
        flow = self.flow
        room = flow.room()
        if not room:
            return
        try:
            count = self.source.recv_into(_buffer, min(room, CHUNK_B))
        except BlockingIOError:
            return
        if not count:
            flow.end(now_ns())
        elif self.straight:
            sent = 0
            with contextlib.suppress(BlockingIOError):
                sent = self.sink.send(_buffer[:count])
            self.bytes += sent
            if sent == count:
                return
            flow.put(bytes(_buffer[sent:count]), 0)
            self.blocked = True
        else:
            flow.put(bytes(_buffer[:count]), now_ns())
        self.write()

    def write(self) -> None:
        """Pass on what is due. Raises OSError where the sink has gone."""
        now = now_ns()
        while not self.blocked and (piece := self.flow.due(now)) is not None:
            if not piece:
                self.sink.shutdown(socket.SHUT_WR)
                self.flow.sent(0)
                self.done = True
                return
            try:
                sent = self.sink.send(piece)
            except BlockingIOError:
                sent = 0
            self.flow.sent(sent)
            self.bytes += sent
            self.blocked = sent < len(piece)


class Connection:
    """A client's connection and ours to the server for it."""

    def __init__(self, link: Link, client: socket.socket, number: int) -> None:
        self._link = link
        self._loop = link.loop
        self.client, self.server = client, socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        for sock in (client, self.server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_B)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_B)
        flows = [Flow(Random(f"{link.seed}/{link.name}/{number}/{direction}")) for direction in ("up", "down")]
        self.up, self.down = Half(client, self.server, flows[0]), Half(self.server, client, flows[1])
        self.up.blocked = True  # until the server has answered
        self._timer_ns: int | None = None  # when it is next looked at without an event
        self._plain = False  # bytes go straight through, both ways: nothing to settle after each event
        self._closed = False

    def connect(self) -> None:
        """Begin to connect; an answer comes as an event. A server that is not there resets the client, as far as a proxy can."""
        answer = self.server.connect_ex(self._link.upstream)
        if answer not in (0, errno.EINPROGRESS):
            self.close(reset=True)
        else:
            self.settle()

    def add(self, toxic: Toxic, now: int) -> None:
        """One more toxic."""
        for half, direction in ((self.up, "up"), (self.down, "down")):
            if toxic.acts(direction):
                half.flow.add(toxic, now)

    def clear(self, now: int) -> None:
        """No toxic any more."""
        for half in (self.up, self.down):
            half.flow.clear(now)

    def on_client(self, events: int) -> None:
        """Events of the client's socket."""
        self._on(events, self.up, self.down)

    def on_server(self, events: int) -> None:
        """Events of the server's socket."""
        self._on(events, self.down, self.up)

    def _on(self, events: int, reading: Half, writing: Half) -> None:
        if self._closed:
            return  # by an event before this one, of the same turn
        failed = events & (select.EPOLLHUP | select.EPOLLERR)
        try:
            if (writing.blocked and events & select.EPOLLOUT) or failed:
                error = writing.sink.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, "refused or reset")  # noqa: TRY301  # the same as recv would raise
                writing.blocked = False
                writing.write()
            if events & select.EPOLLIN or failed:
                reading.read()
        except OSError:
            self.close(reset=True)
            return
        if not (self._plain and self.up.straight and self.down.straight):
            self.settle()

    def look(self) -> None:
        """Do what is due by the clock."""
        self._timer_ns = None
        if self._closed:
            return
        try:
            self.up.write()
            self.down.write()
        except OSError:
            self.close(reset=True)
            return
        self.settle()

    def settle(self) -> None:
        """Close it where it is over; else ask for the events and the time that matter now."""
        now = now_ns()
        for half in (self.up, self.down):
            how = half.flow.cut(now)
            if how is not None:
                self.close(reset=how == "reset")
                return
        if self.up.done and self.down.done:
            self.close()
            return
        for sock, reading, writing, told in (
            (self.client, self.up, self.down, self.on_client),
            (self.server, self.down, self.up, self.on_server),
        ):
            mask = (select.EPOLLIN if reading.flow.room() else 0) | (select.EPOLLOUT if writing.blocked else 0)
            self._loop.want(sock, mask, told)
        times = [at_ns for half in (self.up, self.down) if (at_ns := half.flow.next_ns(blocked=half.blocked)) is not None]
        if times and (self._timer_ns is None or min(times) < self._timer_ns):
            self._timer_ns = min(times)
            self._loop.at(self._timer_ns, self.look)
        self._plain = self.up.straight and self.down.straight

    def close(self, *, reset: bool = False) -> None:
        """Close both sides; ``reset``: by RST, what is on the way is lost."""
        if self._closed:
            return
        self._closed = True
        for sock in (self.client, self.server):
            self._loop.forget(sock)
            if reset:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            sock.close()
        self._link.gone(self)


class Link:
    """A proxied address. Raises OSError where its port (0: any) cannot be had. ``seed``: of what toxics draw by chance."""

    def __init__(self, loop: Loop, name: str, *, port: int, upstream: tuple[str, int], seed: int) -> None:
        self.loop, self.name, self.upstream, self.seed = loop, name, upstream, seed
        self._toxics: list[Toxic] = []
        self._connections: set[Connection] = set()
        self._numbers = 0
        self._bytes = {"up": 0, "down": 0}
        self._listener = self._listen(port)
        self.port = int(self._listener.getsockname()[1])

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_B)  # before listen(): connections inherit it
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
            raise
        listener.listen(BACKLOG)
        listener.setblocking(False)
        self.loop.want(listener, select.EPOLLIN, self._on_listener)
        return listener

    def _on_listener(self, events: int) -> None:
        del events  # there is but one
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # none any more, or it has gone again
                return
            connection = Connection(self, client, self._numbers)
            self._numbers += 1
            self._connections.add(connection)
            now = now_ns()
            for toxic in self._toxics:
                connection.add(toxic, now)
            connection.connect()

    def add(self, toxic: Toxic) -> None:
        """One more toxic, on connections that stand and on those that come."""
        self._toxics.append(toxic)
        if toxic.kind == "down":
            self._unlisten()
            for connection in list(self._connections):
                connection.close()
            return
        now = now_ns()
        for connection in list(self._connections):
            connection.add(toxic, now)
            connection.settle()

    def clear(self) -> None:
        """No toxic any more. Raises OSError where a link that was down cannot listen again."""
        down, self._toxics = any(toxic.kind == "down" for toxic in self._toxics), []
        if down:
            self._listener = self._listen(self.port)
        now = now_ns()
        for connection in list(self._connections):
            connection.clear(now)
            connection.look()

    def stats(self) -> dict[str, Any]:
        """Connections so far and now, bytes each way, bytes held, toxics by kind."""
        passed = {way: self._bytes[way] + sum(getattr(each, way).bytes for each in self._connections) for way in ("up", "down")}
        held = sum(half.flow.held_b for each in self._connections for half in (each.up, each.down))
        return {
            "connections": self._numbers, "open": len(self._connections), "up_b": passed["up"], "down_b": passed["down"], "held_b": held,
            "toxics": [toxic.kind for toxic in self._toxics],
        }  # fmt: skip

    def gone(self, connection: Connection) -> None:
        """A connection has been closed."""
        self._connections.discard(connection)
        self._bytes["up"] += connection.up.bytes
        self._bytes["down"] += connection.down.bytes

    def _unlisten(self) -> None:
        if self._listener.fileno() >= 0:
            self.loop.forget(self._listener)
            self._listener.close()
