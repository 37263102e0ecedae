"""One direction of a connection through the proxy: what was read and not sent on yet, and when it may be. Pure: it is told the time.

Bytes are never lost, repeated or swapped by what only delays (latency, bandwidth, slicer, slow_close, timeout): the queue is
first in, first out, and a piece's time is never before that of the piece before it. Memory is bounded: `room` says how much
more may be read, and what is not read waits in the kernel's buffers until the sender's own are full, as on a slow network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from random import Random
from typing import Protocol

from bench.faults.proxy.toxics import Toxic

CHUNK_B = 64 << 10
"""Read at a time, and held at most where no toxic delays."""
DELAYED_B = 16 << 20
"""Held at most where one does: 320 MB/s at 50 ms."""
_BURST_S = 0.1  # of a limited rate: what its buffer holds; more would only be a longer delay
_PIECE_S = 0.01  # of a limited rate: sent at a time, so that it flows
_NS = 1_000_000_000

END = b""
"""The sender has closed: no bytes come after."""


class _Stage(Protocol):
    """A toxic that cuts or delays what passes."""

    rate: float  # bytes a second that pass at most
    delay_s: float  # how long a piece stays at most, if nothing is before it

    def pieces(self, at_ns: int, data: bytes) -> Iterable[tuple[int, bytes]]: ...

    def end(self, at_ns: int) -> int: ...


class _Plain:
    """What most stages share."""

    rate = float("inf")
    delay_s = 0.0

    def end(self, at_ns: int) -> int:
        return at_ns


class _Latency(_Plain):
    """Each piece latency +- jitter later, evenly distributed. What would overtake waits (Flow): its order stays."""

    def __init__(self, latency_s: float, jitter_s: float, random: Random) -> None:
        self._latency_s, self._jitter_s, self._random = latency_s, jitter_s, random
        self.delay_s = latency_s + jitter_s

    def _delay_ns(self) -> int:
        spread = self._random.uniform(-self._jitter_s, self._jitter_s) if self._jitter_s else 0.0
        return max(0, int((self._latency_s + spread) * _NS))

    def pieces(self, at_ns: int, data: bytes) -> Iterable[tuple[int, bytes]]:
        return [(at_ns + self._delay_ns(), data)]

    def end(self, at_ns: int) -> int:
        return at_ns + self._delay_ns()


class _Bandwidth(_Plain):
    """A line of ``rate`` bytes a second: a piece has passed when its last byte has."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._free_ns = 0

    def pieces(self, at_ns: int, data: bytes) -> Iterator[tuple[int, bytes]]:
        size = max(1, int(self.rate * _PIECE_S))
        for first in range(0, len(data), size):
            piece = data[first : first + size]
            self._free_ns = max(at_ns, self._free_ns) + int(len(piece) / self.rate * _NS)
            yield self._free_ns, piece


class _Slicer(_Plain):
    """Pieces of average_size +- size_variation, each ``delay`` after the one before."""

    def __init__(self, average: float, variation: float, delay_s: float, random: Random) -> None:
        self._least, self._most = max(1, int(average - variation)), max(1, int(average + variation))
        self._delay_ns, self._random = int(delay_s * _NS), random
        self._next_ns = 0
        self.rate = average / delay_s if delay_s else float("inf")

    def pieces(self, at_ns: int, data: bytes) -> Iterator[tuple[int, bytes]]:
        first = 0
        while first < len(data):
            after = first + self._random.randint(self._least, self._most)
            when = max(at_ns, self._next_ns)
            self._next_ns = when + self._delay_ns
            yield when, data[first:after]
            first = after


class _SlowClose(_Plain):
    """The end is told ``delay`` later."""

    def __init__(self, delay_s: float) -> None:
        self._delay_ns = int(delay_s * _NS)

    def pieces(self, at_ns: int, data: bytes) -> Iterable[tuple[int, bytes]]:
        return [(at_ns, data)]

    def end(self, at_ns: int) -> int:
        return at_ns + self._delay_ns


