"""The fake server's adapter: as any other's, and in no public list. One connection each; answers by message."""
# ruff: noqa: ARG002  # the signatures are the contract's; this system needs not every argument

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapters.base import Batch, Block, Event, Options, Outcomes, Status, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Delivery, Mode, Persistence, Support
from adapters.errors import Unreachable, Unsupported
from adapters.options import check_profile, choose_mode, integer_settings
from bench.calibration import wire

SYSTEM: Final = "calibration"
ROOM: Final = 1 << 16  # the kernel does not say how many messages fit; send() answers
RECEIVE_B: Final = 256 << 10
WAIT_S: Final = 0.01

CAPABILITIES: Final = Capabilities(
    system="Calibration",
    client="",
    architecture="broker",
    intermediary=True,
    stores=True,
    fan_out=Support.NATIVE,
    work_sharing=Support.UNSUPPORTED,
    partitions=Support.EMULATED,
    modes=(
        Mode(
            name="told",
            delivery=Delivery.NONE,
            ordering="none",
            persistence=Persistence.MEMORY,
            copies=1,
            late_subscriber="nothing",
            slow_consumer="the server keeps what it has for it",
            source="bench/calibration/fake_server.py",
        ),
    ),
    confirms=True,
    acks=False,
    assignment=Assignment.STREAMS,
    payload_bytes_max=1 << 20,
    order_delivered=False,
)


class Calibration:
    """The fake server takes no settings from here: what it does stands in its own SPEC."""

    capabilities = CAPABILITIES

    def __init__(self, options: Options) -> None:
        check_profile(SYSTEM, options, ("defaults",))
        self.mode: Mode = choose_mode(CAPABILITIES, options)
        integer_settings(SYSTEM, options, {})

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """Raises Unsupported for a group of several members."""
        if any(group.members > 1 for group in topology.groups):
            raise Unsupported("the fake server delivers to one member a group")
        return {"run_id": run_id, "groups": [group.name for group in topology.groups]}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Nothing to make."""
        return wiring

    def cleanup(self, wiring: Wiring) -> None:
        """Nothing outlives the server."""

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> CalibrationProducer:
        """Connect at once. Raises Unreachable."""
        return CalibrationProducer(_connected(wiring, wire.PRODUCER, index), outcomes)

    def consumer(self, wiring: Wiring, group: str, member: int) -> CalibrationConsumer:
        """Connect at once. Raises Unreachable."""
        return CalibrationConsumer(_connected(wiring, wire.CONSUMER, wiring["groups"].index(group)))

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """Socket options."""
        return {"producer": {"tcp_nodelay": 1}, "consumer": {"tcp_nodelay": 1}}


def _connected(wiring: Wiring, role: int, index: int) -> socket.socket:
    host, _, port = wiring["servers"][0].rpartition(":")
    try:
        made = socket.create_connection((host, int(port)), timeout=5)
    except OSError as error:
        raise Unreachable(f"{SYSTEM}: nobody listens at {host}:{port}: {error}") from error
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.sendall(wire.HELLO.pack(role, index))
    made.setblocking(False)
    return made


class _Connection:
    """A socket, what was received and not used, what was taken and not sent, and why it is gone."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._received = bytearray()
        self._unsent = bytearray()
        self._lost = ""
        self._events = [Event("ready")]
        self._closed = False

    def _receive(self, timeout_s: float) -> None:
        """Wait for something to arrive (or to go, where something is left to send), and read it."""
        if self._lost or self._closed:
            time.sleep(timeout_s)
            return
        readable, writable, _ = select.select([self._socket], [self._socket] if self._unsent else [], [], timeout_s)
        if writable:
            self._push()
        if not readable:
            return
        try:
            data = self._socket.recv(RECEIVE_B)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        if data:
            self._received += data
        else:
            self._lose("the server has closed it")

    def _push(self) -> None:
        """Send what the kernel takes."""
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(error.strerror or str(error))

    def _lose(self, why: str) -> None:
        self._lost = why
        self._events.append(Event("closed", why))

    def events(self) -> Sequence[Event]:
        """One "ready"; "closed" when the connection is lost."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Idempotent."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.close()


class CalibrationProducer(_Connection):
    """Sends frames; takes answers, one a message."""

    def __init__(self, connected: socket.socket, outcomes: Outcomes) -> None:
        super().__init__(connected)
        self._outcomes = outcomes
        self._open = 0
        self._flushed = 0

    def ready(self, timeout_s: float) -> bool:
        """Connected since it was made."""
        return not self._lost

    def room(self) -> int:
        """None while the kernel has not taken the last send whole."""
        return 0 if self._unsent else ROOM

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:
        """Everything, unless the last send still waits for the kernel. Raises Unreachable when the connection is lost."""
        if self._unsent and timeout_s > 0:
            self._receive(timeout_s)
        if self._lost:
            raise Unreachable(f"{SYSTEM}: {self._lost}")
        self._push()
        if self._unsent:
            return 0
        for message in block.messages(lo, hi):
            self._unsent += wire.FRAME.pack(len(message), wire.MESSAGE)
            self._unsent += message
        self._open += hi - lo
        self._push()
        return hi - lo

    def pump(self, timeout_s: float) -> None:
        """Wait for answers and report them."""
        self._receive(timeout_s)
        size, received = wire.ANSWER.size, self._received
        whole = len(received) // size * size
        for sequence, status, _ in wire.ANSWER.iter_unpack(received[:whole]):
            if status == wire.FLUSHED:
                self._flushed += 1
            else:
                self._open -= 1
                self._outcomes.run(sequence, 1, Status(status))
        del received[:whole]

    def flush(self, timeout_s: float) -> int | None:
        """Ask the server to say when nothing more will be answered; what is open then stays so."""
        wanted = self._flushed + 1
        self._unsent += wire.FRAME.pack(0, wire.FLUSH)
        while self._flushed < wanted and not self._lost and timeout_s > 0:
            self.pump(WAIT_S)  # may return early: the limit is one of work, not of time
            timeout_s -= WAIT_S / 10
        return self._open


class CalibrationConsumer(_Connection):
    """Takes frames in the order in which they left."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(connected)
        self._events.append(Event("assigned"))

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """Up to ``max_messages`` payloads, with the server's word on what it delivers again."""
        batch = self._take(max_messages)
        if batch is None:
            self._receive(timeout_s)
            batch = self._take(max_messages)
        return batch

    def _take(self, max_messages: int) -> Batch | None:
        received, at = self._received, 0
        payloads: list[bytes] = []
        again: list[bool] = []
        while len(payloads) < max_messages and len(received) - at >= wire.FRAME.size:
            length, kind = wire.FRAME.unpack_from(received, at)
            if len(received) - at - wire.FRAME.size < length:
                break
            at += wire.FRAME.size
            payloads.append(bytes(received[at : at + length]))
            again.append(kind == wire.REDELIVERED)
            at += length
        if not payloads:
            return None
        del received[:at]
        return Batch(payloads=payloads, redelivered=again if any(again) else None)

    def ack(self, batch: Batch, upto: int) -> None:
        """Nothing to tell anybody."""

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """Raises Unsupported."""
        raise Unsupported("the fake server takes nothing back")

    def idle(self, seconds: float) -> None:
        """Nothing to keep alive; just the wait."""
        time.sleep(seconds)
