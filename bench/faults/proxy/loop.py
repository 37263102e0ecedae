"""The proxy's event loop: epoll(7) for sockets, a heap for times."""

from __future__ import annotations

import heapq
import itertools
import select
import socket
from collections.abc import Callable

from bench.clock import now_ns

Ready = Callable[[int], None]
"""Told which events of epoll(7) came."""


class Loop:
    """Sockets that are waited for, and calls at a time. What waits for nothing is not asked for at all, not even for its end."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._told: dict[int, Ready] = {}
        self._masks: dict[int, int] = {}
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def want(self, sock: socket.socket, mask: int, told: Ready) -> None:
        """Be told of these events of a socket from now on; 0: of none."""
        fd = sock.fileno()
        had = self._masks.get(fd, 0)
        if mask == had:
            return
        if not mask:
            self._epoll.unregister(fd)
            del self._masks[fd], self._told[fd]
            return
        (self._epoll.modify if had else self._epoll.register)(fd, mask)
        self._masks[fd], self._told[fd] = mask, told

    def forget(self, sock: socket.socket) -> None:
        """Ask nothing of a socket that is about to be closed."""
        self.want(sock, 0, lambda _: None)

    def at(self, at_ns: int, call: Callable[[], None]) -> None:
        """Call once, at a time (bench.clock)."""
        heapq.heappush(self._timers, (at_ns, next(self._order), call))

    def turn(self) -> None:
        """Wait for what comes next, and do it."""
        if self._timers:
            # epoll_wait(2) counts in milliseconds, select(2) in microseconds; and an epoll can itself be waited for.
            left_s = (self._timers[0][0] - now_ns()) / 1e9
            ready = left_s <= 0 or select.select([self._epoll], [], [], left_s)[0]
            events = self._epoll.poll(0) if ready else []
        else:
            events = self._epoll.poll()
        for fd, mask in events:
            told = self._told.get(fd)  # None: closed by an event before this one
            if told is not None:
                told(mask)
        if self._timers:
            now = now_ns()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
