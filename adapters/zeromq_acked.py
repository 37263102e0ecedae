"""ZeroMQ with acknowledgement and credit: at least once for as long as the producer lives, as its guide teaches to build it.

Each member binds a ROUTER; a producer has a DEALER for each member (and so makes the copies for the groups). Nothing is
dropped at a high-water mark, because the marks are off and credit takes their place. A *session* is one DEALER's one connection:

* the producer says HELLO (with a number of its own); the member answers READY with its credit, ``credit`` messages;
* messages go in parts of one ZeroMQ message, at most the credit more than are acknowledged, to the members of a group in turn;
* the member acknowledges, by their number in the session, what its application acknowledged: it has been *processed*;
* it repeats the last number three times in ``resend_ivl`` milliseconds, also while the application works (idle()).

A connection that ends, and a member that is silent for ``resend_ivl`` while it owes something, end the session: the producer closes the
socket and opens another ("Lazy Pirate"), and what was not acknowledged is sent again, to whichever member of the group has
credit, before anything new. So a message may be processed twice; removing the repeated ones is the consumer's business (they
are flagged: redelivered). A member that hears a new HELLO of a producer forgets what it had received and not handed out of the
old session. What was never acknowledged lies in the producer's memory alone and dies with it.

Sources: https://zguide.zeromq.org/docs/chapter4/ (reliable request-reply: retry, heartbeats, reopening the socket),
https://zguide.zeromq.org/docs/chapter7/ (credit-based flow control), zmq_socket(3), zmq_socket_monitor(3).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import struct
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import zmq

from adapters.base import Batch, Block, Event, Outcomes, Status
from adapters.errors import Unreachable, Unsupported
from adapters.zeromq_sockets import NOBLOCK, check_size

# The first byte of the first part of each ZeroMQ message says what it is.
HELLO = b"H"  # producer: and its number, 8 bytes
READY = b"R"  # member: and its credit, u64
FIRST, AGAIN = b"F", b"A"  # producer: messages, for the first time or not; the number of the first in the session, u64; then a part each
DONE = b"D"  # member: how many of the session are acknowledged, u64
_WORD = struct.Struct("<cQ")
BEATS = 3  # words of a member in resend_ivl: the guide's "liveness"

_names = itertools.count()


@dataclass
class _Run:
    """Neighbouring messages that went, or wait to go, to one member."""

    first_id: int
    rows: Sequence[bytes]
    again: bool = False

    def cut(self, count: int) -> _Run:
        """Take the first ``count`` off."""
        taken = _Run(self.first_id, self.rows[:count], self.again)
        self.first_id += count
        self.rows = self.rows[count:]
        return taken


@dataclass
class _Member:
    """A member of a group as its producer sees it; a session at a time."""

    address: str
    group: int
    socket: zmq.Socket[bytes]
    monitor: zmq.Socket[bytes]
    heard_s: float  # monotonic: of its last word; until it is ready, of the HELLO
    ready: bool = False
    credit: int = 0
    sent: int = 0  # messages, in this session
    done: int = 0
    runs: deque[_Run] = field(default_factory=deque)  # sent and not acknowledged

    @property
    def free(self) -> int:
        """How many more it takes now."""
        return self.credit - (self.sent - self.done)


class AckedProducer:
    """A DEALER for each member of each group."""

    def __init__(self, groups: Sequence[Sequence[str]], settings: Mapping[str, int], outcomes: Outcomes) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(settings["io_threads"])
        self._settings = settings
        self._silence_s = settings["resend_ivl"] / 1000
        self._outcomes = outcomes
        self._number = os.urandom(8)
        self._poller = zmq.Poller()
        self._events: list[Event] = []
        self._was_ready = False
        self._closed = False
        self._groups: list[list[_Member]] = [[] for _ in groups]
        self._waiting: list[deque[_Run]] = [deque() for _ in groups]  # to be sent again
        try:
            for group, addresses in enumerate(groups):
                for address in addresses:
                    self._groups[group].append(_Member(address, group, *self._opened(address), time.monotonic()))
        except zmq.ZMQError:
            self.close()
            raise

    # ---- sessions

    def _opened(self, address: str) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        """A connected DEALER that has said HELLO (libzmq keeps it until there is a connection), and its monitor."""
        socket = self._context.socket(zmq.DEALER)
        socket.set(zmq.LINGER, self._settings["linger"])
        for name in ("sndhwm", "rcvhwm"):
            socket.set(getattr(zmq, name.upper()), 0)
        for name in ("sndbuf", "rcvbuf"):
            socket.set(getattr(zmq, name.upper()), self._settings[name])
        monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED, f"inproc://monitor.{next(_names)}")
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(monitor, zmq.POLLIN)
        socket.connect(address)
        socket.send(HELLO + self._number, NOBLOCK)
        return socket, monitor

    def _shut(self, member: _Member, linger_ms: int) -> None:
        for socket in (member.socket, member.monitor):
            with contextlib.suppress(KeyError):
                self._poller.unregister(socket)
        member.socket.disable_monitor()
        member.monitor.close(0)
        member.socket.close(linger_ms)

    def _give_up(self, member: _Member, why: str) -> None:
        """End a session and open another; what was not acknowledged is sent again."""
        if member.ready:
            left = member.sent - member.done
            self._events.append(Event("closed", f"{member.address}: {why}; {left} messages are not acknowledged and will be sent again"))
        for run in reversed(member.runs):
            run.again = True
            self._waiting[member.group].appendleft(run)
        member.runs.clear()
        self._shut(member, 0)
        member.socket, member.monitor = self._opened(member.address)
        member.heard_s = time.monotonic()
        member.ready, member.credit, member.sent, member.done = False, 0, 0, 0

    def _serve(self) -> None:
        """Take what members and monitors have to tell; give up those that are gone or silent; send again what waits."""
        if self._closed:
            return
        for members in self._groups:
            for member in members:
                self._listen(member)
                owes = not member.ready or member.sent > member.done
                if int(member.monitor.get(zmq.EVENTS)) & zmq.POLLIN:
                    self._give_up(member, "the connection ended")
                elif owes and time.monotonic() - member.heard_s > self._silence_s:
                    self._give_up(member, f"no word for {self._silence_s:g} s")
        for group, waiting in enumerate(self._waiting):
            while waiting and self._hand_on(group, waiting):
                pass

    def _listen(self, member: _Member) -> None:
        """READY and DONE; whatever else comes is none of ours."""
        with contextlib.suppress(zmq.Again):
            while True:
                word = member.socket.recv_multipart(NOBLOCK)[0]
                if len(word) != _WORD.size:
                    continue
                kind, number = _WORD.unpack(word)
                member.heard_s = time.monotonic()
                if kind == READY and not member.ready:
                    member.ready, member.credit = True, number
                    self._note_ready(member)
                elif kind == DONE and member.done < number <= member.sent:
                    self._confirm(member, number - member.done)

    def _note_ready(self, member: _Member) -> None:
        if self._was_ready:
            self._events.append(Event("reconnected", member.address))
        elif self._complete():
            self._was_ready = True
            self._events.append(Event("ready"))

    def _confirm(self, member: _Member, count: int) -> None:
        member.done += count
        while count:
            run = member.runs[0]
            taken = min(count, len(run.rows))
            self._outcomes.run(run.first_id, taken, Status.CONFIRMED, member.group)
            if taken == len(run.rows):
                member.runs.popleft()
            else:
                run.cut(taken)
            count -= taken

    def _hand_on(self, group: int, waiting: deque[_Run]) -> bool:
        """Send the first run that waits, or as much of it as a member takes; False where none has credit."""
        member = self._next(group)
        if member is None:
            return False
        run = waiting[0]
        if len(run.rows) <= member.free:
            waiting.popleft()
        else:
            run = run.cut(member.free)
        self._transmit(member, run)
        return True

    def _next(self, group: int) -> _Member | None:
        """The next member in turn that has credit, put last."""
        members = self._groups[group]
        for at, member in enumerate(members):
            if member.free > 0:
                members.append(members.pop(at))
                return member
        return None

    def _transmit(self, member: _Member, run: _Run) -> None:
        """Hand a run to libzmq, which takes all: its marks are off, and the credit bounds what it holds."""
        if member.sent == member.done:
            member.heard_s = time.monotonic()  # from now on it owes a word
        head = _WORD.pack(AGAIN if run.again else FIRST, member.sent)
        member.socket.send_multipart([head, *run.rows], NOBLOCK)
        member.sent += len(run.rows)
        member.runs.append(run)

    def _complete(self) -> bool:
        return not self._closed and all(member.ready for members in self._groups for member in members)

    # ---- the contract

    def ready(self, timeout_s: float) -> bool:
        """Every member of every group has answered."""
        deadline_s = time.monotonic() + timeout_s
        self._serve()
        while not self._complete() and not self._closed and (left_s := deadline_s - time.monotonic()) > 0:
            self._poller.poll(max(1, int(min(left_s, self._silence_s) * 1000)))
            self._serve()
        return self._complete()

    def room(self) -> int:
        """The credit that is left in the group that has least; what is to be sent again comes first."""
        return max(0, min(self._room(group) for group in range(len(self._groups)))) if not self._closed else 0

    def _room(self, group: int) -> int:
        return 0 if self._waiting[group] else sum(max(0, member.free) for member in self._groups[group])

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:
        """As many rows as the group's members have credit for; waits once where they have none.

        Raises Refused for messages over the limit, Unreachable after close().
        """
        check_size(block.size)
        if self._closed:
            raise Unreachable("zeromq: this producer is closed")
        if not self._room(group):
            self.pump(timeout_s)
        rows = block.messages(lo, min(hi, lo + self._room(group)))
        at = 0
        while at < len(rows) and (member := self._next(group)) is not None:
            taken = rows[at : at + member.free]
            self._transmit(member, _Run(block.first_id + lo + at, taken))
            at += len(taken)
        return at

    def pump(self, timeout_s: float) -> None:
        """Waits for a word, at most timeout_s, in whole milliseconds; then takes all there are."""
        if timeout_s > 0 and not self._closed:
            self._poller.poll(math.ceil(timeout_s * 1000))
        self._serve()

    def flush(self, timeout_s: float) -> int | None:
        """Pumps until all is acknowledged; how many (message, group)s are not."""
        deadline_s = time.monotonic() + timeout_s
        while (left := self._unacknowledged()) and (left_s := deadline_s - time.monotonic()) > 0:
            self.pump(min(left_s, self._silence_s / BEATS))
        return left

    def _unacknowledged(self) -> int:
        under_way = sum(member.sent - member.done for members in self._groups for member in members)
        return under_way + sum(len(run.rows) for waiting in self._waiting for run in waiting)

    def events(self) -> Sequence[Event]:
        """One "ready" when all members have answered, then "closed" and "reconnected" by session."""
        self._serve()
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Waits at most LINGER for what is on its way to members that are there. What is not acknowledged is forgotten."""
        if self._closed:
            return
        self._closed = True
        for members in self._groups:
            for member in members:
                self._shut(member, self._settings["linger"] if member.ready else 0)
        self._context.term()


