"""A server that does what it is told to, and logs it: ``python -m bench.calibration.fake_server SPEC.json``.

SPEC: ``folder`` (for its log and the file "port"), ``groups`` (how many), ``trials`` (Behaviour by trial number); where wanted, ``always``
(that of all other trials) and ``survives`` (whether its log outlives a SIGKILL). It answers producers, and delivers each message to each
group after a delay, whole, twice, late, damaged or not at all. One loop of select() (whose time-outs are exact to some 50 us; epoll's are
whole milliseconds) and a heap of what is to leave.
Canaries pass at once and unharmed. SIGTERM ends it.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import selectors
import signal
import socket
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adapters.base import Status
from bench import header
from bench.calibration import behaviour as fates
from bench.calibration import log, wire
from bench.calibration.behaviour import Behaviour, Fates
from bench.clock import now_ns, sharpen_sleep

# bench.header's layout, written out again: magic run trial producer epoch lane attempt flags sequence intended sent length body check
HEADER: Final = struct.Struct("<IIIHHIHHQqqIIQ")
RECEIVE_B: Final = 256 << 10
TOGETHER: Final = 512  # most messages that leave in one go
HOLD_NS: Final = 50_000_000  # a message that waits for the next one waits no longer than that
INVENTED_FROM: Final = 1 << 40  # sequences of messages that nobody sent; a multiple of 256 keeps their bodies right
_MASK: Final = (1 << 64) - 1


@dataclass
class Message:
    """One that arrived."""

    payload: bytes
    trial: int
    producer: int
    sequence: int


@dataclass
class Peer:
    """One connection: a producer's or, once it has said so, a consumer's."""

    socket: socket.socket
    number: int  # counted from 1
    role: int = 0
    index: int = 0
    received: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    writing: bool = False  # the selector watches for room
    owed: int = 0  # answers that have not left
    flushing: int = 0  # flush requests that wait for them


def invented(payload: bytes) -> bytes:
    """Return a sound message that nobody sent: another sequence, the check put right."""
    fields = list(HEADER.unpack_from(payload))
    fields[8] += INVENTED_FROM
    words = struct.unpack("<7Q", HEADER.pack(*fields)[:56])
    fields[13] = sum(word * int(k) for word, k in zip(words, header.K, strict=True)) & _MASK
    return HEADER.pack(*fields) + payload[HEADER.size :]


def flipped(payload: bytes, number: int) -> bytes:
    """Return ``payload`` with one bit turned: bit ``number`` modulo their count."""
    damaged = bytearray(payload)
    bit = number % (8 * len(damaged))
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


class Fake:
    """The server. ``serve`` until SIGTERM."""

    def __init__(self, groups: int, trials: dict[int, Behaviour], always: Behaviour, writer: log.Writer) -> None:
        self._groups = groups
        self._trials = trials
        self._always = always
        self._log = writer
        self._fates: dict[tuple[int, int], Fates] = {}
        self._stalls: dict[int, tuple[int, int]] = {}  # by trial: from, to
        self._heap: list[tuple[int, int, Any]] = []
        self._count = 0
        self._held: dict[tuple[int, int, int], Message] = {}  # by trial, producer, group
        self._consumers: dict[int, Peer] = {}
        self._leaving: list[tuple[str, tuple[int, ...]]] = []  # log entries of what leaves in this go, without t_out
        self._dirty: dict[int, Peer] = {}
        self._connections = 0
        self._selector = selectors.SelectSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._ended = False

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def end_at(self, signum: int) -> None:
        """Have a signal end serve()."""
        signal.signal(signum, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno())

    def serve(self) -> None:
        """Run until it is told to end."""
        while not self._ended:
            for key, events in self._selector.select(self._timeout_s()):
                if key.fileobj is self._woken:
                    self._ended = True
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    if events & selectors.EVENT_WRITE:
                        self._write(key.data)
                    if events & selectors.EVENT_READ:
                        self._read(key.data)
            self._leave(now_ns())

    # ---- connections

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections += 1
            self._selector.register(connection, selectors.EVENT_READ, Peer(connection, self._connections))

    def _read(self, peer: Peer) -> None:
        try:
            data = peer.socket.recv(RECEIVE_B)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        t_in = now_ns()
        if not data:
            self._forget(peer)
            return
        peer.received += data
        at = 0
        if not peer.role:
            if len(peer.received) < wire.HELLO.size:
                return
            peer.role, peer.index = wire.HELLO.unpack_from(peer.received)
            at = wire.HELLO.size
            if peer.role == wire.CONSUMER:
                self._consumers[peer.index] = peer
        while len(peer.received) - at >= wire.FRAME.size:
            length, kind = wire.FRAME.unpack_from(peer.received, at)
            if len(peer.received) - at - wire.FRAME.size < length:
                break
            at += wire.FRAME.size
            if kind == wire.FLUSH:
                peer.flushing += 1
                self._flushed(peer)
            else:
                self._arrived(peer, bytes(peer.received[at : at + length]), t_in)
            at += length
        del peer.received[:at]
        self._write(peer)

    def _forget(self, peer: Peer) -> None:
        self._selector.unregister(peer.socket)
        peer.socket.close()
        peer.unsent.clear()
        if self._consumers.get(peer.index) is peer:
            del self._consumers[peer.index]

    def _write(self, peer: Peer) -> None:
        while peer.unsent:
            try:
                del peer.unsent[: peer.socket.send(peer.unsent)]
            except BlockingIOError:
                break
            except OSError:  # it has gone; reading says so too
                peer.unsent.clear()
        if bool(peer.unsent) != peer.writing and peer.socket.fileno() >= 0:
            peer.writing = bool(peer.unsent)
            self._selector.modify(peer.socket, selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.writing else 0), peer)

    # ---- what comes in

    def _arrived(self, peer: Peer, payload: bytes, t_in: int) -> None:
        fields = HEADER.unpack_from(payload)
        trial, producer, lane, flags, sequence, intended, sent = (fields[i] for i in (2, 3, 5, 7, 8, 9, 10))
        message = Message(payload, trial, producer, sequence)
        if flags & header.CANARY:
            for group in range(self._groups):
                self._push(t_in, (self._deliver, (message, group, log.CANARY, t_in)))
            return
        behaviour = self._trials.get(trial, self._always)
        own = self._fates.get((trial, producer))
        if own is None:
            own = self._fates[trial, producer] = Fates(behaviour, trial, producer, self._groups)
        if behaviour.stall_s and trial not in self._stalls:
            begin = t_in + int(behaviour.stall_at_s * 1e9)
            self._stalls[trial] = begin, begin + int(behaviour.stall_s * 1e9)
        fate, answer_ns = own.message()
        self._log.add("arrivals", t_in, intended, sent, sequence, trial, lane, producer, fate)
        if fate in (fates.TAKEN, fates.REFUSED, fates.DENIED):
            status = Status.CONFIRMED if fate == fates.TAKEN else Status.FAILED
            peer.owed += 1
            self._push(t_in + answer_ns, (self._answer, (peer, message, status)))
        for group in range(self._groups):
            # Drawn for every message and group, so that one that is refused changes nothing for the next.
            what, delay, second, bit = own.delivery(group)
            if fate not in (fates.REFUSED, fates.SWALLOWED):
                self._plan(message, group, what, (t_in + delay, t_in + second), bit)

    def _plan(self, message: Message, group: int, what: int, times: tuple[int, int], bit: int) -> None:
        """Plan the deliveries of one message to one group."""
        first, second = times
        if what == fates.LOST:
            self._log.add("deliveries", first, 0, message.sequence, message.trial, message.producer, group, log.LOST, 0)
            return
        if what == fates.SWAPPED:
            self._push(first, (self._hold, (message, group, first)))
            return
        if what == fates.FLIPPED:
            damaged = Message(flipped(message.payload, bit), message.trial, message.producer, message.sequence)
            self._push(first, (self._deliver, (damaged, group, log.FLIPPED, first)))
            return
        self._push(first, (self._deliver, (message, group, 0, first)))
        if what in (fates.REPEATED, fates.FLAGGED):
            flag = log.FLAGGED if what == fates.FLAGGED else 0
            self._push(max(first, second), (self._deliver, (message, group, log.AGAIN | flag, max(first, second))))
        elif what == fates.INVENTED:
            other = Message(invented(message.payload), message.trial, message.producer, message.sequence + INVENTED_FROM)
            self._push(first, (self._deliver, (other, group, log.INVENTED, first)))

    def _push(self, t_due: int, action: Any) -> None:
        self._count += 1
        heapq.heappush(self._heap, (t_due, self._count, action))

    # ---- what goes out

    def _stalled_until(self, now: int) -> int:
        return max((end for begin, end in self._stalls.values() if begin <= now < end), default=0)

    def _timeout_s(self) -> float | None:
        if not self._heap:
            return None
        now = now_ns()
        return max(0.0, (max(self._heap[0][0], self._stalled_until(now)) - now) / 1e9)

    def _leave(self, now: int) -> None:
        """Let everything go that is due."""
        heap = self._heap
        while heap and heap[0][0] <= now and not self._stalled_until(now):
            while heap and heap[0][0] <= now and len(self._leaving) < TOGETHER:
                action, arguments = heapq.heappop(heap)[2]
                action(*arguments)
            t_out = now_ns()  # before the kernel has it: nobody can have received it earlier
            for name, values in self._leaving:
                if name == "answers":
                    self._log.add(name, t_out, *values)
                else:
                    self._log.add(name, values[0], t_out, *values[1:])
            self._leaving.clear()
            for peer in self._dirty.values():
                self._write(peer)
            self._dirty.clear()
            now = now_ns()

    def _answer(self, peer: Peer, message: Message, status: Status) -> None:
        peer.unsent += wire.ANSWER.pack(message.sequence, status, 0)
        peer.owed -= 1
        self._leaving.append(("answers", (message.sequence, message.trial, message.producer, status)))
        self._flushed(peer)
        self._dirty[id(peer)] = peer

    def _flushed(self, peer: Peer) -> None:
        while peer.flushing and not peer.owed:
            peer.flushing -= 1
            peer.unsent += wire.ANSWER.pack(0, wire.FLUSHED, 0)

    def _deliver(self, message: Message, group: int, what: int, t_due: int) -> None:
        peer = self._consumers.get(group)
        entry = (message.sequence, message.trial, message.producer, group)
        if peer is None:  # nobody listens: not a delivery
            if what != log.CANARY:
                self._log.add("deliveries", t_due, 0, *entry, what | log.LOST, 0)
            return
        kind = wire.REDELIVERED if what & log.FLAGGED else wire.MESSAGE
        peer.unsent += wire.FRAME.pack(len(message.payload), kind) + message.payload
        self._leaving.append(("deliveries", (t_due, *entry, what, peer.number)))
        self._dirty[id(peer)] = peer
        held = self._held.pop((message.trial, message.producer, group), None)
        if held is not None:
            self._deliver(held, group, log.SWAPPED, t_due)

    def _hold(self, message: Message, group: int, t_due: int) -> None:
        """Keep a message until the producer's next one has left; where one is kept already, this is that next one."""
        key = (message.trial, message.producer, group)
        if key in self._held:
            self._deliver(message, group, 0, t_due)
            return
        self._held[key] = message
        self._push(t_due + HOLD_NS, (self._release, (message, group, t_due)))

    def _release(self, message: Message, group: int, t_due: int) -> None:
        key = (message.trial, message.producer, group)
        if self._held.get(key) is message:
            del self._held[key]
            self._deliver(message, group, 0, t_due)


def main() -> int:
    """Entry of ``python -m bench.calibration.fake_server SPEC.json``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the calibration's, which ends this in order
    spec = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(spec["folder"])
    sharpen_sleep()
    writer = log.Writer(folder, survives=spec.get("survives", False))
    trials = {int(trial): Behaviour.from_json(data) for trial, data in spec["trials"].items()}
    always = Behaviour.from_json(spec["always"]) if "always" in spec else Behaviour()
    fake = Fake(spec["groups"], trials, always, writer)
    fake.end_at(signal.SIGTERM)
    (folder / "port.new").write_text(str(fake.port))
    (folder / "port.new").rename(folder / "port")
    try:
        fake.serve()
    finally:
        writer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