class Flow:
    """One direction of one connection, with the toxics that act on it."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._queue: deque[tuple[int, bytes]] = deque()
        self._last_ns = 0  # when the newest piece may go
        self._stages: list[_Stage] = []
        self._stalled = False
        self._cuts: list[tuple[int, str]] = []  # (when, "close" or "reset")
        self._left: int | None = None  # bytes that limit_data still lets in
        self._limit_b = CHUNK_B  # held at most while there are stages
        self.held_b = 0
        self.ended = False  # its end has been read
        self.idle = True  # nothing held, no toxic, not ended: what is read may go straight on

    def add(self, toxic: Toxic, now_ns: int) -> None:
        """One more toxic, from now on. What is held already keeps its time (but a stall holds it too)."""
        get = toxic.attributes
        if toxic.kind == "latency":
            self._stages.append(_Latency(get["latency"], get["jitter"], self._random))
        elif toxic.kind == "bandwidth":
            self._stages.append(_Bandwidth(get["rate"]))
        elif toxic.kind == "slicer":
            self._stages.append(_Slicer(get["average_size"], get["size_variation"], get["delay"], self._random))
        elif toxic.kind == "slow_close":
            self._stages.append(_SlowClose(get["delay"]))
        elif toxic.kind == "limit_data":
            self._left = int(get["bytes"]) if self._left is None else min(self._left, int(get["bytes"]))
        elif toxic.kind == "timeout":
            self._stalled = True
            if get["timeout"]:
                self._cuts.append((now_ns + int(get["timeout"] * _NS), "close"))
        elif toxic.kind == "reset_peer":
            self._stalled = True
            self._cuts.append((now_ns + int(get["timeout"] * _NS), "reset"))
        if self._left == 0:
            self._cuts.append((self._last_ns, "close"))
        rate = min((stage.rate for stage in self._stages), default=float("inf"))
        self._limit_b = max(1, int(min(DELAYED_B, rate * (_BURST_S + sum(stage.delay_s for stage in self._stages)))))
        self.idle = False

    def clear(self, now_ns: int) -> None:
        """No toxic any more: what is held may go now, in its order. A connection that limit_data has cut stays cut."""
        self._stages = []
        self._stalled = False
        spent = self._left == 0
        self._left = 0 if spent else None
        self._cuts = [(now_ns, "close")] if spent else []
        self._queue = deque((now_ns, data) for _, data in self._queue)
        self._last_ns = now_ns
        self._settle_idle()

    def room(self) -> int:
        """How many bytes may be read now."""
        if self._stalled or self.ended or self._left == 0:
            return 0
        if self._stages:
            return max(0, min(CHUNK_B, self._limit_b - self.held_b))
        return 0 if self._queue else CHUNK_B

    def put(self, data: bytes, now_ns: int) -> None:
        """Take what was read."""
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        pieces: Iterable[tuple[int, bytes]] = [(now_ns, data)]
        for stage in self._stages:
            pieces = [made for at_ns, piece in pieces for made in stage.pieces(at_ns, piece)]
        for at_ns, piece in pieces if data else ():
            self._last_ns = max(self._last_ns, at_ns)
            self._queue.append((self._last_ns, piece))
        self.held_b += len(data)
        if self._left == 0:
            self._cuts.append((self._last_ns, "close"))
        self.idle = False

    def end(self, now_ns: int) -> None:
        """The sender has closed."""
        at_ns = now_ns
        for stage in self._stages:
            at_ns = stage.end(at_ns)
        self._last_ns = max(self._last_ns, at_ns)
        self._queue.append((self._last_ns, END))
        self.ended = True
        self.idle = False

    def due(self, now_ns: int) -> bytes | None:
        """The piece that may go now (END: the end); None where there is none. Ask again after `sent`."""
        if self._queue and not self._stalled and self._queue[0][0] <= now_ns:
            return self._queue[0][1]
        return None

    def sent(self, count: int) -> None:
        """So many bytes of what `due` gave were sent on (for the end: 0)."""
        at_ns, data = self._queue.popleft()
        if count < len(data):
            self._queue.appendleft((at_ns, data[count:]))
        self.held_b -= count
        self._settle_idle()

    def _settle_idle(self) -> None:
        acted_on = self._stages or self._cuts or self._stalled or self._left is not None
        self.idle = not (self._queue or acted_on or self.ended)

    def cut(self, now_ns: int) -> str | None:
        """How the connection is to be cut now, "close" or "reset"; None while it is not. What limit_data let in goes first."""
        if self._queue and not self._stalled:
            return None
        return next((how for at_ns, how in self._cuts if at_ns <= now_ns), None)

    def next_ns(self, *, blocked: bool = False) -> int | None:
        """When there is something to do that no socket tells; ``blocked``: the receiver takes nothing for now."""
        if self._queue and not self._stalled:
            return None if blocked else self._queue[0][0]
        return min((at_ns for at_ns, _ in self._cuts), default=None)