@dataclass
class _Session:
    """A producer's connection, as a member sees it."""

    identity: bytes
    number: bytes  # of the producer
    received: int = 0
    done: int = 0
    over: bool = False


class AckedConsumer:
    """A ROUTER that all producers connect to."""

    def __init__(self, address: str, settings: Mapping[str, int]) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(settings["io_threads"])
        self._socket = self._context.socket(zmq.ROUTER)
        self._credit = settings["credit"]
        self._beat_s = settings["resend_ivl"] / 1000 / BEATS
        self._next_beat_s = time.monotonic()
        self._sessions: dict[bytes, _Session] = {}  # by identity
        self._held: deque[tuple[_Session, list[bytes], bool]] = deque()  # received and not handed out; flagged where sent again
        self._owed: deque[tuple[_Session, int]] = deque()  # handed out and not acknowledged, in that order
        self._handed = 0
        self._acked = 0
        self._events = [Event("ready"), Event("assigned")]
        self._linger_ms = settings["linger"]
        self._closed = False
        try:
            for name in ("sndhwm", "rcvhwm"):
                self._socket.set(getattr(zmq, name.upper()), 0)
            for name in ("sndbuf", "rcvbuf"):
                self._socket.set(getattr(zmq, name.upper()), settings[name])
            self._socket.bind(address)
        except zmq.ZMQError:
            self.close()
            raise

    # ---- sessions

    def _receive(self) -> None:
        """Take all that is there: the credit bounds it."""
        with contextlib.suppress(zmq.Again):
            while True:
                identity, head, *rows = self._socket.recv_multipart(NOBLOCK)
                if head[:1] == HELLO:
                    self._begin(identity, head[1:])
                elif len(head) == _WORD.size:
                    kind, number = _WORD.unpack(head)
                    if kind in (FIRST, AGAIN):
                        self._take(identity, number, rows, again=kind == AGAIN)

    def _begin(self, identity: bytes, number: bytes) -> None:
        """A producer opens a session; what is left of its old one will come again."""
        for old in [session for session in self._sessions.values() if session.number == number]:
            self._end(old)
            self._events.append(Event("reconnected", "a producer has opened a new session; what was not acknowledged comes again"))
        self._sessions[identity] = _Session(identity, number)
        self._say(identity, READY, self._credit)

    def _end(self, session: _Session) -> None:
        session.over = True
        del self._sessions[session.identity]
        self._held = deque(entry for entry in self._held if entry[0] is not session)

    def _take(self, identity: bytes, number: int, rows: list[bytes], *, again: bool) -> None:
        session = self._sessions.get(identity)
        if session is None:
            return  # of a session that is over, or of a stranger
        if number != session.received:  # cannot be on one connection: the producer hears no more, and begins anew
            self._end(session)
            self._events.append(Event("error", f"message {number} of a session came where {session.received} was due"))
            return
        session.received += len(rows)
        self._held.append((session, rows, again))

    def _say(self, identity: bytes, kind: bytes, number: int) -> None:
        """A word to one producer; where it has gone libzmq drops it."""
        with contextlib.suppress(zmq.Again):
            self._socket.send_multipart([identity, _WORD.pack(kind, number)], NOBLOCK)

    def _beat(self) -> None:
        """Say where things stand, to everybody, as often as it is due."""
        now_s = time.monotonic()
        if now_s >= self._next_beat_s:
            self._next_beat_s = now_s + self._beat_s
            for session in self._sessions.values():
                self._say(session.identity, DONE, session.done)

    # ---- the contract

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """What has arrived; else waits, in whole milliseconds, and looks once more."""
        if self._closed:
            return None
        self._beat()
        self._receive()
        if not self._held and timeout_s > 0 and self._socket.poll(int(timeout_s * 1000), zmq.POLLIN):
            self._receive()
        return self._hand_out(max_messages)

    def _hand_out(self, max_messages: int) -> Batch | None:
        payloads: list[bytes] = []
        redelivered: list[bool] = []
        while self._held and len(payloads) < max_messages:
            session, rows, again = self._held.popleft()
            left = max_messages - len(payloads)
            if len(rows) > left:
                self._held.appendleft((session, rows[left:], again))
                rows = rows[:left]
            payloads += rows
            redelivered += [again] * len(rows)
            self._owed.append((session, len(rows)))
        if not payloads:
            return None
        token = self._handed
        self._handed += len(payloads)
        return Batch(payloads, count=len(payloads), redelivered=redelivered if any(redelivered) else None, token=token)

    def ack(self, batch: Batch, upto: int) -> None:
        """Tells each producer how many of its messages are done. Of a session that is over: nobody; they come again."""
        if self._closed:
            return
        left = batch.token + upto - self._acked
        touched: dict[bytes, _Session] = {}
        while left > 0 and self._owed:
            session, count = self._owed.popleft()
            if count > left:
                self._owed.appendleft((session, count - left))
                count = left
            left -= count
            self._acked += count
            if not session.over:
                session.done += count
                touched[session.identity] = session
        for session in touched.values():
            self._say(session.identity, DONE, session.done)

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """Raises Unsupported: acknowledgements are cumulative."""
        raise Unsupported(f"acknowledgements are cumulative: message {index} of {batch.count} cannot be settled alone ({how})")

    def idle(self, seconds: float) -> None:
        """Waits, and keeps saying that it lives."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            if not self._closed:
                self._beat()
                self._receive()
            time.sleep(min(left_s, self._beat_s / 2))

    def events(self) -> Sequence[Event]:
        """One "ready", one "assigned": a stream of its own from each producer; "reconnected" as sessions follow each other."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Waits at most LINGER for acknowledgements that are under way; what was not acknowledged its producers send again."""
        if self._closed:
            return
        self._closed = True
        self._socket.close(self._linger_ms)
        self._context.term()
