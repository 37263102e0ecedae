"""The proxy's process: ``python -m bench.faults.proxy PORT SEED``, started by Proxies, whose control connection it opens.

One thread, epoll(7), plain sockets: see docs/decisions/0007-proxy.md for what else was tried. It ends with its control connection.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from bench.clock import cpu_ns, now_ns, sharpen_sleep
from bench.control import PROTOCOL, Channel, Closed, Message
from bench.errors import BenchError
from bench.faults.proxy.link import Link
from bench.faults.proxy.loop import Loop
from bench.faults.proxy.toxics import Toxic
from bench.usage import peak_b


class Proxy:
    """All links, and the loop."""

    def __init__(self, channel: Channel, seed: int) -> None:
        self._channel = channel
        self._seed = seed
        self._loop = Loop()
        self._links: dict[str, Link] = {}
        self._loop.want(channel.sock, select.EPOLLIN, self._on_control)

    def run(self) -> NoReturn:
        """Work until the control connection ends (Closed)."""
        while True:
            self._loop.turn()

    def _on_control(self, events: int) -> None:
        del events
        for message in self._channel.receive():
            try:
                answer = self._do(message)
            except (OSError, BenchError) as error:
                self._channel.send({"is": "failed", "reason": str(error)})
            else:
                self._channel.send({"is": "done", "at_ns": now_ns()} | answer)

    def _do(self, message: Message) -> dict[str, Any]:
        verbs: dict[str, Callable[[Message], dict[str, Any] | None]] = {
            "open": self._open,
            "add": lambda said: self._links[said["name"]].add(Toxic.from_json(said["toxic"])),
            "clear": lambda said: self._links[said["name"]].clear(),
            "heal": self._heal,
            "stats": self._stats,
        }
        return verbs[message["do"]](message) or {}

    def _open(self, message: Message) -> dict[str, Any]:
        host, port = message["upstream"]
        link = Link(self._loop, message["name"], port=message["port"], upstream=(host, port), seed=self._seed)
        self._links[link.name] = link
        return {"port": link.port}

    def _heal(self, message: Message) -> None:
        del message
        for link in self._links.values():
            link.clear()

    def _stats(self, message: Message) -> dict[str, Any]:
        del message
        return {"links": {name: link.stats() for name, link in self._links.items()}, "cpu_ns": cpu_ns(), "peak_b": peak_b()}


def main() -> int:
    """Connect to the runner, say hello, work."""
    port, seed = int(sys.argv[1]), int(sys.argv[2])
    sharpen_sleep()
    channel = Channel(socket.create_connection(("127.0.0.1", port), 10.0))
    channel.send({"is": "hello", "protocol": PROTOCOL})
    with contextlib.suppress(Closed):
        Proxy(channel, seed).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
