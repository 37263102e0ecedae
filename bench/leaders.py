"""Which node of a server led what, when: asked of the server itself while a trial runs, and told beside its faults.

A server of several nodes may say what each of them leads (bench.servers.base.Leaders): partitions, queues, groups, the cluster itself. A
recorder asks it several times a second and keeps what changed; so a change is told up to STEP_S late, and what came and went between two
looks is not seen.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from bench.clock import now_ns, sleep_until
from bench.errors import ServerError
from bench.servers.base import Server

STEP_S = 0.25
_ELECTION_NS = 30_000_000_000
_AGAIN_NS = 50_000_000
_END_S = 5.0  # the last look may be at nodes that do not answer


class Recorder:
    """The leaders of one server's nodes over time, as changes of (time, what, node); node "" = nobody."""

    def __init__(self, server: Server, wiring: Mapping[str, Any]) -> None:
        self._server, self._wiring = server, wiring
        self._known: dict[str, str] = {}
        self._changes: list[tuple[int, str, str]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leaders", daemon=True)

    def start(self) -> None:
        """Look once, then go on looking until `stop`."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Idempotent."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def look(self) -> None:
        """Ask once; what changed is kept. Nothing where nobody answers."""
        try:
            found = leaders(self._server, self._wiring)
        except (OSError, ValueError):
            return
        now = now_ns()
        for what, node in (*found.items(), *((what, "") for what in self._known if what not in found)):
            if self._known.get(what) != node:
                self._known[what] = node
                self._changes.append((now, what, node))

    def rows(self, go_ns: int) -> list[dict[str, Any]]:
        """Return "leaders" of trial.json: seconds from go, what is led, by which node."""
        return [{"t_s": (t - go_ns) / 1e9, "what": what, "node": node} for t, what, node in list(self._changes)]

    def _run(self) -> None:
        while not self._ended.wait(STEP_S):
            self.look()


@contextlib.contextmanager
def recorded(server: Server | None, wiring: Mapping[str, Any]) -> Iterator[Recorder | None]:
    """Record while the block runs; None where there is one node at most, or none that says what it leads."""
    if server is None or len(server.nodes) < 2 or getattr(server, "leaders", None) is None:
        yield None
        return
    recorder = Recorder(server, wiring)
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.stop()


def leaders(server: Server, wiring: Mapping[str, Any]) -> Mapping[str, str]:
    """Which node leads what; nothing of a server that does not say. Raises OSError or ValueError where nobody answers."""
    ask = getattr(server, "leaders", None)
    found: Mapping[str, str] = {} if ask is None else ask(wiring)
    return found


def leader(server: Server, wiring: Mapping[str, Any]) -> str:
    """Return the node that leads the first of what there is to lead, waiting for an election that is under way. Raises ServerError."""
    until, said = now_ns() + _ELECTION_NS, "nobody leads anything"
    while now_ns() < until:
        try:
            node = next(iter(leaders(server, wiring).values()), "")
        except (OSError, ValueError) as error:
            node, said = "", str(error)
        if node:
            return node
        sleep_until(now_ns() + _AGAIN_NS)
    raise ServerError(f"{server.system}: no leader within {_ELECTION_NS // 1_000_000_000} s: {said}")
