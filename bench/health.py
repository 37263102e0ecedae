"""How the nodes of a server were while a trial ran, by what they say of themselves: ZooKeeper's latency, connections, what waits.

A server may give figures of its nodes (bench.servers.base.Health). A recorder has their counts begin anew with the trial and asks each
second: so it knows the most that was seen between, and how often a node did not answer.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.servers.base import Health, Server

STEP_S = 1.0
_END_S = 5.0  # the last look may be at a node that does not answer


@dataclass
class _Node:
    answered: int = 0
    last: Mapping[str, str | float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)

    def look(self, figures: Mapping[str, str | float]) -> None:
        self.answered += 1
        self.last = figures
        for name, value in figures.items():
            if not isinstance(value, str):
                self.most[name] = max(value, self.most.get(name, value))


class Recorder:
    """Looks at a server's nodes, once a second from `start` to `stop`."""

    def __init__(self, ask: Health) -> None:
        self._ask = ask
        self._looks = 0
        self._nodes: dict[str, _Node] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    def start(self) -> None:
        """Have counts begin anew, then look each second."""
        self._ask(True)
        self._thread.start()

    def stop(self) -> None:
        """Look once more, and then no more. Idempotent."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join(_END_S)
            self.look()

    def look(self) -> None:
        """Ask once."""
        self._looks += 1
        for name, figures in self._ask(False).items():
            self._nodes.setdefault(name, _Node()).look(figures)

    def rows(self) -> list[dict[str, Any]]:
        """Return "health" of trial.json: a row a node that ever answered."""
        return [
            {"node": name, "looks": self._looks, "answered": one.answered, "last": dict(one.last), "most": one.most}
            for name, one in sorted(self._nodes.items())
        ]

    def _run(self) -> None:
        while not self._ended.wait(STEP_S):
            self.look()


@contextlib.contextmanager
def recorded(server: Server | None) -> Iterator[Recorder | None]:
    """Record while the block runs; None where no node says anything of itself. Read the rows when the block has ended."""
    ask: Health | None = getattr(server, "health", None)
    if ask is None:
        yield None
        return
    recorder = Recorder(ask)
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.stop()
