"""What the adapters' own tests send and count: a block whose payloads carry their id, and a ledger of outcomes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from adapters.base import Consumer, Event, Status

ID = struct.Struct("<Q")


class TestBlock:
    """Rows of one size, row i with id first_id + i at its front."""

    __test__ = False  # pytest: not a test class

    def __init__(self, first_id: int, partitions: Sequence[int], keys: Sequence[bytes] | None = None, size: int = 100) -> None:
        self.first_id = first_id
        self.count = len(partitions)
        self.size = size
        self.sizes: Sequence[int] | None = None
        self.partitions = partitions
        self.keys = keys

    def messages(self, lo: int, hi: int) -> Sequence[bytes]:
        return [ID.pack(self.first_id + row).ljust(self.size, b"\xa5") for row in range(lo, hi)]

    def views(self, lo: int, hi: int) -> Sequence[memoryview]:
        return [memoryview(row) for row in self.messages(lo, hi)]

    def raw(self, lo: int, hi: int) -> memoryview:
        return memoryview(b"".join(self.messages(lo, hi)))


@contextlib.contextmanager
def prepared(adapter, topology, run_id, servers):
    """An adapter with its wiring, prepared on the servers, cleaned up at the end."""
    wiring = adapter.wire(topology, run_id)
    wiring["servers"] = servers
    adapter.prepare(wiring)
    try:
        yield adapter, wiring
    finally:
        adapter.cleanup(wiring)


class Ledger:
    """Outcomes by id; an id that is resolved twice is an error that the test sees."""

    def __init__(self) -> None:
        self.of: dict[int, Status] = {}
        self.twice: list[int] = []
        self._lock = threading.Lock()

    def run(self, first_id: int, count: int, status: Status, group: int = -1, step: int = 1) -> None:
        self.some(range(first_id, first_id + count * step, step), status, group)

    def some(self, ids: Sequence[int], status: Status, group: int = -1) -> None:
        with self._lock:
            for ident in ids:
                if ident in self.of:
                    self.twice.append(ident)
                self.of[ident] = status

    def id_of(self, payload: bytes) -> int:
        return id_of(payload)

    def count(self, status: Status) -> int:
        with self._lock:
            return sum(each is status for each in self.of.values())


def id_of(payload: bytes) -> int:
    return int(ID.unpack_from(payload)[0])


def send_all(producer: Any, block: TestBlock, timeout_s: float = 20.0) -> None:
    """Everything, and every confirm of it; of a client that is told nothing, all is written."""
    end = time.monotonic() + timeout_s
    sent = 0
    while sent < block.count:
        assert time.monotonic() < end, f"only {sent} of {block.count} were accepted"
        sent += producer.send(block, sent, block.count, 0.2)
        producer.pump(0.0)
    assert not producer.flush(timeout_s)


def drain(consumer: Consumer, want: int, *, ack: bool = True, timeout_s: float = 20.0) -> list[bytes]:
    """Payloads until ``want`` of them are there, acknowledged."""
    end = time.monotonic() + timeout_s
    got: list[bytes] = []
    while len(got) < want:
        assert time.monotonic() < end, f"only {len(got)} of {want} came"
        batch = consumer.poll(100, 0.2)
        if batch is not None:
            assert batch.payloads is not None
            assert batch.count == len(batch.payloads)
            got += batch.payloads
            if ack:
                consumer.ack(batch, batch.count)
    return got


def wait_event(parts: Sequence[Any], kind: str, turn: Callable[[], object], timeout_s: float = 20.0) -> Event:
    """The first event of that kind, serving the client with ``turn`` meanwhile."""
    end = time.monotonic() + timeout_s
    seen: list[Event] = []
    while time.monotonic() < end:
        turn()
        for part in parts:
            seen += part.events()
        for event in seen:
            if event.kind == kind:
                return event
    raise AssertionError(f"no {kind!r} within {timeout_s} s, only {seen}")


class Proxy:
    """A TCP proxy on 127.0.0.1: cut() resets what goes through it, refuse() also turns newcomers away, hold() carries nothing on."""

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._refusing = False
        self._open = threading.Event()
        self._open.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                near.close()
                continue
            far = socket.create_connection(self._target)
            self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._open.wait()
                sink.sendall(data)
        except OSError:
            pass
        self._end(source, sink)

    def _end(self, *ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def cut(self) -> None:
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            self._end(*pair)

    def hold(self, holding: bool) -> None:
        (self._open.clear if holding else self._open.set)()

    def refuse(self, refusing: bool) -> None:
        self._refusing = refusing

    def close(self) -> None:
        self.refuse(True)
        self.cut()
        self._listener.close()


def freeze(pid: int) -> None:
    """SIGSTOP to the process group of ``pid``, and a wait until each thread of it stands: a signal alone takes its time."""
    os.killpg(pid, signal.SIGSTOP)
    end = time.monotonic() + 10.0
    for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
        if os.getpgid(process.pid) != pid:  # Erlang's helpers have a group of their own
            continue
        while any(_state(task) != "T" for task in Path(f"/proc/{process.pid}/task").iterdir()):
            assert time.monotonic() < end, f"process {process.pid} does not stop"
            time.sleep(0.01)


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]
